"""``llamdex-silo init`` and ``check``: a silo's directory."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llamdex_fl import console
from llamdex_fl.errors import InputError
from silo_client.cli.main import app

if TYPE_CHECKING:
    from llamdex_fl.envelope import Invitation

__all__ = ["check", "init"]

Home = Annotated[Path, typer.Argument(help="The silo's directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def init(  # noqa: PLR0913 - each is an option
    home: Home,
    *,
    data: Annotated[Path, typer.Option(help="CSV file with the private records; it stays where it is.")],
    schema: Annotated[str, typer.Option(help="A schema's name (heart, titanic), or a schema file.")],
    invitation: Annotated[
        Path | None,
        typer.Option(
            help="The provider's invitation: it says the next three, and the silo's keys and its request are made too."
        ),
    ] = None,
    silo: Annotated[str | None, typer.Option(help="The silo's id: lower-case letters, digits and hyphens.")] = None,
    provider: Annotated[str | None, typer.Option(help="The provider's id in the keyring.")] = None,
    provider_address: Annotated[
        str | None, typer.Option(help="HOST:PORT of the provider's upload service; over the invitation's.")
    ] = None,
    epsilon: Annotated[float, typer.Option(help="Most that one release may cost.")] = 1.0,
    delta: Annotated[float, typer.Option(help="Delta of every guarantee, below 1 / record-bound.")] = 1e-4,
    lifetime_epsilon: Annotated[float, typer.Option(help="Most that all releases together may cost, ever.")] = 3.0,
    record_bound: Annotated[int, typer.Option(help="Public: there are never more records than this.")] = 1000,
    ask_passphrase: console.AskPassphrase = False,
    passphrase_file: console.PassphraseFile = None,
) -> None:
    """Make a silo's directory: silo.toml, policy.toml and schema.json, for you to read and change.

    With --invitation, also what llamdex-silo enrol makes of it: the keys, and HOME/enrolment-request.json for the
    provider.
    """
    from llamdex_fl.schema import find_schema  # noqa: PLC0415 - keeps --help fast
    from silo_client.setup import init_silo  # noqa: PLC0415

    given = {"silo": silo, "provider": provider, "provider_address": provider_address}
    invited = None
    if invitation is not None:
        invited = _invitation(invitation, silo, provider)
        said = {"silo": invited.silo, "provider": invited.provider, "provider_address": invited.address}
        given = {name: value or said[name] for name, value in given.items()}
    known = {name: value for name, value in given.items() if value}
    if missing := sorted(set(given) - set(known)):
        raise InputError(
            "Something is missing.",
            expected="--silo, --provider and --provider-address, or the provider's --invitation, which says them",
            got="no " + ", ".join(f"--{name.replace('_', '-')}" for name in missing),
            next_step="see llamdex-silo init --help",
        )
    passphrase = None
    if invited is not None:
        passphrase = console.passphrase(passphrase_file, new=True, ask=ask_passphrase)
        if passphrase is not None:
            # Asked for before anything is made: two that differ leave nothing.
            passphrase()
    config = init_silo(
        home,
        data=data,
        schema=find_schema(schema),
        silo=known["silo"],
        provider=known["provider"],
        provider_address=known["provider_address"],
        epsilon=epsilon,
        delta=delta,
        lifetime_epsilon=lifetime_epsilon,
        record_bound=record_bound,
    )
    console.stdout.print(str(config.home), soft_wrap=True, highlight=False, markup=False)
    if invited is not None:
        from silo_client.enrolment import request_by_invitation  # noqa: PLC0415

        request = request_by_invitation(config.home, invited, passphrase)
        console.stdout.print(str(request), soft_wrap=True, highlight=False, markup=False)
        told = f"Next: send it to {invited.provider}, and give the answer to llamdex-silo enrol {home} REPLY"
        console.stderr.print(told, highlight=False, markup=False, soft_wrap=True)
    console.stderr.print(f"Next: llamdex-silo check {home}", highlight=False, markup=False, soft_wrap=True)


def _invitation(file: Path, silo: str | None, provider: str | None) -> "Invitation":
    """The invitation, refused before anything is written if it cannot be used."""
    from llamdex_fl.envelope import Invitation  # noqa: PLC0415 - keeps --help fast

    invited = Invitation.from_json(file.read_text(encoding="utf-8", errors="replace"))
    invited.require_usable(
        silo=silo or invited.silo, provider=provider or invited.provider, now=datetime.now(UTC).replace(microsecond=0)
    )
    return invited


@app.command()
def check(home: Home, *, as_json: AsJson = False) -> None:
    """Read the configuration, the policy and every record as a training would; spend nothing.

    The output is for the silo's own people: the number of records is private.
    """
    from silo_client.setup import check_silo  # noqa: PLC0415 - keeps --help fast

    found = check_silo(home)
    if as_json:
        console.print_json({**asdict(found), "data": str(found.data)})
        return
    policy = found.policy
    for label, text in (
        ("silo", found.silo),
        ("schema", f"{found.schema} ({found.schema_digest[:12]})"),
        ("data", f"{found.data}: {found.records} records, all good"),
        ("may go to", f"{', '.join(policy.providers)}, for {', '.join(policy.purposes)}"),
        ("a release", f"epsilon {policy.release_epsilon:g} at delta {policy.delta:g}"),
        ("spent", f"epsilon {found.epsilon_spent:.4f} of {policy.lifetime_epsilon:g}, in {found.entries} runs"),
    ):
        console.stdout.print(f"{label + ':':<11}{text}", highlight=False, markup=False, soft_wrap=True)
