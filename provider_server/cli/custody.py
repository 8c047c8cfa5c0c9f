"""The provider's commands for the custody of releases: init, add-schema, serve, releases."""

import logging
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from llamdex_fl import console
from provider_server.cli.main import app
from provider_server.config import load_provider_config

__all__ = ["add_schema", "init", "releases", "serve"]

Home = Annotated[Path, typer.Argument(help="The provider's directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@app.command()
def init(  # noqa: PLR0913 - each is an option
    home: Home,
    *,
    provider: Annotated[str, typer.Option("--id", help="The provider's id: lower-case letters, digits, hyphens.")],
    trust_domain: Annotated[str, typer.Option(help="The consortium's name, like a DNS name.")],
    address: Annotated[str, typer.Option(help="host:port of the upload service.")] = "127.0.0.1:18443",
    root_keys: Annotated[int, typer.Option(help="How many root keys to make.")] = 1,
    root_threshold: Annotated[int, typer.Option(help="How many of them must sign the keyring.")] = 1,
    ask_passphrase: console.AskPassphrase = False,
    passphrase_file: console.PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a provider: the consortium's root and CA, the provider's keys, and a keyring without silos.

    Prints the root's fingerprint. Tell it to every silo by another way than the network. Once silos are enrolled,
    move HOME/root to a machine without a network.
    """
    from provider_server.setup import init_provider  # noqa: PLC0415 - keeps --help fast

    fingerprint = init_provider(
        home,
        provider=provider,
        trust_domain=trust_domain,
        address=address,
        root_keys=root_keys,
        root_threshold=root_threshold,
        passphrase=console.passphrase(passphrase_file, new=True, ask=ask_passphrase),
    )
    if as_json:
        console.print_json({"root_fingerprint": fingerprint})
    else:
        console.stdout.print(f"root fingerprint {fingerprint}", soft_wrap=True, highlight=False)


@app.command("add-schema")
def add_schema(
    home: Home,
    schemas: Annotated[list[str], typer.Argument(help="Names of schemas (heart, titanic), or schema files (JSON).")],
) -> None:
    """Serve a domain: only experts for known schemas are accepted."""
    from llamdex_fl.schema import find_schema  # noqa: PLC0415 - keeps --help fast
    from provider_server.setup import add_schema as add  # noqa: PLC0415 - keeps --help fast

    # All are read before the first is put there.
    found = [find_schema(schema) for schema in schemas]
    for path in [add(home, schema) for schema in found]:
        console.stdout.print(str(path), soft_wrap=True, highlight=False, markup=False)


@app.command()
def serve(
    home: Home,
    *,
    verbose: Annotated[bool, typer.Option(help="Log every accepted upload, not refusals and faults only.")] = False,
    passphrase_file: console.PassphraseFile = None,
) -> None:
    """Run the upload service, which takes sealed experts from enrolled silos.

    Prints "ready ADDRESS" once it listens, and runs until it is stopped (Ctrl-C or SIGTERM).
    """
    from llamdex_fl.experts import tensor_shapes  # noqa: PLC0415 - keeps --help fast
    from llamdex_fl.privacy import certified_epsilon  # noqa: PLC0415 - keeps --help fast
    from provider_server.desk import Checks  # noqa: PLC0415 - keeps --help fast
    from provider_server.server import serve as run  # noqa: PLC0415 - keeps --help fast

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )

    def ready(address: str) -> None:
        sys.stdout.write(f"ready {address}\n")
        sys.stdout.flush()

    checks = Checks(tensor_shapes=tensor_shapes, certify_epsilon=certified_epsilon)
    run(load_provider_config(home), checks, ready=ready, passphrase=console.passphrase(passphrase_file))


@app.command()
def releases(
    home: Home,
    *,
    schema: Annotated[str | None, typer.Option(help="Only of the schema with this digest.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the experts that were accepted: whose, under which guarantee, and whether they may speak.

    An active expert of a silo that was revoked does not speak.
    """
    from llamdex_fl.errors import KeyringError  # noqa: PLC0415 - keeps --help fast
    from provider_server.registry import Registry, ReleaseRecord  # noqa: PLC0415
    from provider_server.speaking import speaking_releases  # noqa: PLC0415

    def document(record: ReleaseRecord) -> dict[str, Any]:
        speaks = record.release_id in speaking
        return {**asdict(record), "accepted_at": record.accepted_at.isoformat(), "speaks": speaks}

    config, speaking = load_provider_config(home), set[str]()
    with Registry(config.registry) as registry:
        records = registry.releases(schema)
        # Under a keyring that has expired nobody speaks.
        with suppress(KeyringError):
            speaking = {record.release_id for record in speaking_releases(config, registry, schema)}
    if as_json:
        console.print_json([document(record) for record in records])
        return
    table = Table("release", "silo", "architecture", "epsilon", "delta", "accepted", "status", "speaks", "reason")
    for record in records:
        table.add_row(
            record.release_id[:16],
            record.silo,
            record.architecture,
            f"{record.guarantee.epsilon:.4g}",
            f"{record.guarantee.delta:.2g}",
            f"{record.accepted_at:%Y-%m-%d %H:%M:%S}",
            record.status,
            "yes" if record.release_id in speaking else "no",
            record.reason,
        )
    console.stdout.print(table)
