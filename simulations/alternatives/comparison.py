"""All alternatives on one data set over several seeds: figures with intervals, and paired tests against ours.

An alternative's settings are fixed before it runs, here and in the modules of this package; held-out records choose
nothing. ``best_synthesis`` is the one look at them: of all routes by synthesis the one with the best mean is compared
with ours, which favours synthesis.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import InputError
from llamdex_fl.experts import one_against_rest
from llamdex_fl.privacy import Budget
from simulations.alternatives.cohorts import architecture_for, delta_for, load_cohort
from simulations.alternatives.outcome import Alternative, Cohort, Outcome
from simulations.alternatives.paired import interval, paired_difference

__all__ = ["OURS", "Answered", "Comparison", "compare"]

OURS = "assembled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One alternative's answers at one seed; ``auc`` is None where the asked records have one class."""

    outcome: Outcome
    right_m: NDArray[np.bool_]
    accuracy: float
    auc: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One data set.

    Attributes:
        answered: by method, one a seed.
        majority: share of the commonest class among the held-out records, by seed.
    """

    data_set: str
    seeds: Sequence[int]
    silos: Mapping[str, int]
    architecture: str
    delta: float
    majority: Sequence[float]
    answered: Mapping[str, Sequence[Answered]]

    @property
    def best_synthesis(self) -> str | None:
        """The tabular route by synthesis in silos with the best mean accuracy; None where none ran."""
        routes = [name for name in self.answered if name.startswith("synthesis_") and "_single_owner" not in name]
        return max(routes, key=lambda name: _mean([own.accuracy for own in self.answered[name]]), default=None)

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints of it."""
        best = self.best_synthesis
        return {
            "data_set": self.data_set,
            "seeds": list(self.seeds),
            "silos": dict(self.silos),
            "architecture": self.architecture,
            "delta": self.delta,
            "majority": _mean(self.majority),
            "best_synthesis_name": best,
            "best_synthesis": None if best is None else _mean([own.accuracy for own in self.answered[best]]),
            "methods": {name: self._method(name) for name in self.answered},
        }

    def _method(self, name: str) -> dict[str, Any]:
        own = self.answered[name]
        areas = [one.auc for one in own if one.auc is not None]
        spent = own[0].outcome.spent
        return {
            "accuracy": asdict(interval([one.accuracy for one in own])),
            "auc": asdict(interval(areas)) if areas else None,
            "by_seed": [
                {"seed": seed, "accuracy": one.accuracy, "auc": one.auc}
                for seed, one in zip(self.seeds, own, strict=True)
            ],
            "asked": [len(one.right_m) for one in own],
            "guarantee": None if spent is None else asdict(spent),
            "seconds": _mean([one.outcome.seconds for one in own]),
            "bytes_sent": _mean([one.outcome.bytes_sent for one in own]),
            "ours_less_this": self._against_ours(name),
            "told": dict(own[-1].outcome.told),
        }

    def _against_ours(self, name: str) -> dict[str, Any] | None:
        """On the records that both were asked."""
        if name == OURS or OURS not in self.answered:
            return None
        ours = []
        for mine, other in zip(self.answered[OURS], self.answered[name], strict=True):
            place = {row: index for index, row in enumerate(mine.outcome.rows_m.tolist())}
            ours.append(mine.right_m[[place[row] for row in other.outcome.rows_m.tolist()]])
        return asdict(paired_difference(ours, [own.right_m for own in self.answered[name]]))


def compare(  # noqa: PLR0913 - what a comparison needs
    data_set: str,
    seeds: Sequence[int],
    methods: Mapping[str, Alternative],
    *,
    epsilon: float = 1.0,
    delta: float | None = None,
    cohort_of: Callable[[str, int], Cohort] = load_cohort,
    on_step: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Run alternatives on the same splits.

    Args:
        data_set: a key of ``simulations.alternatives.COHORTS``.
        seeds: each deals the records, holds some out and fixes the noise.
        methods: what to run, by name.
        epsilon: of each table that something is published of.
        delta: None for ``delta_for``.
        cohort_of: where the records come from.
        on_step: told (done, in all) after each alternative.

    Raises:
        ArtefactError: the data cannot be had.
        LlamdexError: of an alternative.
    """
    if not seeds or not methods:
        raise InputError(
            "There is nothing to compare.",
            expected="at least one seed and one method",
            got=f"{len(seeds)} seeds and {len(methods)} methods",
            next_step="name some",
        )
    answered: dict[str, list[Answered]] = {}
    majority, done = [], 0
    for seed in seeds:
        cohort = cohort_of(data_set, seed)
        labels_n = cohort.labels_n
        majority.append(float(np.bincount(labels_n).max() / len(labels_n)))
        budget = Budget(epsilon=epsilon, delta=delta or delta_for(cohort))
        for alternative in methods.values():
            for outcome in alternative(cohort, budget, seed):
                answered.setdefault(outcome.method, []).append(_scored(outcome, labels_n))
            done += 1
            if on_step is not None:
                on_step(done, len(seeds) * len(methods))
    return Comparison(
        data_set=data_set,
        seeds=seeds,
        silos={silo: len(part.train) for silo, part in cohort.splits.items()},
        architecture=architecture_for(cohort),
        delta=budget.delta,
        majority=majority,
        answered=answered,
    )


def _scored(outcome: Outcome, labels_n: NDArray[np.int64]) -> Answered:
    labels_m = labels_n[outcome.rows_m]
    right_m = outcome.probabilities_mC.argmax(axis=1) == labels_m
    several = len(np.unique(labels_m)) > 1
    return Answered(
        outcome=outcome,
        right_m=right_m,
        accuracy=float(right_m.mean()),
        auc=one_against_rest(outcome.probabilities_mC, labels_m) if several else None,
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
