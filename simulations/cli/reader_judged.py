"""``llamdex-sim reader-judged``: what a provider's reader makes of questions that people wrote by hand."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["reader_judged"]


@app.command()
def reader_judged(
    connectors: Annotated[Path, typer.Argument(help="The provider's directory of connectors: HOME/connectors.")],
    *,
    wordings: Annotated[int, typer.Option(min=0, help="Drawn from each held-out wording besides.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, with all that was misread.")
    ] = False,
) -> None:
    """Judge a reader by the hand-written questions: exact match by schema, routing, false routes.

    These questions choose nothing: compare recipes with reader-recipe.
    """
    from llamdex_fl.connectors.texts import load_reader  # noqa: PLC0415 - loads torch, and --help must not
    from simulations.reader_judged import judged  # noqa: PLC0415

    report = judged(load_reader(connectors), wordings=wordings)
    if as_json:
        console.print_json(report)
        return
    ordinary = report.pop("ordinary")
    title = f"{ordinary['false_route_rate']:.1%} of {ordinary['asked']} ordinary questions and near misses were routed"
    table = Table("schema", "exact match", "routed", "held-out wording", "weakest features", title=title)
    for name, own in report.items():
        weakest = sorted(own["per_feature"].items(), key=lambda pair: pair[1])[:3]
        drawn = f"{own['wording']['exact_match']:.1%}" if "wording" in own else "-"
        told = ", ".join(f"{feature} {share:.0%}" for feature, share in weakest)
        table.add_row(name, f"{own['exact_match']:.1%}", f"{own['routed']:.1%}", drawn, told)
    console.stdout.print(table)
