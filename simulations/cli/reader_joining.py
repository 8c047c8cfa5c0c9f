"""``llamdex-sim reader-joining``: how well a schema joins a reader that was trained without it."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["reader_joining"]

_FIVE = ("heart", "titanic", "bank", "nursery", "wine")


@app.command()
def reader_joining(
    left_out: Annotated[str, typer.Argument(help="The schema that joins: heart, titanic, bank, nursery or wine.")],
    *,
    schemas: Annotated[
        list[str] | None,
        typer.Option("--schema", help="A schema to learn before; again for each. Default: the others of the five."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps before; the project's own without it.")] = None,
    questions: Annotated[int, typer.Option(min=1, help="Asked by schema.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a reader without a schema, then let it join by its description, its vocabulary and a short fit.

    Each way is scored in the development wordings, with and without people's wordings of the new schema, and so are
    the schemas that were known before. Some twenty minutes of one core.
    """
    from llamdex_fl.connectors.reader import ReaderRecipe  # noqa: PLC0415 - loads torch, and --help must not
    from simulations.reader_extension import score_joining  # noqa: PLC0415

    known = schemas or [name for name in _FIVE if name != left_out]
    with console.progress() as shown:
        task = shown.add_task("reader", total=None)
        scores = score_joining(
            left_out,
            known,
            recipe=ReaderRecipe(steps=steps),
            questions=questions,
            on_step=lambda done, total, _: shown.update(task, completed=done, total=total),
        )
    if as_json:
        console.print_json({"left_out": left_out, "scores": [asdict(score) for score in scores]})
        return
    table = Table("way", "seconds", left_out, "routed", *known, title=f"{left_out} joins")
    for score in scores:
        new = ("-", "-") if score.new is None else (_percent(score.new.exact_match), _percent(score.new.routed))
        table.add_row(score.way, f"{score.seconds:.1f}", *new, *(_percent(own.exact_match) for own in score.known))
    console.stdout.print(table)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
