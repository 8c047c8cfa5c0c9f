"""``llamdex-sim review``: the reviewer's kit."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["review"]


@app.command()
def review(
    out: Annotated[Path, typer.Option(help="Where report.html and report.json go.")] = Path("out/review"),
    flips: Annotated[int, typer.Option(min=1, help="Bits flipped in the provider's own code.")] = 100_000,
    *,
    quick: Annotated[bool, typer.Option(help="A sample of each case's tries, and no slow case.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for a program.")] = False,
) -> None:
    """Attack the upload channel as a security reviewer would, and report what held.

    Runs every hostile case against real provider processes, flips bits, searches a captured upload for weights, keys
    and records, and scans the code. To be run in the source tree. Exit code 1 if anything did not hold.
    """
    from simulations.review.kit import Settings, carry_out_review  # noqa: PLC0415 - keeps --help fast
    from simulations.review.report import write_report  # noqa: PLC0415 - keeps --help fast

    with console.progress() as shown:
        tasks: dict[str, TaskID] = {}
        began = time.monotonic()

        def told(stage: str, done: int, total: int) -> None:
            fresh = stage not in tasks
            if fresh:
                tasks[stage] = shown.add_task(stage, total=total)
            shown.update(tasks[stage], completed=done)
            if shown.disable and (fresh or done == total):
                # A log, or a pipe: a line where something begins and where it ends.
                state = "done" if done == total else "..."
                console.stderr.print(f"{time.monotonic() - began:5.0f} s  {stage} {state}", highlight=False)

        settings = Settings(out=out, root=Path.cwd(), flips=flips, thorough=not quick)
        report = carry_out_review(settings, told)
    json_path, html_path = write_report(report, out)
    if as_json:
        console.print_json(report)
    else:
        table = Table("#", "case", "must get", "got", title="Hostile cases")
        for row in report["cases"]:
            mark = "green" if row["pass"] else "bold red"
            table.add_row(str(row["id"]), row["case"], row["expected"], f"[{mark}]{row['got']}[/]")
        for part in report["parts"]:
            table.add_row("", part["name"], "passed", part["result"])
        console.stdout.print(table)
        console.stdout.print(f"{json_path}\n{html_path}", highlight=False)
    if not report["passed"]:
        raise typer.Exit(1)
