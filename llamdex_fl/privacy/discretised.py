"""Pessimistic privacy loss distributions of single mechanisms, and how wide their buckets should be.

The discretisation ("connect the dots") and the composition are dp-accounting's. The hockey-stick divergences that it
connects are computed here for all buckets at once: its own loop over buckets takes seconds where the noise is low, and
those seconds are better spent on narrower buckets. A test holds both against each other.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from llamdex_fl.privacy.guarantee import Mechanism
from llamdex_fl.privacy.loss import Direction, composition_laws

if TYPE_CHECKING:
    from dp_accounting.pld import pld_pmf
    from dp_accounting.pld import privacy_loss_distribution as pld

__all__ = ["bucket_width", "laplace_counts", "sampled_gaussian"]

Floats = NDArray[np.float64]

#: The widest bucket; narrower ones are it divided by powers of two, so that two machines choose alike.
_WIDEST = 1e-4
#: Rounding should make epsilon larger by about this much at most.
_ROUNDING_COST = 5e-6
_MAX_BUCKETS = 4e6
#: Standard deviations of the noise within which the loss is finite; the rest, exp(-52), counts as an infinite loss.
_REACH = 10.2


def bucket_width(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """The width of a bucket with which rounding costs next to nothing, and memory stays in bounds.

    Rounding adds about a twelfth of a squared width to the variance of every step, and epsilon grows with the standard
    deviation of the sum. Any width is safe; this is only about tightness and cost.
    """
    laws = composition_laws(mechanisms, "remove")
    steps = sum(law.times for law in laws)
    variance = sum(law.times * law.mean_and_moments(2)[1][0] for law in laws)
    epsilon = 0.5 * variance + math.sqrt(2.0 * variance * math.log(1.0 / delta))
    wanted = math.sqrt(12.0 * _ROUNDING_COST * variance / (steps * epsilon)) if variance > 0.0 else _WIDEST
    span = max(float(law.losses_N.max()) for law in laws) + 20.0 * math.sqrt(variance) + variance
    halvings = math.ceil(max(math.log2(_WIDEST / max(wanted, span / _MAX_BUCKETS, 1e-12)), 0.0))
    return _WIDEST / 2.0**halvings


def sampled_gaussian(rate: float, noise: float, width: float) -> "pld.PrivacyLossDistribution":
    """The distribution of one step, both directions."""
    from dp_accounting.pld import privacy_loss_distribution as pld  # noqa: PLC0415 - takes a second

    remove = _connected(rate, noise, width, "remove")
    if rate == 1.0:
        return pld.PrivacyLossDistribution(remove)
    return pld.PrivacyLossDistribution(remove, _connected(rate, noise, width, "add"))


def laplace_counts(epsilon: float, width: float) -> "pld.PrivacyLossDistribution":
    """The distribution of noisy counts."""
    from dp_accounting.pld import privacy_loss_distribution as pld  # noqa: PLC0415 - takes a second

    return pld.from_laplace_mechanism(
        1.0 / epsilon, value_discretization_interval=width, pessimistic_estimate=True, use_connect_dots=True
    )


def _connected(rate: float, noise: float, width: float, direction: Direction) -> "pld_pmf.PLDPmf":
    from dp_accounting.pld import pld_pmf  # noqa: PLC0415 - takes a second

    ends = [_log_ratio(rate, noise, output) for output in (-_REACH * noise, 1.0 + _REACH * noise)]
    low, high = ends if direction == "remove" else (-ends[1], -ends[0])
    first, last = math.floor(low / width), math.ceil(high / width)
    divergences_N = _divergences(rate, noise, direction, width * np.arange(first, last + 1, dtype=np.float64))
    return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(width, first, last, divergences_N)


def _log_ratio(rate: float, noise: float, output: float) -> float:
    log_rest = math.log1p(-rate) if rate < 1.0 else -math.inf
    return float(np.logaddexp(log_rest, math.log(rate) + (2.0 * output - 1.0) / (2.0 * noise**2)))


def _divergences(rate: float, noise: float, direction: Direction, epsilons_N: Floats) -> Floats:
    """The hockey-stick divergence of one step at each epsilon: P(x > c) - e^eps Q(x > c), c where the loss is eps.

    With r the log-ratio at c, e^r - (1 - q) = q exp((2 c - 1) / (2 s^2)), and in these terms nothing cancels.
    """
    ratios_N = epsilons_N if direction == "remove" else -epsilons_N
    weight_N = np.expm1(ratios_N) + rate
    reached_N = weight_N > 0.0
    safe_N = np.where(reached_N, weight_N, 1.0)
    output_N = 0.5 + noise**2 * (np.log(safe_N) - math.log(rate))
    if direction == "remove":
        found_N = rate * ndtr((1.0 - output_N) / noise) - safe_N * ndtr(-output_N / noise)
        found_N = np.where(reached_N, found_N, -np.expm1(epsilons_N))
    else:
        # e^eps (1 - q + q w) is 1 where the loss is eps: e^eps P(x < c) is close to Q(x < c).
        scale_N = np.exp(epsilons_N)
        found_N = scale_N * (safe_N * ndtr(output_N / noise) - rate * ndtr((output_N - 1.0) / noise))
        found_N = np.where(reached_N, found_N, 0.0)
    clipped_N: Floats = np.clip(found_N, 0.0, 1.0)
    return clipped_N
