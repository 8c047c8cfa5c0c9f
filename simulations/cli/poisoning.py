"""``llamdex-sim poisoning``: what is left of a consortium's accuracy when some of its silos are poisoned."""

import functools
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

if TYPE_CHECKING:
    from simulations.poisoning import PoisonedConsortium

__all__ = ["poisoning"]

_FIGURES = ("accuracy", "auc", "log_loss", "accuracy_unknown", "triggered_rate")


@app.command()
def poisoning(  # noqa: PLR0913 - each is an option
    *,
    data: Annotated[
        str, typer.Option(help="synthetic, drawn from the heart schema, or titanic, dealt to unequal silos.")
    ] = "synthetic",
    silos: Annotated[int, typer.Option(min=2, max=200, help="Members of the consortium.")] = 10,
    poisoned: Annotated[int, typer.Option(min=0, max=200, help="How many of them are poisoned.")] = 2,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many: 0, 1, 2 ...")] = 3,
    epsilon: Annotated[float, typer.Option(min=0.05, max=16.0, help="What each silo's release may cost.")] = 1.0,
    delta: Annotated[float, typer.Option(min=1e-12, max=1e-3, help="Delta of each guarantee.")] = 1e-4,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Poison some silos, and compare a plain mean of the experts with the project's combination.

    Each way to poison is trained for real. Figures are of the honest silos' held-out records. A seed fixes the
    consortium, who is poisoned, which records are held out, and the noise. About 10 s of one core a seed.
    """
    from llamdex_fl.privacy import ADJACENCY, UNIT, Budget  # noqa: PLC0415 - loads torch, and --help must not
    from simulations.poisoning import CONDITIONS, poison  # noqa: PLC0415

    if poisoned >= silos:
        raise typer.BadParameter(f"at least one of {silos} silos is honest", param_hint="--poisoned")
    budget = Budget(epsilon=epsilon, delta=delta)
    results = []
    with console.stages() as told:
        stage = functools.partial(told, "consortia")
        stage(0, seeds)
        for seed in range(seeds):
            results.append(_measured(poison(data, silos=silos, poisoned=poisoned, seed=seed, budget=budget)))
            stage(seed + 1, seeds)
    summary = {
        condition: {
            rule: {name: _mean_and_spread([own[condition][rule][name] for own in results]) for name in _FIGURES}
            for rule in ("plain", "robust")
        }
        | {
            name: sum(own[condition][name] for own in results)
            for name in ("quarantined_poisoned", "quarantined_honest", "most_disagreeing_poisoned")
        }
        for condition in CONDITIONS
    }
    if as_json:
        guarantee = {"epsilon": epsilon, "delta": delta, "adjacency": ADJACENCY, "unit": UNIT}
        made = {"data": data, "silos": silos, "poisoned": poisoned, "guarantee": guarantee}
        console.print_json({**made, "seeds": results, "summary": summary})
        return
    title = f"{data}: {poisoned} of {silos} silos poisoned, {seeds} seeds; epsilon {epsilon:g} (delta {delta:g}, "
    console.stdout.print(_table(title + f"{ADJACENCY}, {UNIT}) a silo", summary, poisoned * seeds))


def _measured(made: "PoisonedConsortium") -> dict[str, Any]:
    """By condition: the figures of both rules, and what the checks would have found."""
    from llamdex_fl.experts import disagreement  # noqa: PLC0415 - see above
    from simulations.poisoning import CONDITIONS, PLAIN, measure, quarantined  # noqa: PLC0415

    found: dict[str, Any] = {}
    for condition in CONDITIONS:
        experts, places = made.members(condition)
        kept = set(quarantined(made, condition))
        far_i = disagreement(experts, [made.clean.guarantees[place] for place in places])
        farthest = {places[place] for place in (-far_i).argsort()[: len(made.attackers)]}
        bad = set(made.attackers) if condition not in {"clean", "left_out"} else set()
        found[condition] = {
            "plain": asdict(measure(made, condition, PLAIN)),
            "robust": asdict(measure(made, condition)),
            "disagreement": {str(place): float(far) for place, far in zip(places, far_i, strict=True)},
            "quarantined_poisoned": len(kept & bad),
            "quarantined_honest": len(kept - bad),
            "most_disagreeing_poisoned": len(farthest & bad),
        }
    return {"attackers": list(made.attackers), **found}


def _mean_and_spread(numbers: list[float]) -> dict[str, float]:
    """Mean and standard deviation over the seeds (0 for one seed)."""
    mean = sum(numbers) / len(numbers)
    variance = sum((number - mean) ** 2 for number in numbers) / max(len(numbers) - 1, 1)
    return {"mean": mean, "spread": variance**0.5}


def _table(title: str, summary: dict[str, Any], poisoned: int) -> Table:
    table = Table(title=title)
    table.add_column("")
    for name in (
        "plain mean\naccuracy / AUC",
        "robust\naccuracy / AUC",
        "asker unknown\nplain / robust",
        "trigger works\nplain / robust",
        "quarantined\npoisoned, honest",
        "disagree most\nof the poisoned",
    ):
        table.add_column(name, justify="right")
    for condition, own in summary.items():

        def percent(rule: str, name: str, own: Any = own) -> str:  # noqa: ANN401 - of JSON
            return f"{100 * own[rule][name]['mean']:.1f}"

        attacked = condition not in {"clean", "left_out"}
        table.add_row(
            condition.replace("_", " "),
            *[f"{percent(rule, 'accuracy')} / {own[rule]['auc']['mean']:.3f}" for rule in ("plain", "robust")],
            *[
                f"{percent('plain', name)} / {percent('robust', name)}"
                for name in ("accuracy_unknown", "triggered_rate")
            ],
            f"{own['quarantined_poisoned']} of {poisoned}, {own['quarantined_honest']}"
            if attacked
            else f"-, {own['quarantined_honest']}",
            f"{own['most_disagreeing_poisoned']} of {poisoned}" if attacked else "-",
        )
    return table
