"""``llamdex-sim demo-all``: experts for five schemas behind one assembly."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["demo_all"]


@app.command("demo-all")
def demo_all(
    out: Annotated[Path, typer.Option(help="Where the consortium lives and the report goes.")] = Path("out/demo-all"),
    seed: Annotated[int, typer.Option(min=0, help="Fixes who is held out and how questions are worded.")] = 0,
    epsilon: Annotated[float, typer.Option(min=0.1, help="Of each silo's release.")] = 1.0,
    questions: Annotated[int, typer.Option(min=4, help="Held-out records of each schema that are asked about.")] = 40,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for a program.")] = False,
) -> None:
    """Let eight owners of five kinds of tables train private experts, and ask the one LLM about all of them.

    Hospitals, a ship's archive, a bank, a nursery office and a winery. Interrupted, it goes on from where it was. Run
    again, it keeps experts and connectors.
    """
    from simulations.all_demo import AllDemoSettings, run_all_demo, summary_rows  # noqa: PLC0415 - torch, not for --help

    settings = AllDemoSettings(out=out.resolve(), seed=seed, epsilon=epsilon, questions=questions)
    with console.stages() as on_progress:
        report = run_all_demo(settings, on_progress)
    if as_json:
        console.print_json(report)
        return
    table = Table("", "read", "LLM", "experts, true features", "LLM alone", "calibration", "routed")
    for row in summary_rows(report):
        table.add_row(*row)
    console.stdout.print(table)
    console.stdout.print(f"{out / 'report.json'}", highlight=False)
    console.stdout.print(
        f'Now ask it: llamdex-provider ask --home {out / "provider"} "..."', highlight=False, markup=False
    )
