"""``llamdex-sim robustness-recipe``: how experts that contradict the others are heard, chosen by the rule."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["robustness_recipe"]


@app.command()
def robustness_recipe(
    *,
    consortia: Annotated[int, typer.Option(min=1, help="Synthetic consortia of ten silos that choose.")] = 18,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Choose how experts that contradict the others are heard, on consortia drawn from a schema alone.

    For whoever changes the combination. Minutes of one core. No real record is read.
    """
    from simulations.robustness_recipe import choose_robustness  # noqa: PLC0415 - loads torch, --help must not

    with console.progress() as shown:
        task = shown.add_task("synthetic consortia", total=consortia)
        choice = choose_robustness(consortia, on_consortium=lambda done, _: shown.update(task, completed=done))
    if as_json:
        console.print_json(asdict(choice))
        return
    table = Table("setting", "log-loss, honest", "log-loss, poisoned", title=f"{consortia} consortia; least sum first")
    table.add_row("plain mean", *(f"{loss:.4f}" for loss in choice.plain))
    for rule, clean, poisoned in sorted(choice.losses, key=lambda row: row[1] + row[2])[:10]:
        table.add_row(
            ", ".join(f"{name} {value:g}" for name, value in asdict(rule).items()), f"{clean:.4f}", f"{poisoned:.4f}"
        )
    console.stdout.print(table)
