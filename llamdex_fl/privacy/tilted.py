"""A rigorous upper bound on epsilon by tilting and Berry-Esseen, and continuous-order RDP, which it never exceeds.

For every t > 0, with the sum S of all losses, K(t) = log E exp(t S), and the measure tilted by exp(t S - K(t)):

    delta(eps) = exp(K(t) - t eps) E_t[g_t(S - eps)],  g_t(u) = exp(-t u) max(0, 1 - exp(-u)),

and E_t[g_t] is at most G_t = max g_t, and at most its value under the normal law of S's tilted mean and variance plus
2 G_t D, with D a Berry-Esseen bound. The first alone is RDP, so the bound cannot exceed RDP. Derivation, constants with
their sources, and the numerics: docs/edgeworth.md. The cost does not depend on the number of steps.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from llamdex_fl.privacy.guarantee import Mechanism
from llamdex_fl.privacy.loss import (
    DIRECTIONS,
    Direction,
    TiltedMoments,
    composition_laws,
    require_delta,
    tilted_moments,
)

__all__ = ["Bound", "rdp_epsilon", "tilted_bound"]

Floats = NDArray[np.float64]

#: Shevtsova 2013 (Inform. Primen. 7:1, 124-125), for summands of one law: constant * (beta + shift).
_ONE_LAW = ((0.4690, 0.0), (0.3322, 0.429), (0.3031, 0.646))
#: Shevtsova 2010 (Dokl. Math. 82:3, 862-864), for independent summands of any laws.
_ANY_LAWS = 0.5600
#: Berry-Esseen bounds grow with the third moment; its quadrature is off by less than a fortieth of this.
_THIRD_PADDING = 1.0 + 2e-5
#: Where a difference of two nearly equal numbers is taken, what its rounding is covered with.
_CANCELLATION = 1e-12
_FIRST_TILT = 1e-3
_LAST_TILT = 1e6
_BLOCK = 4.0
_POINTS = 17
_ZOOMS = 3
_BISECTIONS = 64


class Bound(NamedTuple):
    """An upper bound on epsilon, and the tilt and the direction that gave it."""

    epsilon: float
    tilt: float
    direction: Direction


def tilted_bound(mechanisms: Sequence[Mechanism], delta: float) -> Bound:
    """An epsilon that is rigorously not below the composition's, and not above RDP's.

    Args:
        mechanisms: run one after another on the same records; schedules may be mixed.
        delta: of the (epsilon, delta) guarantee.

    Raises:
        InputError: a parameter is outside what the mechanisms are defined for.
    """
    return _worse_direction(mechanisms, delta, _tilted_epsilons)


def rdp_epsilon(mechanisms: Sequence[Mechanism], delta: float) -> Bound:
    """Epsilon by Renyi DP over continuous orders t + 1, converted as in Canonne et al., arXiv 2004.00010v4, prop. 12.

    Raises:
        InputError: a parameter is outside what the mechanisms are defined for.
    """
    return _worse_direction(mechanisms, delta, _rdp_epsilons)


_Epsilons = Callable[[TiltedMoments, Floats, float], Floats]


def _worse_direction(mechanisms: Sequence[Mechanism], delta: float, epsilons: _Epsilons) -> Bound:
    require_delta(delta)
    if not mechanisms:
        return Bound(0.0, math.nan, "remove")
    # RDP's own search is part of the bound's: it is not above RDP even where the two searches end elsewhere.
    tried = {epsilons, _rdp_epsilons}
    bounds = [min(_best_tilt(mechanisms, direction, delta, each) for each in tried) for direction in DIRECTIONS]
    return max(bounds, key=lambda bound: bound.epsilon)


def _best_tilt(mechanisms: Sequence[Mechanism], direction: Direction, delta: float, epsilons: _Epsilons) -> Bound:
    """The least bound over a grid of tilts and over finer grids around its three lowest minima.

    Every tilt gives a valid bound, so the search can only cost tightness, never safety.
    """

    def tried(low: float, high: float) -> list[tuple[float, float]]:
        tilts_T = np.geomspace(low, high, _POINTS)
        laws = composition_laws(mechanisms, direction, tilts=(low, high))
        moments = tilted_moments(laws, tilts_T)
        both = _rdp_epsilons(moments, tilts_T, delta)
        found = both if epsilons is _rdp_epsilons else np.minimum(both, epsilons(moments, tilts_T, delta))
        return list(zip(found.tolist(), tilts_T.tolist(), strict=True))

    grid: list[tuple[float, float]] = []
    low, worse = _FIRST_TILT, 0
    while low < _LAST_TILT and worse < 2:  # noqa: PLR2004 - one block above the best may be a bump
        least = min(grid, default=(math.inf, 0.0))[0]
        block = tried(low, low * _BLOCK)
        worse = worse + 1 if min(block)[0] > least else 0
        grid += block if not grid else block[1:]
        low *= _BLOCK
    minima = sorted(grid[i] for i in range(len(grid)) if grid[i] == min(grid[max(i - 1, 0) : i + 2]))[:3]
    best = min(grid)
    ratio = _BLOCK ** (1.0 / (_POINTS - 1))
    for _, centre in minima:
        width, tilt = ratio, centre
        for _ in range(_ZOOMS):
            zoomed = min(tried(tilt / width, tilt * width))
            best, tilt = min(best, zoomed), zoomed[1]
            width = width ** (2.0 / (_POINTS - 1))
    return Bound(max(best[0], 0.0), best[1], direction)


def _log_peak(tilts_T: Floats) -> Floats:
    """Log G_t, the largest value of g_t; it is taken at u = log(1 + 1/t)."""
    return tilts_T * np.log(tilts_T) - (1.0 + tilts_T) * np.log1p(tilts_T)


def _rdp_epsilons(moments: TiltedMoments, tilts_T: Floats, delta: float) -> Floats:
    return (moments.log_mgf_T + _log_peak(tilts_T) - math.log(delta)) / tilts_T


def _tilted_epsilons(moments: TiltedMoments, tilts_T: Floats, delta: float) -> Floats:
    """For each tilt, the epsilon at which the Berry-Esseen branch of the bound equals delta, from above."""
    log_rest_T = math.log(2.0) + _log_peak(tilts_T) + np.log(_berry_esseen(moments))

    def log_bound(epsilons_T: Floats) -> Floats:
        gap_T = moments.mean_T - epsilons_T
        inner_T = np.logaddexp(_log_normal_part(tilts_T, gap_T, moments.variance_T), log_rest_T)
        bound_T: Floats = moments.log_mgf_T - tilts_T * epsilons_T + inner_T
        return bound_T

    # The bound falls as epsilon rises: it is E max(0, 1 - exp(eps - N)) times a constant, and exp(-t eps) times one.
    low_T, high_T = np.zeros_like(tilts_T), _rdp_epsilons(moments, tilts_T, delta)
    out_T = log_bound(np.maximum(high_T, 0.0)) > math.log(delta)
    high_T = np.maximum(high_T, 0.0)
    for _ in range(_BISECTIONS):
        middle_T = 0.5 * (low_T + high_T)
        enough_T = log_bound(middle_T) <= math.log(delta)
        high_T = np.where(enough_T, middle_T, high_T)
        low_T = np.where(enough_T, low_T, middle_T)
    return np.where(out_T, math.inf, high_T)


def _log_normal_part(tilts_T: Floats, gap_T: Floats, variance_T: Floats) -> Floats:
    """Log E g_t(u) for u normal with mean ``gap_T``: I(t) - I(t + 1) of docs/edgeworth.md, padded for cancellation."""
    deviation_T = np.sqrt(variance_T)

    def log_part(powers_T: Floats) -> Floats:
        part_T: Floats = (
            -powers_T * gap_T + 0.5 * powers_T**2 * variance_T + log_ndtr((gap_T - powers_T * variance_T) / deviation_T)
        )
        return part_T

    first_T = log_part(tilts_T)
    ratio_T = np.exp(np.minimum(log_part(tilts_T + 1.0) - first_T, 0.0))
    normal_T: Floats = first_T + np.log(1.0 - ratio_T + _CANCELLATION * (1.0 + np.abs(first_T)))
    return normal_T


def _berry_esseen(moments: TiltedMoments) -> Floats:
    """D: how far the sum's tilted distribution function can be from the normal one."""
    fraction_T = _THIRD_PADDING * moments.third_T / moments.variance_T**1.5
    if not moments.identical:
        return _ANY_LAWS * fraction_T
    # The sums of variances and third moments over m equal steps: their fraction is beta / sqrt(m).
    root = math.sqrt(moments.steps)
    one_law: Floats = np.min([c * (fraction_T + shift / root) for c, shift in _ONE_LAW], axis=0)
    return one_law
