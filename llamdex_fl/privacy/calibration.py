"""Calibration: the least noise with which an accountant states at most the epsilon that is wanted.

Cheap accountants bring the search near, the one that was asked for has the last word: a noise multiplier is returned
only after that accountant itself has stated an epsilon of at most the target with it.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from llamdex_fl.errors import InputError
from llamdex_fl.privacy.accountants import Accountant, find_accountant, require_rigorous
from llamdex_fl.privacy.accounting import ACCOUNTANT, certified_epsilon
from llamdex_fl.privacy.contour import contour_epsilon
from llamdex_fl.privacy.guarantee import Mechanism, SampledGaussian, wrong_parameter
from llamdex_fl.privacy.tilted import rdp_epsilon

__all__ = ["calibrate", "calibrated_noise", "with_noise"]

#: Calibration stops once epsilon is within this share of the target (trap 6: 0.01 costs 0.9 % of noise).
_TOLERANCE = 1e-3
#: The same for accountants that answer in milliseconds, and for the reference that brings the others near.
_FINE = 1e-4
#: For the first search, by RDP alone.
_ROUGH = 1e-2
_MAX_NOISE = 1e6
_MIN_NOISE = 0.05
_LIMIT = 100


def calibrate(
    mechanisms: Sequence[Mechanism], *, epsilon: float, delta: float, accountant: str = ACCOUNTANT
) -> tuple[Mechanism, ...]:
    """Choose the noise multiplier with which the whole costs at most ``epsilon``, for a run.

    The noise multipliers that are given are ignored; every ``SampledGaussian`` gets the same one.

    Args:
        mechanisms: of the run, at their full length.
        epsilon: what all of them together may cost.
        delta: of the (epsilon, delta) guarantee.
        accountant: whose epsilon it is; only a rigorous one may authorise a run.

    Returns:
        The mechanisms with their noise, whose epsilon lies within epsilon / 1000 below ``epsilon``.

    Raises:
        EstimateRefusedError: the accountant only estimates.
        InputError: the other mechanisms alone cost too much, or a parameter is out of range.
    """
    return with_noise(mechanisms, _noise(tuple(mechanisms), epsilon, delta, require_rigorous(accountant)))


def calibrated_noise(mechanisms: Sequence[Mechanism], *, epsilon: float, delta: float, accountant: str) -> float:
    """The noise multiplier to which an accountant comes, estimates included: for comparing, and not for running.

    Raises:
        InputError: as ``calibrate``.
    """
    return _noise.__wrapped__(tuple(mechanisms), epsilon, delta, find_accountant(accountant))


def with_noise(mechanisms: Sequence[Mechanism], noise: float) -> tuple[Mechanism, ...]:
    """The same mechanisms with this noise multiplier in every ``SampledGaussian``."""
    return tuple(
        SampledGaussian(
            sampling_rate=m.sampling_rate, noise_multiplier=noise, steps=m.steps, max_grad_norm=m.max_grad_norm
        )
        if isinstance(m, SampledGaussian)
        else m
        for m in mechanisms
    )


@lru_cache(maxsize=64)
def _noise(mechanisms: tuple[Mechanism, ...], epsilon: float, delta: float, accountant: Accountant) -> float:
    if not (math.isfinite(epsilon) and epsilon > 0.0):
        raise wrong_parameter("epsilon", "a number above 0", epsilon)
    if not any(isinstance(mechanism, SampledGaussian) for mechanism in mechanisms):
        raise wrong_parameter("mechanisms", "at least one sampled_gaussian to calibrate", "none")
    others = [mechanism for mechanism in mechanisms if not isinstance(mechanism, SampledGaussian)]
    if certified_epsilon(others, delta) >= epsilon:
        raise _too_little(epsilon, delta)

    def by(epsilon_of: Callable[[Sequence[Mechanism], float], float]) -> Callable[[float], float]:
        return lambda noise: epsilon_of(with_noise(mechanisms, noise), delta)

    # RDP is known to a millisecond or so; the contour is as good as the truth where it can be had.
    near = _search(by(_rdp), epsilon, delta, start=1.0, tolerance=_ROUGH)
    if accountant.name == "rdp":
        return _search(by(accountant.epsilon), epsilon, delta, start=near, tolerance=_FINE)
    if accountant.kind != "estimate":
        try:
            near = _search(by(contour_epsilon), epsilon * (1.0 - _FINE), delta, start=0.95 * near, tolerance=_FINE)
        except InputError:
            near *= 0.95
    tolerance = _FINE if accountant.kind == "estimate" else _TOLERANCE
    return _search(by(accountant.epsilon), epsilon, delta, start=near, tolerance=tolerance)


def _rdp(mechanisms: Sequence[Mechanism], delta: float) -> float:
    return rdp_epsilon(mechanisms, delta).epsilon


def _search(
    epsilon_at: Callable[[float], float], epsilon: float, delta: float, *, start: float, tolerance: float
) -> float:
    """The noise at which a falling function comes within ``tolerance`` below ``epsilon``; never above it.

    A regula falsi (Illinois) in the logarithms, in which epsilon is nearly a straight line in the noise.
    """
    least = epsilon * (1.0 - tolerance)
    aim = math.log(epsilon * (1.0 - 0.4 * tolerance))
    noise = min(max(start, _MIN_NOISE), _MAX_NOISE)
    found = epsilon_at(noise)
    factor = 1.02
    low = high = (noise, found)
    while high[1] > epsilon:
        if high[0] > _MAX_NOISE:
            raise _too_little(epsilon, delta)
        low, noise = high, high[0] * factor
        high, factor = (noise, epsilon_at(noise)), min(factor**2, 4.0)
    # Down in small steps: a noise multiplier far too low costs seconds and hundreds of megabytes to evaluate.
    while low[1] <= epsilon and not least <= high[1] <= epsilon:
        if low[0] <= _MIN_NOISE:
            return low[0]
        high, noise = low, max(low[0] / factor, _MIN_NOISE)
        low, factor = (noise, epsilon_at(noise)), min(factor**2, 1.3)
    return _between(epsilon_at, low, high, (least, epsilon, aim))


def _between(
    epsilon_at: Callable[[float], float],
    lower: tuple[float, float],
    upper: tuple[float, float],
    wanted: tuple[float, float, float],
) -> float:
    """The search inside a bracket: ``lower`` has too little noise and ``upper`` enough."""
    (low, at_low), (high, at_high) = lower, upper
    least, most, aim = wanted
    weight_low = weight_high = 1.0
    for _ in range(_LIMIT):
        if at_high >= least or high / low < 1.0 + 1e-9:
            break
        share = 0.5
        if math.isfinite(at_low) and at_high > 0.0:
            over, under = weight_low * (math.log(at_low) - aim), weight_high * (aim - math.log(at_high))
            share = min(max(over / (over + under), 0.02), 0.98)
        middle = low * (high / low) ** share
        found = epsilon_at(middle)
        if found <= most:
            high, at_high, weight_high = middle, found, 1.0
            weight_low *= 0.5
        else:
            low, at_low, weight_low = middle, found, 1.0
            weight_high *= 0.5
    return high


def _too_little(epsilon: float, delta: float) -> InputError:
    return InputError(
        "No amount of noise meets this epsilon.",
        expected=f"mechanisms that leave something of epsilon {epsilon:g} at delta {delta:g}",
        got="other mechanisms that cost all of it",
        next_step="give the class counts a smaller epsilon, or allow a larger one in total",
    )
