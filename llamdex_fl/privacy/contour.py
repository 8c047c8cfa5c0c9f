"""Epsilon by contour integration: a reference to check certificates with, and no certificate itself.

    delta(eps) = (1/pi) * integral over y from 0 to infinity of Re[exp(K(z) - z eps) / (z (z + 1))],  z = c + i y,

with K the composition's log-moment generating function. The trapezoidal rule converges exponentially in both integrals,
so the figures are good to about ten digits; but errors are estimated here and not bounded.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from llamdex_fl.errors import InputError
from llamdex_fl.privacy.guarantee import Mechanism
from llamdex_fl.privacy.loss import DIRECTIONS, Direction, Law, composition_laws, require_delta, tilted_moments
from llamdex_fl.privacy.tilted import rdp_epsilon

__all__ = ["contour_epsilon"]

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

#: exp(-_NEGLIGIBLE) times the integrand's largest value is where the integral is cut off.
_NEGLIGIBLE = 32.0
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
    laws = composition_laws(mechanisms, direction, tilts=(tilt, tilt))
    moments = tilted_moments(laws, np.array([tilt]))
    deviation = math.sqrt(moments.variance_T[0])
    # The rule with spacing 2 pi / period adds the values at eps - k period, each times exp(-tilt k period).
    period = max((math.log(1.0 / delta) + _NEGLIGIBLE) / tilt, 16.0 * deviation)
    height = 9.0 / deviation
    while True:
        laws = composition_laws(mechanisms, direction, tilts=(tilt, tilt), frequency=height)
        ends_Y = tilt + 1j * np.array([0.0, height])
        start, end = _log_mgf(laws, ends_Y).real
        if end - start - 2.0 * math.log1p(height / tilt) < -_NEGLIGIBLE:
            break
        height *= 1.4
        if height * period / (2.0 * math.pi) * sum(len(law.losses_N) for law in laws) > _MAX_TERMS:
            raise InputError(
                "The contour integral does not converge in reasonable time.",
                expected="a composition with Gaussian noise in enough steps",
                got=f"{moments.steps} steps",
                next_step="rely on the certificate and on prv; this is a reference only",
            )
    points_Y = tilt + 1j * (2.0 * math.pi / period) * np.arange(int(height * period / (2.0 * math.pi)) + 2)
    return points_Y, _log_mgf(laws, points_Y)


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
