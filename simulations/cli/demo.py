"""``llamdex-sim demo``: the main job on one machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["demo"]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the consortium lives and the report goes.")] = Path("out/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Fixes who is held out and how questions are worded.")] = 0,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for a program.")] = False,
) -> None:
    """Let four hospitals train private experts, send them sealed, and ask the assembled LLM about new patients.

    Interrupted, it goes on from where it was. Run again, it keeps experts and connectors.
    """
    from simulations.demo import DemoSettings, run_demo, write_report  # noqa: PLC0415 - torch, not for --help
    from simulations.demo.report import summary_rows  # noqa: PLC0415

    with console.stages() as on_progress:
        report = run_demo(DemoSettings(out=out.resolve(), seed=seed), on_progress)
    json_path, html_path = write_report(report, out)
    if as_json:
        console.print_json(report)
        return
    table = Table("", "on held-out patients", title="Four hospitals, one model")
    for measure, value in summary_rows(report):
        table.add_row(measure, value)
    console.stdout.print(table)
    console.stdout.print(f"{json_path}\n{html_path}", highlight=False)
    console.stdout.print('Now ask it something: llamdex-provider ask "..."', highlight=False, markup=False)
