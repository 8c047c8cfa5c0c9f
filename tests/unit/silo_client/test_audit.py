"""The audit on a mechanism whose privacy is known exactly: one Laplace count for each canary."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from llamdex_fl.errors import AuditError, InputError
from llamdex_fl.privacy import Guarantee, LaplaceCounts, certify
from llamdex_fl.release import Release
from silo_client.audit import AuditReport, audit
from silo_client.noise import laplaces
from simulations.seeded_noise import SeededNoise

DELTA = 1e-5


class Counts:
    """Each canary is a class of its own, so ``LaplaceCounts`` is the whole truth and the attacker's odds are exact."""

    def __init__(self, epsilon: float, *, canaries: int, seed: int, claimed: float | None = None) -> None:
        """Noise for ``epsilon``, a guarantee for ``claimed``."""
        self.epsilon, self.canaries, self.noise = epsilon, canaries, SeededNoise(seed)
        self.guarantee = certify([LaplaceCounts(epsilon=claimed or epsilon)], DELTA)
        self.trained: list[int] = []

    def train(self, present_m: NDArray[np.bool_]) -> Release:
        self.trained.append(int(present_m.sum()))
        counts = present_m + laplaces(self.noise, self.canaries, 1.0 / self.epsilon)
        return Release(
            schema_digest="", architecture="", tensors={"counts": counts.astype(np.float32)}, guarantee=self.guarantee
        )

    def scores(self, release: Release) -> NDArray[np.float64]:
        counts = release.tensors["counts"].astype(np.float64)
        odds: NDArray[np.float64] = self.epsilon * (np.abs(counts) - np.abs(counts - 1.0))
        return odds


def report_of(epsilon: float, seed: int, *, claimed: float | None = None, runs: int = 40) -> AuditReport:
    trainer = Counts(epsilon, canaries=-(-2000 // runs), seed=seed, claimed=claimed)
    return audit(trainer, canaries=2000, runs=runs, noise=SeededNoise(seed + 1000))


@pytest.mark.parametrize("runs", [1, 40])
def test_an_honest_claim_stands_and_the_bound_comes_near(runs: int) -> None:
    report = report_of(1.0, 1, runs=runs)
    assert report.consistent
    report.require_consistent()
    assert 0.6 < report.empirical_lower_bound <= report.claimed.epsilon <= 1.0 + 1e-3
    assert (report.canaries, report.runs) == (2000, runs)
    assert report.guesses - report.guesses // 2 >= report.correct_in > 0.6 * report.guesses / 2


@pytest.mark.parametrize("runs", [1, 40])
def test_half_the_noise_is_found(runs: int) -> None:
    report = report_of(2.0, 2, claimed=1.0, runs=runs)
    assert not report.consistent
    assert report.empirical_lower_bound > 1.2
    with pytest.raises(AuditError, match="contradicts the guarantee") as accused:
        report.require_consistent()
    assert accused.value.exit_code == 1
    assert "epsilon of at least" in accused.value.got


def test_false_alarms_are_as_rare_as_the_confidence_says() -> None:
    alarms = 0
    for seed in range(120):
        trainer = Counts(0.5, canaries=20, seed=seed)
        alarms += not audit(trainer, canaries=200, runs=10, confidence=0.9, noise=SeededNoise(seed + 9000)).consistent
    assert alarms <= 12


def test_the_coins_are_fair_and_dealt_over_the_runs() -> None:
    trainer = Counts(1.0, canaries=34, seed=3)
    done = []
    report = audit(trainer, canaries=100, runs=3, noise=SeededNoise(4), progress=lambda n, of: done.append((n, of)))
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert len(trainer.trained) == 3
    assert 30 < sum(trainer.trained) < 70
    assert report.canaries == 100
    # Nothing repeats where no test asks for it.
    again = [Counts(1.0, canaries=100, seed=3) for _ in range(2)]
    for one in again:
        audit(one, canaries=100, runs=1)
        audit(one, canaries=100, runs=1)
    assert again[0].trained != again[1].trained


def test_the_report_is_for_programs_too() -> None:
    document = report_of(1.0, 5).as_dict()
    claimed = document["claimed"]
    assert claimed["epsilon"] == pytest.approx(1.0, abs=1e-3)
    assert (claimed["delta"], claimed["adjacency"], claimed["unit"], claimed["accountant"]) == (
        DELTA,
        "add_or_remove_one",
        "record",
        "pld",
    )
    assert document["consistent"] is True
    assert document["confidence"] == 0.95
    assert document["canaries"] == 2000
    assert document["runs"] == 40
    both = document["directions"]
    assert both["in"]["guesses"] + both["out"]["guesses"] == document["guesses"]
    assert both["in"]["correct"] + both["out"]["correct"] == document["correct"]
    assert document["seconds"] >= 0.0


def test_a_guarantee_that_changes_with_the_records_is_refused() -> None:
    class Moody(Counts):
        def train(self, present_m: NDArray[np.bool_]) -> Release:
            release = super().train(present_m)
            guarantee: Guarantee = replace(release.guarantee, epsilon=1.0 + float(present_m.mean()))
            return replace(release, guarantee=guarantee)

    with pytest.raises(AuditError, match="changes its guarantee"):
        audit(Moody(1.0, canaries=50, seed=6), canaries=100, runs=2, noise=SeededNoise(6))


@pytest.mark.parametrize(("canaries", "runs"), [(100, 0), (3, 4), (101, 2), (0, 0)])
def test_canaries_that_cannot_be_dealt_are_refused(canaries: int, runs: int) -> None:
    with pytest.raises(InputError, match="cannot be dealt"):
        audit(Counts(1.0, canaries=50, seed=7), canaries=canaries, runs=runs)
