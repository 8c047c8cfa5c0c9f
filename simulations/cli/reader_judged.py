"""``llamdex-sim reader-judged``: what a provider's reader makes of questions that people wrote by hand."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["reader_judged"]


class _Questions(StrEnum):
    """Which hand-written questions are read."""

    HELD_OUT = "held-out"
    DEVELOPMENT = "development"


@app.command()
def reader_judged(
    connectors: Annotated[Path, typer.Argument(help="The provider's directory of connectors: HOME/connectors.")],
    *,
    questions: Annotated[
        _Questions, typer.Option(help="held-out: those that judge. development: those that may be looked at.")
    ] = _Questions.HELD_OUT,
    wordings: Annotated[int, typer.Option(min=0, help="Drawn from each held-out wording besides.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, with all that was misread.")
    ] = False,
) -> None:
    """Judge a reader by the hand-written questions: exact match by schema, routing, false routes.

    The held-out questions choose nothing: compare recipes with reader-recipe. With --questions development every
    mistake on the development questions is listed; wordings may be mended by those.
    """
    from llamdex_fl.connectors.texts import load_reader  # noqa: PLC0415 - loads torch, and --help must not
    from simulations.reader_judged import judged, misread  # noqa: PLC0415

    development = questions is _Questions.DEVELOPMENT
    if development and wordings:
        raise typer.BadParameter("--wordings draws from the held-out wordings; leave it out with development")
    reader = load_reader(connectors)
    report = misread(reader) if development else judged(reader, wordings=wordings)
    if as_json:
        console.print_json(report)
        return
    ordinary = report.pop("ordinary", None)
    title = "Development questions"
    if ordinary is not None:
        title = (
            f"{ordinary['false_route_rate']:.1%} of {ordinary['asked']} ordinary questions and near misses were routed"
        )
    table = Table("schema", "exact match", "by hand", "routed", "held-out wording", "weakest features", title=title)
    for name, own in report.items():
        weakest = sorted(own["per_feature"].items(), key=lambda pair: pair[1])[:3]
        drawn = f"{own['wording']['exact_match']:.1%}" if "wording" in own else "-"
        told = ", ".join(f"{feature} {share:.0%}" for feature, share in weakest)
        hands = " / ".join(f"{share:.1%}" for share in own.get("hands", {}).values()) or "-"
        table.add_row(name, f"{own['exact_match']:.1%}", hands, f"{own['routed']:.1%}", drawn, told)
    console.stdout.print(table)
    if development:
        _print_mistakes(report)


def _print_mistakes(report: dict[str, Any]) -> None:
    table = Table("question", "feature", "is", "read")
    for own in report.values():
        for mistake in sorted(own["wrong"], key=lambda one: (one["feature"], one["id"])):
            table.add_row(mistake["id"], mistake["feature"], str(mistake["is"]), str(mistake["read"]))
    console.stdout.print(table)
