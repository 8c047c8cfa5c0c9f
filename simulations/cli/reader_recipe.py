"""``llamdex-sim reader-recipe``: how well a reader reads that was trained by some recipe."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["reader_recipe"]


@app.command()
def reader_recipe(  # noqa: PLR0913 - one option each
    *,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps; the project's own without it.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Questions a step; the project's own without it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the questions and the initial weights.")] = 0,
    questions: Annotated[int, typer.Option(min=1, help="Asked by schema and wording.")] = 300,
    schemas: Annotated[
        list[str] | None, typer.Option("--schema", help="A schema to learn; again for each. Default: heart, titanic.")
    ] = None,
    texts: Annotated[bool, typer.Option("--texts", help="Let it learn a schema of texts beside the tables.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a reader by a recipe; score it in the training and the development wordings.

    For whoever changes reader, wordings or recipe. Minutes of one core. The held-out wordings stay unseen. Where no
    development wording was written, one author's training wording is left out and takes its place.
    """
    from llamdex_fl.connectors.reader import ReaderRecipe  # noqa: PLC0415 - loads torch, and --help must not
    from simulations.reader_recipe import SCHEMAS, score_recipe  # noqa: PLC0415

    learnt = schemas or list(SCHEMAS)
    recipe = ReaderRecipe(steps=steps, batch=batch or ReaderRecipe().batch, seed=seed)
    with console.progress() as shown:
        task = shown.add_task("reader", total=recipe.steps_for(len(learnt)))
        scores, seconds = score_recipe(
            recipe,
            schemas=learnt,
            questions=questions,
            texts=texts,
            on_step=lambda done, total, _: shown.update(task, completed=done, total=total),
        )
    if as_json:
        console.print_json(
            {"recipe": asdict(recipe), "seconds": seconds, "scores": [asdict(score) for score in scores]}
        )
        return
    table = Table(
        "schema",
        "wording",
        "exact match",
        "routed",
        "near misses routed",
        "weakest features",
        title=f"{recipe.steps_for(len(learnt))} steps of {recipe.batch}, {seconds:.0f} s",
    )
    for score in scores:
        weakest = sorted(score.per_feature.items(), key=lambda pair: pair[1])[:3]
        table.add_row(
            score.schema,
            score.wording,
            f"{100 * score.exact_match:.1f} %",
            f"{100 * score.routed:.1f} %",
            "-" if score.false_routes is None else f"{100 * score.false_routes:.1f} %",
            ", ".join(f"{name} {100 * share:.1f}" for name, share in weakest),
        )
    console.stdout.print(table)
