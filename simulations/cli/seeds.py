"""``llamdex-sim seeds``: what a consortium is worth, over several seeds."""

import functools
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

if TYPE_CHECKING:
    from simulations.consortium_value import SeedResult

__all__ = ["seeds"]


@app.command()
def seeds(  # noqa: PLR0913 - each is an option
    more: Annotated[list[int] | None, typer.Argument(help="More seeds, so that --seeds 0 1 2 works.")] = None,
    *,
    seed: Annotated[list[int] | None, typer.Option("--seeds", min=0, help="A seed, or several: --seeds 0 1 2.")] = None,
    data: Annotated[
        str, typer.Option(help="heart; titanic, dealt to four unequal silos; synthetic, drawn from the heart schema.")
    ] = "heart",
    epsilon: Annotated[float, typer.Option(min=0.05, max=16.0, help="What each silo's release may cost.")] = 1.0,
    delta: Annotated[float, typer.Option(min=1e-12, max=1e-3, help="Delta of each guarantee.")] = 1e-4,
    provider: Annotated[
        Path | None,
        typer.Option(
            help="Home of a provider, out/demo/provider after the demo: ask its LLM about every held-out record too."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train each silo's expert, alone and assembled, and score all on the same held-out records.

    Without --seeds: 0, 1 and 2. A seed fixes which records are held out, the noise of the simulation, and how the
    questions to the LLM are worded.
    """
    from provider_server.config import load_provider_config  # noqa: PLC0415 - loads torch, and --help must not
    from provider_server.live_assembly import open_connectors  # noqa: PLC0415
    from simulations.consortium_value import DOMAINS, run_seed  # noqa: PLC0415

    if data not in DOMAINS:
        raise typer.BadParameter(f"expected one of {', '.join(DOMAINS)}", param_hint="--data")
    assembly = open_connectors(load_provider_config(provider)) if provider else None
    results = []
    with console.stages() as told:
        for each in [*(seed or []), *(more or [])] or [0, 1, 2]:
            stage = f"seed {each}"
            told(stage, 0, 0)
            results.append(
                run_seed(
                    data,
                    each,
                    epsilon=epsilon,
                    delta=delta,
                    assembly=assembly,
                    on_question=functools.partial(told, stage),
                )
            )
            if assembly is None:
                told(stage, 1, 1)
    columns = _columns(results)
    if as_json:
        summary = {name: _mean_and_spread(values) for name, values in columns.items()}
        console.print_json({"data": data, "seeds": [asdict(result) for result in results], "summary": summary})
        return
    console.stdout.print(_table(data, results, columns))


def _columns(results: "list[SeedResult]") -> dict[str, list[tuple[float, float]]]:
    """Accuracy and AUC over the seeds, of each way to answer."""
    columns = {
        f"{silo} alone": [(r.alone[silo].accuracy, r.alone[silo].auc) for r in results] for silo in results[0].alone
    }
    columns["best alone"] = [
        (max(f.accuracy for f in r.alone.values()), max(f.auc for f in r.alone.values())) for r in results
    ]
    columns["mean alone"] = [
        (
            sum(f.accuracy for f in r.alone.values()) / len(r.alone),
            sum(f.auc for f in r.alone.values()) / len(r.alone),
        )
        for r in results
    ]
    columns["assembled, asker known"] = [(r.assembled.accuracy, r.assembled.auc) for r in results]
    columns["assembled, asker unknown"] = [(r.assembled_unknown.accuracy, r.assembled_unknown.auc) for r in results]
    columns["pooled table"] = [(r.pooled.accuracy, r.pooled.auc) for r in results]
    if asked := [r.llm for r in results if r.llm]:
        columns["assembled LLM, from the question's text"] = [(own.accuracy, own.auc) for own in asked]
        columns["the same experts on the true features"] = [(own.expert_accuracy, own.expert_auc) for own in asked]
    return columns


def _mean_and_spread(values: list[tuple[float, float]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds (0 for one seed)."""
    result: dict[str, Any] = {}
    for place, name in enumerate(("accuracy", "auc")):
        numbers = [value[place] for value in values]
        mean = sum(numbers) / len(numbers)
        variance = sum((number - mean) ** 2 for number in numbers) / max(len(numbers) - 1, 1)
        result[name] = {"mean": mean, "spread": variance**0.5}
    return result


def _table(data: str, results: "list[SeedResult]", columns: dict[str, list[tuple[float, float]]]) -> Table:
    epsilon = max(result.epsilon for result in results)
    table = Table(title=f"{data}: accuracy / AUC on held-out records, epsilon {epsilon:.3f} a silo")
    table.add_column("")
    for result in results:
        table.add_column(f"seed {result.seed}", justify="right")
    table.add_column("mean ± spread", justify="right")
    for name, values in columns.items():
        summary = _mean_and_spread(values)
        accuracy = f"{100 * summary['accuracy']['mean']:.1f} ± {100 * summary['accuracy']['spread']:.1f}"
        area = f"{summary['auc']['mean']:.3f} ± {summary['auc']['spread']:.3f}"
        table.add_row(name, *[f"{100 * right:.1f} / {under:.3f}" for right, under in values], f"{accuracy} / {area}")
    return table
