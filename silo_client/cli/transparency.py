"""``llamdex-silo log verify`` and ``inspect``: what the provider took, and what leaves this silo."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llamdex_fl import console
from llamdex_fl.errors import InputError
from silo_client.cli.main import app

if TYPE_CHECKING:
    from silo_client.config import SiloConfig
    from silo_client.inspection import Inspection
    from silo_client.log_check import LogReport

__all__ = ["inspect", "log", "verify"]

_HOME_VARIABLE = "LLAMDEX_SILO_HOME"
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

log = typer.Typer(no_args_is_help=True, help="The provider's log of releases, revocations and policy changes.")
app.add_typer(log, name="log")


@log.command()
def verify(
    home: Annotated[
        Path | None, typer.Argument(help=f"The silo's directory. Default: ${_HOME_VARIABLE}, else this directory.")
    ] = None,
    *,
    passphrase_file: console.PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Read the provider's whole log and verify it against all that this silo saw before and holds receipts for.

    Prints who uploaded what, when, and with which guarantee, and every revocation and change of policy. Ends with
    exit code 1 if the log was altered, forked or rolled back, or lacks a release of this silo.
    """
    from silo_client.config import load_silo_config  # noqa: PLC0415 - keeps --help fast
    from silo_client.log_check import verify_log  # noqa: PLC0415

    report = verify_log(load_silo_config(_found(home)), console.passphrase(passphrase_file))
    if as_json:
        console.print_json(report.as_dict())
    else:
        _show_log(report)


@app.command()
def inspect(
    release: Annotated[
        str | None,
        typer.Argument(
            help="A release: its round's challenge or its id, or the beginning of either, or a file of it in the "
            "spool. Without it, all are listed."
        ),
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help=f"The silo's directory. Default: ${_HOME_VARIABLE}, else this directory.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show all that is about to leave or has left, byte count by byte count, before and after sealing.

    Names and sizes of tensors, every field that is signed, the guarantee, the parts of the envelope, the messages.
    """
    from silo_client.config import load_silo_config  # noqa: PLC0415 - keeps --help fast
    from silo_client.outbox import Outbox  # noqa: PLC0415

    path = Path(release) if release is not None else None
    if path is not None and path.exists() and path.parent.name in {"spool", "sent", "receipts"}:
        release, home = path.stem, home or path.absolute().parent.parent
    elif path is not None and (path / "silo.toml").is_file():
        release, home = None, path
    config = load_silo_config(_found(home))
    if release is None:
        _list(config, as_json=as_json)
        return
    outbox = Outbox(config)
    found = [
        seen
        for challenge in outbox.challenges()
        if (seen := outbox.inspect(challenge)) is not None
        and (challenge.startswith(release) or str((seen.sealed or {}).get("release_id", "")).startswith(release))
    ]
    if len(found) != 1:
        raise InputError(
            "This names no one release.",
            expected="a challenge or release id of this silo, or the beginning of one",
            got=f"{release[:80]}, which fits {len(found)}",
            next_step=f"list them with: llamdex-silo inspect --home {config.home}",
        )
    if as_json:
        console.print_json(found[0].as_dict())
    else:
        _show_release(found[0])


def _found(home: Path | None) -> Path:
    return home or Path(os.environ.get(_HOME_VARIABLE) or ".")


def _list(config: "SiloConfig", *, as_json: bool) -> None:
    from rich.table import Table  # noqa: PLC0415 - keeps --help fast

    from silo_client.outbox import Outbox  # noqa: PLC0415

    outbox = Outbox(config)
    seen = [one for challenge in outbox.challenges() if (one := outbox.inspect(challenge)) is not None]
    if as_json:
        console.print_json([one.as_dict() for one in seen])
        return
    table = Table("challenge", "state", "bytes before sealing", "bytes after", "epsilon", "release")
    for one in seen:
        table.add_row(
            one.challenge[:16],
            one.state,
            f"{one.plaintext['bytes']:,}",
            "-" if one.sealed is None else f"{one.sealed['bytes']:,}",
            str(one.guarantee["epsilon"]),
            "-" if one.sealed is None else str(one.sealed["release_id"])[:16],
        )
    console.stdout.print(table)


def _show_log(report: "LogReport") -> None:
    from rich.table import Table  # noqa: PLC0415 - keeps --help fast

    from llamdex_fl.envelope import LogNote  # noqa: PLC0415

    table = Table("#", "when (UTC)", "who", "what", "guarantee", "signature")
    for entry in report.entries:
        if isinstance(entry, LogNote):
            said = (
                f"revoked: {', '.join((*entry.silos, *(d[:12] for d in (*entry.revoked, *entry.releases))))}"
                if entry.kind == "revocation"
                else f"policy changed: {len(entry.policy.get('schemas', ()))} schemas"
            )
            row = (f"{entry.noted_at:%Y-%m-%d %H:%M:%S}", entry.provider, said, "-", "-")
            table.add_row(str(entry.leaf_index), *row)
            continue
        body, statement = entry.body, entry.statement
        claim = statement.guarantee
        table.add_row(
            str(body.leaf_index),
            f"{body.accepted_at:%Y-%m-%d %H:%M:%S}",
            f"{body.silo} (you)" if entry.own else body.silo,
            f"{statement.architecture}, {statement.plaintext_length:,} bytes, release {body.release_id[:12]}, "
            f"schema {body.schema_digest[:12]}, for {statement.purpose}",
            f"epsilon {claim.epsilon:.4g}, delta {claim.delta:.2g}, {claim.adjacency} {claim.unit}",
            entry.signature + (", key revoked since" if entry.signer_revoked else ""),
        )
    console.stdout.print(table)
    console.stdout.print(
        f"verified: {report.head.size} entries, root {report.head.root_hash.hex()[:16]}, signed by "
        f"{report.head.provider}; it extends the {report.seen_before} entries seen before; "
        f"{report.receipts} receipts of this silo are in it"
        + (f", {report.proven_by_log} signed by a key that was revoked since" if report.proven_by_log else ""),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _show_release(seen: "Inspection") -> None:
    from rich.table import Table  # noqa: PLC0415 - keeps --help fast

    console.stdout.print(f"release for round {seen.challenge}: {seen.state}", highlight=False, soft_wrap=True)
    plain = seen.plaintext
    table = Table("before sealing", "type", "shape", "bytes", title=f"sha256 {plain['sha256']}")
    table.add_row("length of the header", "", "", f"{plain['length_field_bytes']:,}")
    table.add_row("header", "", "", f"{plain['header_bytes']:,}")
    for tensor in plain["tensors"]:
        table.add_row(tensor["name"], tensor["type"], str(tensor["shape"]), f"{tensor['bytes']:,}")
    table.add_row("all", "", "", f"{plain['bytes']:,}", style="bold")
    console.stdout.print(table)
    for title, part in (
        ("guarantee", seen.guarantee),
        ("statement, every signed field", (seen.statement or {}).get("predicate")),
        ("after sealing, bytes", seen.sealed),
        ("receipt", seen.receipt),
    ):
        if part:
            fields = Table(title, "")
            _rows(fields, part)
            console.stdout.print(fields)


def _rows(table: Any, document: Any, prefix: str = "") -> None:  # noqa: ANN401 - a table of rich, and JSON
    for key, value in document.items():
        if isinstance(value, dict):
            _rows(table, value, f"{prefix}{key}.")
        elif isinstance(value, list):
            for number, item in enumerate(value):
                _rows(table, item if isinstance(item, dict) else {"": item}, f"{prefix}{key}[{number}].")
        else:
            table.add_row(prefix + key, f"{value:,}" if isinstance(value, int) else str(value))
