"""``llamdex-provider bundle`` and ``rounds``: the Flower app that holds a round, and what became of past ones."""

from pathlib import Path
from typing import Annotated

import typer

from llamdex_fl import console
from provider_server.cli.main import app

__all__ = ["bundle", "rounds"]


@app.command()
def bundle(
    directory: Annotated[
        Path, typer.Argument(help="New or empty, or an older bundle, which is replaced; its name becomes the app's.")
    ],
) -> None:
    """Write the Flower app that silos will run beside their daemon, for "flwr run DIRECTORY".

    It is small on purpose: each silo can read it before it takes part.
    """
    from provider_server.bundle import write_bundle  # noqa: PLC0415 - keeps --help fast

    for path in sorted(write_bundle(directory).rglob("*")):
        if path.is_file():
            console.stdout.print(f"{path.stat().st_size:>8}  {path.relative_to(directory)}", highlight=False)


@app.command()
def rounds(
    home: Annotated[Path, typer.Argument(help="The provider's directory.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports for a program.")] = False,
) -> None:
    """Show the rounds that were held: who was asked, what each answered, and the receipts."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help fast

    from provider_server.config import load_provider_config  # noqa: PLC0415
    from provider_server.round_report import RoundReport  # noqa: PLC0415

    paths = (load_provider_config(home).home / "rounds").glob("*.json")
    reports = sorted((RoundReport.load(path) for path in paths), key=lambda report: report.opened_at)
    if as_json:
        console.print_json([report.as_dict() for report in reports])
        return
    table = Table("round", "state", "silo", "outcome", "asked", "seconds", "receipt")
    for report in reports:
        for silo in report.silos:
            table.add_row(
                report.round_id,
                report.state.value,
                silo.silo,
                silo.outcome or "-",
                str(silo.asked),
                f"{silo.seconds:.1f}",
                silo.receipt_id[:16],
            )
    console.stdout.print(table)
