"""``llamdex-sim tabular``: one owner's table, under differential privacy and in the clear."""

import functools
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

if TYPE_CHECKING:
    from simulations.tabular import Score, TableResult

__all__ = ["tabular"]

_COLUMNS = ("expert", "regression", "boosting")


@app.command()
def tabular(  # noqa: PLR0913 - each is an option
    more: Annotated[
        list[str] | None, typer.Argument(help="More data sets, so that --datasets wine bank works.")
    ] = None,
    *,
    datasets: Annotated[
        list[str] | None, typer.Option(help="titanic, heart, nursery, wine, bank or pima, or several. All without it.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many: 0, 1, 2 ...")] = 3,
    epsilon: Annotated[float, typer.Option(min=0.05, max=16.0, help="What the release may cost.")] = 1.0,
    delta: Annotated[
        float | None,
        typer.Option(min=1e-12, max=1e-3, help="Delta of the guarantee; training records^-1.1 without it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train one private expert on each public data set, and score it beside models that see all in the clear.

    A fifth of each table is held out. The first time, the tables are downloaded. A few minutes of one core.
    """
    from simulations.datasets import TABLES  # noqa: PLC0415 - loads torch, and --help must not
    from simulations.tabular import measure_table  # noqa: PLC0415

    names = [*(datasets or []), *(more or [])] or list(TABLES)
    if unknown := [name for name in names if name not in TABLES]:
        raise typer.BadParameter(f"expected {', '.join(TABLES)}, not {unknown[0]}", param_hint="--datasets")
    results: dict[str, list[TableResult]] = {name: [] for name in names}
    with console.stages() as told:
        for name, own in results.items():
            for seed in range(seeds):
                stage = functools.partial(told, f"{name}, seed {seed}")
                own.append(measure_table(name, seed, epsilon=epsilon, delta=delta, on_step=stage))
    if as_json:
        console.print_json(
            {"seeds": seeds, "epsilon": epsilon, "data_sets": [_document(own) for own in results.values()]}
        )
        return
    console.stdout.print(_table(list(results.values()), epsilon))


def _document(own: "list[TableResult]") -> dict[str, Any]:
    from llamdex_fl.privacy import ADJACENCY, UNIT  # noqa: PLC0415 - loads scipy, and --help must not

    first = own[0]
    return {
        "data_set": first.data_set,
        "records": first.records,
        "majority": _mean_and_spread([result.majority for result in own]),
        "architecture": first.architecture,
        "guarantee": {
            "epsilon": max(result.guarantee.epsilon for result in own),
            "delta": first.guarantee.delta,
            "adjacency": ADJACENCY,
            "unit": UNIT,
        },
        **{
            column: {
                figure: _mean_and_spread([getattr(score, figure) for score in scores]) for figure in ("accuracy", "auc")
            }
            for column in _COLUMNS
            if (scores := _scores(own, column))
        },
        "seeds": [
            {
                "seed": result.seed,
                **{column: asdict(score) for column in _COLUMNS if (score := getattr(result, column))},
            }
            for result in own
        ],
    }


def _scores(own: "list[TableResult]", column: str) -> "list[Score]":
    return [score for result in own if (score := getattr(result, column)) is not None]


def _mean_and_spread(numbers: list[float]) -> dict[str, float]:
    """Mean and standard deviation over the seeds (0 for one seed)."""
    mean = sum(numbers) / len(numbers)
    variance = sum((number - mean) ** 2 for number in numbers) / max(len(numbers) - 1, 1)
    return {"mean": mean, "spread": variance**0.5}


def _table(results: "list[list[TableResult]]", epsilon: float) -> Table:
    from llamdex_fl.privacy import ADJACENCY, UNIT  # noqa: PLC0415 - loads scipy, and --help must not

    table = Table(
        title=f"On held-out records, mean ± spread over {len(results[0])} seeds; epsilon {epsilon:g} at the delta "
        f"shown, for one {UNIT} ({ADJACENCY})",
        show_lines=True,
    )
    for name in (
        "",
        "records",
        "delta",
        "majority",
        "private expert",
        "regression\nin the clear",
        "boosting\nin the clear",
    ):
        table.add_column(name, justify="right" if name else "left")
    for own in results:
        first, majority = own[0], _mean_and_spread([result.majority for result in own])["mean"]
        table.add_row(
            first.data_set,
            str(first.records),
            f"{first.guarantee.delta:.0e}",
            f"{100 * majority:.1f}",
            *[_cell(_scores(own, column)) for column in _COLUMNS],
        )
    return table


def _cell(scores: "list[Score]") -> str:
    if not scores:
        return "needs\nscikit-learn"
    right = _mean_and_spread([score.accuracy for score in scores])
    under = _mean_and_spread([score.auc for score in scores])
    return f"{100 * right['mean']:.1f} ± {100 * right['spread']:.1f}\nAUC {under['mean']:.3f} ± {under['spread']:.3f}"
