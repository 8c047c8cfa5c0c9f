"""Whether a difference is more than chance: intervals over seeds, and paired tests over seeds and records.

Two alternatives answer the same held-out records of the same seeds, so everything is paired. Seeds share records, so
tests over records alone would claim too much: the bootstrap draws seeds first, and records within each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["Difference", "Interval", "SeedDifference", "interval", "paired_difference", "seed_difference"]

_DRAWS = 4000
#: Differences that spread by less are one number, but for rounding.
_ALIKE = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean with its confidence interval; ``low`` and ``high`` are None for one number, which tells no spread."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How much more often one alternative is right than another.

    Attributes:
        mean: share of right answers, the one less the other, mean over seeds.
        low, high: 95 % interval of the bootstrap over seeds and records.
        p_bootstrap: two-sided.
        p_wilcoxon: signed ranks of the seeds' differences, two-sided; None below 5 seeds, which cannot reach 0.05.
    """

    mean: float
    low: float
    high: float
    p_bootstrap: float
    p_wilcoxon: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedDifference:
    """How much better one alternative is than another by a figure that a seed has only one of, such as AUC.

    Attributes:
        mean: over seeds, the one less the other.
        low, high: Student's 95 % interval of the mean of the differences; None for one seed.
        p_t: of the paired t-test, two-sided; None for one seed, and where all differences are alike.
        p_wilcoxon: signed ranks, two-sided; None below 5 seeds.
        wins: seeds in which the one is above the other.
        seeds: how many.
    """

    mean: float
    low: float | None
    high: float | None
    p_t: float | None
    p_wilcoxon: float | None
    wins: int
    seeds: int


def seed_difference(one: Sequence[float], other: Sequence[float]) -> SeedDifference:
    """Compare a figure of the same seeds.

    Args:
        one: by seed.
        other: the same seeds.

    Raises:
        ValueError: they are not of the same seeds, or of none.
    """
    if not one or len(one) != len(other):
        raise ValueError("paired figures are needed: the same seeds on both sides")
    gaps = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    found = interval(gaps.tolist())
    spread = len(gaps) > 1 and float(gaps.std(ddof=1)) > _ALIKE
    return SeedDifference(
        mean=found.mean,
        low=found.low,
        high=found.high,
        p_t=float(stats.ttest_1samp(gaps, 0.0).pvalue) if spread else None,
        p_wilcoxon=_wilcoxon(gaps),
        wins=int((gaps > 0.0).sum()),
        seeds=len(gaps),
    )


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean over seeds, with Student's interval.

    Args:
        values: one a seed, at least one.
        level: of the interval.
    """
    numbers = np.asarray(values, np.float64)
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return Interval(mean=mean, low=None, high=None)
    half = float(stats.t.ppf(0.5 + level / 2.0, len(numbers) - 1) * numbers.std(ddof=1) / math.sqrt(len(numbers)))
    return Interval(mean=mean, low=mean - half, high=mean + half)


def paired_difference(
    one: Sequence[NDArray[np.bool_]], other: Sequence[NDArray[np.bool_]], *, seed: int = 0
) -> Difference:
    """Compare two alternatives.

    Args:
        one: by seed, of each record whether it was answered right.
        other: the same seeds and records.
        seed: of the bootstrap.

    Raises:
        ValueError: they do not answer the same records.
    """
    if not one or [len(own) for own in one] != [len(own) for own in other]:
        raise ValueError("paired answers are needed: the same seeds and records on both sides")
    gaps = [a.astype(np.float64) - b.astype(np.float64) for a, b in zip(one, other, strict=True)]
    by_seed = np.array([gap.mean() for gap in gaps])
    random = np.random.default_rng(seed)
    # Of one seed's records drawn anew only the sum is needed, and that is a multinomial of wins, losses and ties.
    shares = [np.array([(gap == value).mean() for value in (1.0, -1.0, 0.0)]) for gap in gaps]
    drawn = np.array(
        [
            random.multinomial(len(gap), share, size=(_DRAWS, len(gaps))) @ np.array([1.0, -1.0, 0.0]) / len(gap)
            for gap, share in zip(gaps, shares, strict=True)
        ]
    )
    chosen = random.integers(len(gaps), size=(_DRAWS, len(gaps)))
    # Each draw's place has noise of its own, so that a seed drawn twice brings different records.
    rows = np.arange(_DRAWS)[:, None]
    means = drawn[chosen, rows, np.arange(len(gaps))[None, :]].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    below, above = (means <= 0.0).mean(), (means >= 0.0).mean()
    return Difference(
        mean=float(by_seed.mean()),
        low=float(low),
        high=float(high),
        p_bootstrap=float(min(1.0, 2.0 * max(min(below, above), 1.0 / _DRAWS))),
        p_wilcoxon=_wilcoxon(by_seed),
    )


def _wilcoxon(differences: NDArray[np.float64]) -> float | None:
    if len(differences) < 5:  # noqa: PLR2004 - with four, the least p is 1/8
        return None
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="zsplit").pvalue)
