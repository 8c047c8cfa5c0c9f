"""Epsilon by Fourier composition of privacy random variables: a second opinion that shares no code with ``pld``.

Source: Gopi, Lee, Wutschitz, arXiv 2106.02848v3. Each step's loss is cut off at +-L and rounded to a mesh so that its
mean stays, and the rounded losses are convolved. By Hoeffding, the mesh's width keeps the sum of all roundings below an
error in epsilon but for a probability that is part of an error in delta; the rest of that is what was cut off. So the
figures come as an interval: the truth lies inside, up to the rounding of the Fourier transform (about 1e-15 in delta).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import ndtr

from llamdex_fl.errors import InputError
from llamdex_fl.privacy.guarantee import LaplaceCounts, Mechanism, SampledGaussian
from llamdex_fl.privacy.loss import DIRECTIONS, Direction, Law, composition_laws, require_delta, tilted_moments

__all__ = ["Interval", "prv_interval"]

Floats = NDArray[np.float64]

#: Share of delta that may be in error, and the least that floating-point convolution can resolve.
_DELTA_SHARE = 1e-3
_LEAST_DELTA_ERROR = 1e-13
_MAX_MESH = 1 << 24
_TILTS = np.geomspace(1e-2, 1e3, 61)


class Interval(NamedTuple):
    """Both ends of what epsilon can be."""

    lower: float
    upper: float


def prv_interval(mechanisms: Sequence[Mechanism], delta: float, *, epsilon_error: float) -> Interval:
    """An interval that holds the composition's epsilon, for the worse of both directions.

    Args:
        mechanisms: run one after another on the same records.
        delta: of the (epsilon, delta) guarantee.
        epsilon_error: half of the interval's width, roughly; the cost grows as it falls.

    Raises:
        InputError: a parameter is out of range, or the mesh would be larger than memory should be.
    """
    require_delta(delta)
    if not mechanisms:
        return Interval(0.0, 0.0)
    found = [_interval(mechanisms, direction, delta, epsilon_error) for direction in DIRECTIONS]
    return Interval(max(each.lower for each in found), max(each.upper for each in found))


def _interval(mechanisms: Sequence[Mechanism], direction: Direction, delta: float, epsilon_error: float) -> Interval:
    delta_error = max(_DELTA_SHARE * delta, _LEAST_DELTA_ERROR)
    laws = composition_laws(mechanisms, direction)
    steps = sum(law.times for law in laws)
    width = epsilon_error / math.sqrt(0.5 * steps * math.log(12.0 / delta_error))
    reach = _reach(mechanisms, direction, delta_error / 8.0, steps) + epsilon_error
    half = math.ceil(reach / width)
    if 2 * half + 1 > _MAX_MESH:
        raise InputError(
            "The mesh of the privacy random variable would be too large.",
            expected=f"at most {_MAX_MESH} points",
            got=f"{2 * half + 1} points for an error of epsilon {epsilon_error:g}",
            next_step="allow a larger error in epsilon",
        )
    size = int(fft.next_fast_len(2 * half + 1, real=True))
    product_F = np.ones(size // 2 + 1, np.complex128)
    shift = 0.0
    keys = _distinct(mechanisms)
    for key, law in zip(keys, laws, strict=True):
        masses = _rounded(key, direction, half, width)
        points = width * np.arange(-half, half + 1, dtype=np.float64)
        shift += law.times * (_mean(law) - float(masses @ points))
        # Index 0 holds the loss 0, so that the sum needs no shift of its own.
        cyclic = np.zeros(size)
        cyclic[: half + 1], cyclic[size - half :] = masses[half:], masses[:half]
        product_F *= fft.rfft(cyclic) ** law.times
    summed = fft.irfft(product_F, size)
    masses = np.maximum(np.concatenate([summed[size - half :], summed[: half + 1]]), 0.0)
    losses = width * np.arange(-half, half + 1, dtype=np.float64) + shift
    lower = _epsilon(masses, losses, delta + delta_error) - epsilon_error
    upper = _epsilon(masses, losses, delta - delta_error) + epsilon_error
    return Interval(max(lower, 0.0), max(upper, 0.0))


def _distinct(mechanisms: Sequence[Mechanism]) -> list[tuple[float, ...]]:
    """The mechanisms' parameters in the order of ``composition_laws``."""
    return sorted(
        {
            (m.sampling_rate, m.noise_multiplier) if isinstance(m, SampledGaussian) else (m.epsilon,)
            for m in mechanisms
            if isinstance(m, SampledGaussian | LaplaceCounts)
        }
    )


def _reach(mechanisms: Sequence[Mechanism], direction: Direction, tail: float, steps: int) -> float:
    """L with both P(|sum of losses| > L) and steps * P(|one loss| > L) at most 2 ``tail``, by Chernoff's bound."""
    ends = []
    for sign in (1.0, -1.0):
        tilts_T = _TILTS[_TILTS <= 64.0] if sign > 0 else _TILTS[_TILTS <= 8.0]  # noqa: PLR2004 - enough for the mesh
        last = float(sign * tilts_T[-1])
        laws = composition_laws(mechanisms, direction, tilts=(min(last, 0.0), max(last, 0.0)))
        whole_T = tilted_moments(laws, sign * tilts_T).log_mgf_T
        ends.append(float(np.min((whole_T - math.log(tail)) / tilts_T)))
        for law in laws:
            one_T = tilted_moments([Law(law.losses_N, law.log_weights_N, 1)], sign * tilts_T).log_mgf_T
            ends.append(float(np.min((one_T - math.log(tail / steps)) / tilts_T)))
    return max(ends)


def _mean(law: Law) -> float:
    """Of the loss before the cut, whose effect on it is far below the mesh's width."""
    return float(np.exp(law.log_weights_N) @ law.losses_N)


def _rounded(key: tuple[float, ...], direction: Direction, half: int, width: float) -> Floats:
    """Masses of one step's loss, cut off at the mesh's ends and rounded to its points."""
    edges = width * (np.arange(-half, half + 2, dtype=np.float64) - 0.5)
    below = _gaussian_cdf(key[0], key[1], direction, edges) if len(key) > 1 else _laplace_cdf(key[0], edges)
    masses = np.maximum(np.diff(below), 0.0)
    scaled: Floats = masses / masses.sum()
    return scaled


def _gaussian_cdf(rate: float, noise: float, direction: Direction, losses: Floats) -> Floats:
    """P(loss <= each), from the output x at which the loss takes that value: it is monotone in x."""
    ratios = losses if direction == "remove" else -losses
    reachable = np.exp(np.minimum(ratios, 700.0)) > 1.0 - rate
    # log((e^r - (1 - q)) / q), written so that neither a large nor a small r loses digits.
    inside = np.where(reachable, np.expm1(np.minimum(ratios, 700.0)) + rate, 1.0)
    outputs = 0.5 + noise**2 * (np.where(ratios < 700.0, np.log(inside), ratios) - math.log(rate))  # noqa: PLR2004 - exp's range
    outputs = np.where(reachable, outputs, -np.inf)
    if direction == "remove":
        cdf: Floats = (1.0 - rate) * ndtr(outputs / noise) + rate * ndtr((outputs - 1.0) / noise)
        return cdf
    upper: Floats = ndtr(-outputs / noise)
    return upper


def _laplace_cdf(epsilon: float, losses: Floats) -> Floats:
    """Two atoms at the ends, and exp((loss - epsilon) / 2) / 2 between them."""
    between = 0.5 * np.exp(0.5 * (np.clip(losses, -epsilon, epsilon) - epsilon))
    cdf: Floats = np.where(losses < -epsilon, 0.0, np.where(losses >= epsilon, 1.0, between))
    return cdf


def _epsilon(masses: Floats, losses: Floats, delta: float) -> float:
    """The smallest epsilon >= 0 with sum of masses * max(0, 1 - exp(epsilon - loss)) at most delta."""
    if delta <= 0.0:
        return math.inf
    positive = losses > 0.0
    masses, losses = masses[positive][::-1], losses[positive][::-1]
    above, weighted = np.cumsum(masses), np.cumsum(masses * np.exp(-losses))
    # delta at the epsilon of each mesh point; it grows along the reversed arrays.
    crossed = np.flatnonzero(above - np.exp(losses) * weighted > delta)
    last = int(crossed[0]) - 1 if len(crossed) else len(masses) - 1
    if last < 0 or above[last] <= delta:
        return 0.0
    return max(math.log((above[last] - delta) / weighted[last]), 0.0)
