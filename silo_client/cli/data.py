"""``llamdex-silo init`` and ``check``: a silo's directory."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llamdex_fl import console
from silo_client.cli.main import app

__all__ = ["check", "init"]

Home = Annotated[Path, typer.Argument(help="The silo's directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def init(  # noqa: PLR0913 - each is an option
    home: Home,
    *,
    silo: Annotated[str, typer.Option(help="The silo's id: lower-case letters, digits and hyphens.")],
    data: Annotated[Path, typer.Option(help="CSV file with the private records; it stays where it is.")],
    schema: Annotated[str, typer.Option(help="A schema's name (heart, titanic), or a schema file.")],
    provider: Annotated[str, typer.Option(help="The provider's id in the keyring.")],
    provider_address: Annotated[str, typer.Option(help="HOST:PORT of the provider's upload service.")],
    epsilon: Annotated[float, typer.Option(help="Most that one release may cost.")] = 1.0,
    delta: Annotated[float, typer.Option(help="Delta of every guarantee, below 1 / record-bound.")] = 1e-4,
    lifetime_epsilon: Annotated[float, typer.Option(help="Most that all releases together may cost, ever.")] = 3.0,
    record_bound: Annotated[int, typer.Option(help="Public: there are never more records than this.")] = 1000,
) -> None:
    """Make a silo's directory: silo.toml, policy.toml and schema.json, for you to read and change."""
    from llamdex_fl.schema import find_schema  # noqa: PLC0415 - keeps --help fast
    from silo_client.setup import init_silo  # noqa: PLC0415

    config = init_silo(
        home,
        silo=silo,
        data=data,
        schema=find_schema(schema),
        provider=provider,
        provider_address=provider_address,
        epsilon=epsilon,
        delta=delta,
        lifetime_epsilon=lifetime_epsilon,
        record_bound=record_bound,
    )
    console.stdout.print(str(config.home), soft_wrap=True, highlight=False, markup=False)
    console.stderr.print(f"Next: llamdex-silo check {home}", highlight=False, markup=False, soft_wrap=True)


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
