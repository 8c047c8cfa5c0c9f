"""``llamdex-sim combination-recipe``: the constants of the experts' combination, chosen without any silo's record."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["combination_recipe"]


@app.command()
def combination_recipe(
    *,
    choosing: Annotated[int, typer.Option(min=1, help="Synthetic consortia that choose.")] = 200,
    confirming: Annotated[int, typer.Option(min=2, help="Others that say what the choice is worth.")] = 100,
    data: Annotated[
        str, typer.Option(help="synthetic, of tables, or synthetic-texts: minutes of one core for each.")
    ] = "synthetic",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Choose the constants with which experts are combined, on consortia drawn from the schema alone.

    For whoever changes experts or their combination. Minutes of one core. The constants in the code are those that this
    command chose; no real record is read.
    """
    from llamdex_fl.experts import combination_recipe as own_recipe  # noqa: PLC0415 - loads torch, --help must not
    from llamdex_fl.schema import load_library_schema  # noqa: PLC0415
    from simulations.combination_recipe import BUDGETS, choose_combination  # noqa: PLC0415
    from simulations.consortium_value import DOMAINS  # noqa: PLC0415

    if data not in BUDGETS:
        raise typer.BadParameter(f"expected one of {', '.join(BUDGETS)}", param_hint="--data")
    with console.progress() as shown:
        task = shown.add_task("synthetic consortia", total=choosing + confirming)
        choice = choose_combination(
            choosing=choosing,
            confirming=confirming,
            data=data,
            on_consortium=lambda done, _: shown.update(task, completed=done),
        )
    present = asdict(own_recipe(load_library_schema(DOMAINS[data].schema)))
    if as_json:
        console.print_json({"present": present, **asdict(choice)})
        return
    table = Table(
        "constant",
        "present",
        "chosen",
        "least log-loss by value",
        title=f"{choosing} consortia: log-loss {choice.log_loss:.4f}; {confirming} others: {choice.confirmed:.4f}, "
        f"{choice.gained:+.4f} ± {choice.gained_error:.4f} better than the present constants",
    )
    for name, chosen in asdict(choice.recipe).items():
        curve = "  ".join(f"{value:g}: {loss:.4f}" for value, loss in choice.curves[name].items())
        table.add_row(name, f"{present[name]:g}", f"{chosen:g}", curve)
    console.stdout.print(table)
