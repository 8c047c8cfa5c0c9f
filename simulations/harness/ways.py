"""The other ways of a scenario, on the splits of its own run; and its sweep, in a plain loop of trainings.

What is done is kept, one file a seed or a value, so that an interrupted run goes on.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llamdex_fl.experts import one_against_rest
from llamdex_fl.privacy import Budget
from simulations.harness.population import Population, populate
from simulations.harness.scenario import Scenario

__all__ = ["SweptScore", "Way", "sweep", "ways_beside"]

#: As the run's own rows call it.
_NAMES = {"alone: each asks its own": "alone_own"}

Told = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way's answers to the asked records of one seed.

    Attributes:
        right: of each asked record, ``1`` if it was answered right.
        seconds: of one core, for learning and answering.
        bytes_sent: what left the silos.
        guarantee: None where no privacy was given.
    """

    name: str
    accuracy: float
    auc: float
    right: str
    seconds: float
    bytes_sent: int
    guarantee: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SweptScore:
    """One way at one value of one axis, in one seed; ``silos`` is how many there were."""

    axis: str
    value: float
    seed: int
    silos: int
    way: str
    accuracy: float
    auc: float


def ways_beside(scenario: Scenario, seed: int, directory: Path, told: Told) -> list[Way]:
    """The scenario's alternatives in one seed; none if it names none.

    Args:
        scenario: what is run.
        seed: deals and splits the records as in the run.
        directory: of this seed; the answers are kept there.
        told: of the progress.

    Raises:
        ConfigError: there is no environment for synthesis.
        ProcessError: a synthesis failed.
    """
    if not scenario.alternatives.ways:
        return []
    kept = directory / "alternatives.json"
    if kept.exists():
        return [Way(**own) for own in json.loads(kept.read_text(encoding="utf-8"))]
    population, _ = populate(scenario, seed)
    found = _answers(scenario, population, seed, scenario.alternatives.ways, f"seed {seed}: other ways", told)
    _keep(kept, [asdict(own) for own in found])
    return found


def sweep(scenario: Scenario, seeds: Sequence[int], directory: Path, told: Told) -> list[SweptScore]:
    """The scenario's silos at the other values that it asks for.

    Args:
        scenario: what is run.
        seeds: of the run; the first few are taken.
        directory: where the scores are kept.
        told: of the progress.

    Raises:
        ConfigError, ProcessError: as ``ways_beside``.
    """
    scores: list[SweptScore] = []
    values = scenario.sweep.values()
    chosen = list(seeds)[: scenario.sweep.seeds]
    for number, (axis, value) in enumerate(values):
        for place, seed in enumerate(chosen):
            told("sweep", number * len(chosen) + place, len(values) * len(chosen))
            kept = directory / f"{axis}-{value:g}-seed-{seed}.json"
            if kept.exists():
                scores += [SweptScore(**own) for own in json.loads(kept.read_text(encoding="utf-8"))]
                continue
            found = _swept(scenario, axis, value, seed, told)
            directory.mkdir(parents=True, exist_ok=True)
            _keep(kept, [asdict(own) for own in found])
            scores += found
    if values:
        told("sweep", 1, 1)
    return scores


def _swept(scenario: Scenario, axis: str, value: float, seed: int, told: Told) -> list[SweptScore]:
    if axis == "epsilon":
        other = replace(scenario, privacy=replace(scenario.privacy, epsilon=value, silos={}))
    elif axis == "silos":
        other = replace(scenario, partition=replace(scenario.partition, silos=int(value)))
    else:
        other = replace(scenario, partition=replace(scenario.partition, alpha=value))
    population, _ = populate(other, seed)
    names = ("alone", "assembled", *scenario.sweep.ways)
    return [
        SweptScore(
            axis=axis,
            value=value,
            seed=seed,
            silos=len(population.silos),
            way=way.name,
            accuracy=way.accuracy,
            auc=way.auc,
        )
        for way in _answers(other, population, seed, names, f"{axis} {value:g}, seed {seed}", told)
    ]


def _answers(  # noqa: PLR0913, PLR0917 - what is asked of whom
    scenario: Scenario, population: Population, seed: int, names: Sequence[str], stage: str, told: Told
) -> list[Way]:
    # Loads scikit-learn, peft and Flower's strategies, which a run without other ways does not need.
    from simulations.alternatives import Cohort, alternatives  # noqa: PLC0415

    cohort = Cohort(schema=population.schema, splits=population.splits, architecture=population.architecture)
    budget = Budget(epsilon=scenario.privacy.epsilon, delta=scenario.privacy.delta)
    labels_n = np.array([record.label for _, record in population.asked])
    found = []
    for number, (name, alternative) in enumerate(alternatives(list(names)).items()):
        told(f"{stage}: {name}", number, len(names))
        for outcome in alternative(cohort, budget, seed):
            chances_nC = outcome.probabilities_mC[population.asked_n]
            right_n = chances_nC.argmax(axis=1) == labels_n
            found.append(
                Way(
                    name=_NAMES.get(outcome.method, outcome.method),
                    accuracy=float(right_n.mean()),
                    auc=one_against_rest(chances_nC, labels_n),
                    right="".join("1" if right else "0" for right in right_n),
                    seconds=outcome.seconds,
                    bytes_sent=outcome.bytes_sent,
                    guarantee=asdict(outcome.spent) if outcome.spent else None,
                )
            )
        told(f"{stage}: {name}", len(names), len(names))
    return found


def _keep(path: Path, document: list[dict[str, Any]]) -> None:
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")
    beside.replace(path)
