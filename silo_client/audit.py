"""An audit from outside: canaries go into trainings or not, and whoever sees only the releases guesses which.

The audit trains with the functions that make every release, on records that it draws itself from the public schema. It
opens no silo's directory, so it needs no ledger of a silo and costs nothing of a budget. What it can show is a lower
bound for one attacker, never that a training is private: docs/audit.md.

Another kind of expert is audited by another ``AuditedTrainer``; everything here but that interface is blind to it.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import AuditError, InputError
from llamdex_fl.privacy import Guarantee, Ledger
from llamdex_fl.privacy.auditing import (
    advantage_lower_bound,
    certified_advantage,
    epsilon_lower_bound,
    epsilon_of_advantage,
)
from llamdex_fl.release import Offer, Release
from llamdex_fl.schema import Schema
from silo_client.noise import NoiseSource, SecureNoise
from silo_client.policy import DEFAULT_PURPOSE, Authorisation, Policy, authorise

__all__ = ["AuditReport", "AuditedTrainer", "audit", "authorise_audit", "throwaway_ledger"]

_NOBODY = "audit"

#: Told after each training: trainings done, trainings in all.
Progress = Callable[[int, int], None]


class AuditedTrainer(Protocol):
    """A training with canaries, and an attacker of its releases. The two share nothing but public knowledge."""

    @property
    def canaries(self) -> int:
        """m, how many canaries there are; they are the same ones in every training."""
        ...

    def train(self, present_m: NDArray[np.bool_]) -> Release:
        """Make a release as a silo would, from the canaries that are present and what else is always there."""
        ...

    def scores(self, release: Release) -> NDArray[np.float64]:
        """What the attacker makes of a release, for each canary: log-odds that it was present, [m]."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditReport:
    """What an audit found.

    Attributes:
        claimed: the guarantee of every release.
        confidence: with which all bounds here hold together.
        runs: trainings.
        canaries: coins thrown, in all trainings together.
        guesses: canaries of which something was said, "in" of one half and "out" of the other.
        correct: guesses that were right.
        correct_in: right guesses among those that said "in"; the rest said "out".
        epsilon_of_guesses: lower bound at the claim's delta, from ``guesses`` and ``correct``.
        advantage: how much more often than not a canary was guessed right if all are guessed, the mean of all runs.
        advantage_lower_bound: of the true advantage.
        advantage_claimed: the most that the claimed mechanisms leave to any attacker.
        seconds: of wall time.
    """

    claimed: Guarantee
    confidence: float
    runs: int
    canaries: int
    guesses: int
    correct: int
    correct_in: int
    epsilon_of_guesses: float
    advantage: float
    advantage_lower_bound: float
    advantage_claimed: float
    seconds: float

    @property
    def empirical_lower_bound(self) -> float:
        """Epsilon at the claim's delta is not below this."""
        return max(self.epsilon_of_guesses, epsilon_of_advantage(self.advantage_lower_bound, self.claimed.delta))

    @property
    def consistent(self) -> bool:
        """Whether both bounds leave the claim standing."""
        return (
            self.empirical_lower_bound <= self.claimed.epsilon and self.advantage_lower_bound <= self.advantage_claimed
        )

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        claimed = self.claimed
        return {
            "claimed": {
                "epsilon": claimed.epsilon,
                "delta": claimed.delta,
                "adjacency": claimed.adjacency,
                "unit": claimed.unit,
                "accountant": claimed.accountant,
                "advantage": self.advantage_claimed,
            },
            "empirical_lower_bound": self.empirical_lower_bound,
            "confidence": self.confidence,
            "canaries": self.canaries,
            "guesses": self.guesses,
            "correct": self.correct,
            "runs": self.runs,
            "consistent": self.consistent,
            "seconds": self.seconds,
            "directions": {
                "in": {"guesses": self.guesses - self.guesses // 2, "correct": self.correct_in},
                "out": {"guesses": self.guesses // 2, "correct": self.correct - self.correct_in},
            },
            "bounds": {
                "guesses_epsilon": self.epsilon_of_guesses,
                "advantage": self.advantage_lower_bound,
                "advantage_epsilon": epsilon_of_advantage(self.advantage_lower_bound, claimed.delta),
            },
            "advantage": self.advantage,
        }

    def require_consistent(self) -> None:
        """Refuse to let a refuted claim pass.

        Raises:
            AuditError: a bound contradicts the claim.
        """
        if self.consistent:
            return
        raise AuditError(
            "The audit contradicts the guarantee: releases tell more of their records than they claim.",
            expected=f"epsilon of at most {self.claimed.epsilon:.4g} at delta {self.claimed.delta:g}, and an attacker "
            f"with an advantage of at most {self.advantage_claimed:.3f}",
            got=f"epsilon of at least {self.empirical_lower_bound:.4g}, and an advantage of at least "
            f"{self.advantage_lower_bound:.3f}, with confidence {self.confidence:g}",
            next_step="send nothing, and audit once more: a correct trainer is accused in one audit of "
            f"{1.0 / (1.0 - self.confidence):.0f}. If it happens again, report it: the fault is ours",
        )


def authorise_audit(schema: Schema, architecture: str, *, epsilon: float, delta: float, records: int) -> Authorisation:
    """What lets an audited training start: an offer and a policy that exist for the audit alone.

    Raises:
        InputError: epsilon or delta is out of range.
    """
    if not (0.0 < epsilon < math.inf and 0.0 < delta < 1.0):
        raise InputError(
            "This guarantee cannot be audited.",
            expected="an epsilon above 0, and a delta above 0 and below 1",
            got=f"{epsilon:g} and {delta:g}",
            next_step="give what an offer would name",
        )
    offer = Offer(
        provider=_NOBODY,
        purpose=DEFAULT_PURPOSE,
        schema_digest=schema.digest(),
        architecture=architecture,
        base_model_digest="0" * 64,
        epsilon=epsilon,
        delta=delta,
        challenge="0" * 64,
    )
    policy = Policy(
        data_set="canaries",
        schemas=(offer.schema_digest,),
        providers=(offer.provider,),
        purposes=(offer.purpose,),
        architectures=(offer.architecture,),
        record_bound=max(1, records),
        release_epsilon=epsilon,
        lifetime_epsilon=epsilon,
        delta=delta,
    )
    return authorise(offer, policy, schema)


@contextmanager
def throwaway_ledger() -> Iterator[Ledger]:
    """A ledger for one audited training; nobody's budget is touched."""
    with TemporaryDirectory(prefix="llamdex-audit-") as folder:
        yield Ledger(Path(folder) / "ledger.sqlite")


def audit(  # noqa: PLR0913 - the last two are for tests and displays
    trainer: AuditedTrainer,
    *,
    canaries: int,
    runs: int,
    confidence: float = 0.95,
    noise: NoiseSource | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Throw coins, train, attack, and bound what the releases tell.

    Args:
        trainer: what is audited.
        canaries: coins to throw, dealt over the runs as evenly as can be.
        runs: trainings.
        confidence: with which the report's bounds hold together.
        noise: source of the coins, only for tests; None takes the operating system's generator.
        progress: called after each training.

    Returns:
        The report, whether or not it is consistent.

    Raises:
        InputError: more canaries a run than the trainer has, fewer canaries than runs, or no run.
        AuditError: releases of one trainer claim different guarantees.
    """
    began = time.monotonic()
    most = -(-canaries // max(runs, 1))
    if not (1 <= runs <= canaries and most <= trainer.canaries):
        raise InputError(
            "The audit's canaries cannot be dealt over its runs.",
            expected=f"at least one canary a run, and at most {trainer.canaries}",
            got=f"{canaries} canaries, {runs} runs",
            next_step="change the number of canaries or of runs",
        )
    played = _play(trainer, canaries, runs, SecureNoise() if noise is None else noise, progress)
    guesses = _guesses(canaries)
    order = np.argsort(played.scores_m)
    said_out, said_in = order[: guesses // 2], order[canaries - (guesses - guesses // 2) :]
    right_in = int(played.coins_m[said_in].sum())
    correct = right_in + int((~played.coins_m[said_out]).sum())
    # Two bounds hold together if each is wrong with half the probability; of one training, the second says nothing.
    each = confidence if runs == 1 else 0.5 + 0.5 * confidence
    claimed = played.claimed
    return AuditReport(
        claimed=claimed,
        confidence=confidence,
        runs=runs,
        canaries=canaries,
        guesses=guesses,
        correct=correct,
        correct_in=right_in,
        epsilon_of_guesses=epsilon_lower_bound(
            canaries=canaries, guesses=guesses, correct=correct, delta=claimed.delta, confidence=each
        ),
        advantage=2.0 * float(np.mean(played.shares_r)) - 1.0,
        advantage_lower_bound=0.0 if runs == 1 else advantage_lower_bound(played.shares_r, confidence=each),
        advantage_claimed=certified_advantage(claimed.mechanisms),
        seconds=time.monotonic() - began,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Played:
    """All trainings: coins and scores of all canaries, [m], and of each training what was guessed right, [r]."""

    coins_m: NDArray[np.bool_]
    scores_m: NDArray[np.float64]
    shares_r: list[float]
    claimed: Guarantee


def _play(trainer: AuditedTrainer, canaries: int, runs: int, noise: NoiseSource, progress: Progress | None) -> _Played:
    coins, scores, shares, claims = [], [], [], set()
    for run, places in enumerate(np.array_split(np.arange(canaries), runs)):
        thrown = noise.uniforms(len(places)) < 0.5  # noqa: PLR2004 - a fair coin
        present_m = np.zeros(trainer.canaries, np.bool_)
        present_m[: len(places)] = thrown
        release = trainer.train(present_m)
        claims.add(release.guarantee)
        coins.append(thrown)
        scores.append(trainer.scores(release)[: len(places)])
        shares.append(float(((scores[-1] > 0.0) == thrown).mean()))
        if progress is not None:
            progress(run + 1, runs)
    if len(claims) != 1:
        raise AuditError(
            "The audited trainer changes its guarantee from release to release.",
            expected="one guarantee, fixed by public numbers",
            got=f"{len(claims)} in {runs} trainings",
            next_step="report it: what a guarantee is computed from may not depend on records",
        )
    return _Played(
        coins_m=np.concatenate(coins), scores_m=np.concatenate(scores), shares_r=shares, claimed=claims.pop()
    )


def _guesses(canaries: int) -> int:
    """How many guesses are made: fixed before any release is seen, as the bound demands."""
    return max(1, canaries // 3)
