"""Experts: each silo's alone, all assembled (ours), one on the pooled table with and without privacy.

Experts of silos are trained by the real path, from the CSV file to the release; only the noise comes from a seed.
Pooling needs what a consortium cannot have, every record in one place: it is a reference, no rival.
"""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamdex_fl import weights
from llamdex_fl.experts import Expert, Panel
from llamdex_fl.privacy import Budget
from llamdex_fl.release import Release
from simulations.alternatives.cohorts import architecture_for
from simulations.alternatives.outcome import Cohort, Outcome, Spent, with_silo
from simulations.datasets import LabelledRecord
from simulations.tabular import boosting, regression, train_on

__all__ = ["TrainedSilos", "alone", "assembled", "everything", "pooled", "pooled_dp", "record_bytes", "train_silos"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedSilos:
    """Every silo's release, in the order of the cohort's silos."""

    releases: Sequence[Release]
    experts: Sequence[Expert]
    seconds: float

    @property
    def bytes_sent(self) -> int:
        """Of the weights that leave the silos, before they are sealed."""
        return sum(len(weights.encode(release.tensors)) for release in self.releases)

    @property
    def spent(self) -> Spent:
        """By each silo."""
        return Spent.of([release.guarantee for release in self.releases])

    def assembled(self, cohort: Cohort) -> NDArray[np.float64]:
        """What all experts together say about the held-out records, the asker's silo known, [n, C]."""
        panel = Panel.of(self.experts, [release.guarantee for release in self.releases])
        evidence = panel.evidence([record.features for record in cohort.held_out])
        return evidence.combined(np.array([expert.prior for expert in self.experts])[cohort.silo_n])


@functools.lru_cache(maxsize=2)
def train_silos(cohort: Cohort, budget: Budget, seed: int) -> TrainedSilos:
    """Train each silo's expert on its own records; several alternatives start from the same ones."""
    started, architecture = time.process_time(), architecture_for(cohort)
    releases = [
        train_on(cohort.schema, part.train, architecture, budget, _seed(seed, number))
        for number, part in enumerate(cohort.splits.values())
    ]
    return TrainedSilos(
        releases=releases,
        experts=[Expert.from_tensors(cohort.schema, release.tensors, architecture) for release in releases],
        seconds=time.process_time() - started,
    )


def alone(cohort: Cohort, budget: Budget, seed: int) -> list[Outcome]:
    """Each silo's expert by itself, asked about every silo's held-out records; and each about its own silo's."""
    trained = train_silos(cohort, budget, seed)
    asked = [record.features for record in cohort.held_out]
    answers = [expert.predict_proba(asked) for expert in trained.experts]
    of_silo = [
        _outcome(f"alone: {silo}", answer, Spent.of([release.guarantee]), trained.seconds / len(answers), 0)
        for silo, answer, release in zip(cohort.splits, answers, trained.releases, strict=True)
    ]
    own_nC = np.array(answers)[cohort.silo_n, np.arange(len(asked))]
    return [*of_silo, _outcome("alone: each asks its own", own_nC, trained.spent, trained.seconds, 0)]


def assembled(cohort: Cohort, budget: Budget, seed: int) -> list[Outcome]:
    """Ours: all silos' experts, the asker's silo known."""
    trained = train_silos(cohort, budget, seed)
    started = time.process_time()
    answers_nC = trained.assembled(cohort)
    seconds = trained.seconds + time.process_time() - started
    return [_outcome("assembled", answers_nC, trained.spent, seconds, trained.bytes_sent)]


def pooled_dp(cohort: Cohort, budget: Budget, seed: int) -> list[Outcome]:
    """One expert on all silos' records at the same epsilon: without and with each record's silo as a feature."""
    return [
        _pooled_dp("pooled_dp", cohort, budget, seed),
        _pooled_dp("pooled_dp_silo", with_silo(cohort), budget, seed),
    ]


def _pooled_dp(name: str, cohort: Cohort, budget: Budget, seed: int) -> Outcome:
    started, architecture = time.process_time(), architecture_for(cohort)
    records = everything(cohort)
    release = train_on(cohort.schema, records, architecture, budget, _seed(seed, len(cohort.splits)))
    expert = Expert.from_tensors(cohort.schema, release.tensors, architecture)
    answers_nC = expert.predict_proba([record.features for record in cohort.held_out])
    spent = Spent.of([release.guarantee], "the pooled")
    return _outcome(name, answers_nC, spent, time.process_time() - started, record_bytes(cohort))


def pooled(cohort: Cohort, _budget: Budget, _seed_of_noise: int) -> list[Outcome]:
    """The ceiling: regression on the expert's codes, and boosting, on all records in the clear, silos known."""
    known = with_silo(cohort)
    outcomes = []
    for name, learn in (("pooled", regression), ("pooled_boosting", boosting)):
        started = time.process_time()
        answers_nC = learn(known.schema, everything(known), known.held_out)
        if answers_nC is not None:
            seconds = time.process_time() - started
            outcomes.append(_outcome(name, answers_nC, None, seconds, record_bytes(cohort)))
    return outcomes


def everything(cohort: Cohort) -> list[LabelledRecord]:
    """All records that may be learned from, silo after silo."""
    return [record for part in cohort.splits.values() for record in part.train]


def record_bytes(cohort: Cohort) -> int:
    """About what all records that may be learned from have as CSV."""
    return sum(
        sum(len(str(value)) + 1 for value in record.features.values()) + len(cohort.schema.target.labels[record.label])
        for record in everything(cohort)
    )


def _seed(seed: int, number: int) -> int:
    # As in simulations.consortium_value, so that both give the same figures.
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _outcome(
    method: str, probabilities_nC: NDArray[np.float64], spent: Spent | None, seconds: float, bytes_sent: int
) -> Outcome:
    return Outcome(
        method=method,
        probabilities_mC=probabilities_nC,
        rows_m=np.arange(len(probabilities_nC)),
        spent=spent,
        seconds=seconds,
        bytes_sent=bytes_sent,
    )
