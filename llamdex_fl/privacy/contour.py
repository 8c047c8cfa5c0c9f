"""Epsilon by contour integration: a reference to check certificates with, and no certificate itself.

    delta(eps) = (1/pi) * integral over y from 0 to infinity of Re[exp(K(z) - z eps) / (z (z + 1))],  z = c + i y,

with K the composition's log-moment generating function. The trapezoidal rule converges exponentially in both integrals,
so the figures are good to about ten digits; but errors are estimated here and not bounded.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import InputError
from llamdex_fl.privacy.guarantee import Mechanism
from llamdex_fl.privacy.loss import DIRECTIONS, Direction, Law, composition_laws, require_delta, tilted_moments
from llamdex_fl.privacy.tilted import rdp_epsilon

__all__ = ["contour_epsilon"]

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

#: Whatever is left out is below exp(-_NEGLIGIBLE) times delta.
_NEGLIGIBLE = 25.0
#: Tilts, as multiples of RDP's best one: where the contour may cross, and further ones that bound what lies beyond.
_TILTS = np.array([0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.3, 1.7, 2.5, 4.0, 8.0])
_CANDIDATES = 6
_MAX_TERMS = 6e7
_CHUNK_TERMS = 1e6


def contour_epsilon(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """Epsilon of a composition, the larger of both directions, to about ten digits; 0 for no mechanism.

    Raises:
        InputError: a parameter is out of range, or the integral does not converge in reasonable time: the composition
            has hardly any Gaussian noise, or only a few sub-sampled steps.
    """
    require_delta(delta)
    if not mechanisms:
        return 0.0
    bound = rdp_epsilon(mechanisms, delta)
    return max(_epsilon(mechanisms, direction, delta, bound.tilt, bound.epsilon) for direction in DIRECTIONS)


def _epsilon(mechanisms: Sequence[Mechanism], direction: Direction, delta: float, tilt: float, upper: float) -> float:
    from scipy.optimize import brentq  # noqa: PLC0415 - guarantees are read without it

    points_Y, log_mgf_Y = _contour(mechanisms, direction, delta, tilt)
    weights_Y = 1.0 / (points_Y * (points_Y + 1.0))
    weights_Y[0] *= 0.5
    spacing = float(points_Y[1].imag)

    def delta_of(epsilon: float) -> float:
        terms_Y = np.exp(log_mgf_Y - points_Y * epsilon) * weights_Y
        return float(terms_Y.real.sum()) * spacing / math.pi

    if upper <= 0.0 or delta_of(0.0) <= delta:
        return 0.0
    # RDP's epsilon is above the truth; a little more, since this is computed with other roundings.
    root: float = brentq(lambda epsilon: delta_of(epsilon) - delta, 0.0, upper * (1.0 + 1e-9) + 1e-9, xtol=1e-13)
    return root


def _contour(
    mechanisms: Sequence[Mechanism], direction: Direction, delta: float, tilt: float
) -> tuple[Complexes, Complexes]:
    """Points z_Y of the contour, equally spaced from y = 0, and K there."""
    abscissa, period, deviation = _abscissa(mechanisms, direction, delta, tilt)
    height = 6.0 / deviation
    while True:
        laws = composition_laws(mechanisms, direction, tilts=(abscissa, abscissa), frequency=height)
        ends_Y = abscissa + 1j * np.array([0.0, height])
        if _log_mgf(laws, ends_Y)[1].real - math.log(height) < math.log(delta) - _NEGLIGIBLE:
            break
        height *= 1.3
        if height * period / (2.0 * math.pi) * sum(len(law.losses_N) for law in laws) > _MAX_TERMS:
            raise InputError(
                "The contour integral does not converge in reasonable time.",
                expected="a composition with Gaussian noise in enough steps",
                got=f"{sum(law.times for law in laws)} steps",
                next_step="rely on the certificate and on prv; this is a reference only",
            )
    heights_Y = (2.0 * math.pi / period) * np.arange(int(height * period / (2.0 * math.pi)) + 2, dtype=np.float64)
    points_Y: Complexes = np.full(len(heights_Y), abscissa, np.complex128)
    points_Y.imag = heights_Y
    return points_Y, _log_mgf(laws, points_Y)


def _abscissa(
    mechanisms: Sequence[Mechanism], direction: Direction, delta: float, tilt: float
) -> tuple[float, float, float]:
    """Where the contour crosses the real axis, the period of its rule, and the tilted loss's standard deviation there.

    The rule with spacing 2 pi / period adds delta(eps - k period) exp(-c k period) for every whole k. For k > 0 the
    exponential makes that nothing beside delta; for k < 0 Chernoff's bound on delta(eps + k period) does, with a tilt
    beyond c. Any c is right; the one with the fewest points is taken.
    """
    tilts_T = tilt * _TILTS
    laws = composition_laws(mechanisms, direction, tilts=(float(tilts_T[0]), float(tilts_T[-1])))
    moments = tilted_moments(laws, tilts_T)
    room = _NEGLIGIBLE - math.log(delta)
    best = (math.inf, 0.0, 0.0, 0.0)
    for number in range(_CANDIDATES):
        crossing = float(tilts_T[number])
        beyond_T = (moments.log_mgf_T[number + 1 :] + room) / (tilts_T[number + 1 :] - crossing)
        period = max(room / crossing, float(np.min(beyond_T)))
        deviation = math.sqrt(moments.variance_T[number])
        best = min(best, (period / deviation, crossing, period, deviation))
    return best[1:]


def _log_mgf(laws: Sequence[Law], points_Y: Complexes) -> Complexes:
    """K at points of one vertical line; its imaginary part modulo 2 pi, which is all that exp needs."""
    total_Y: Complexes = np.zeros(len(points_Y), np.complex128)
    for law in laws:
        exponents_N = points_Y[0].real * law.losses_N + law.log_weights_N
        top = float(exponents_N.max())
        heavy_N = exponents_N > top - 80.0
        weights_N, losses_N = np.exp(exponents_N[heavy_N] - top), law.losses_N[heavy_N]
        rows = max(1, int(_CHUNK_TERMS / len(losses_N)))
        for first in range(0, len(points_Y), rows):
            some_Y = points_Y[first : first + rows]
            sums_Y = np.exp(1j * np.outer(some_Y.imag, losses_N)) @ weights_N
            total_Y[first : first + rows] += law.times * (np.log(sums_Y) + top)
    return total_Y
