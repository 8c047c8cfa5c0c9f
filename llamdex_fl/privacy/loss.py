"""The privacy loss of a composition: one law a segment, from which every accountant but ``pld`` computes.

With P the output's law on a table and Q on its neighbour, the loss is L = log dP/dQ of an output drawn from P. Adding
or removing a record makes two such pairs, ``remove`` (P has the record) and ``add`` (Q has it), and whoever uses these
laws takes the worse of the two. A law is a list of losses with weights: a trapezoidal rule for the sampled Gaussian
(its error is bounded in docs/edgeworth.md), atoms and a Gauss-Legendre rule for Laplace counts.

Legend: N nodes, T tilts, Y points of a contour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from llamdex_fl.privacy.guarantee import LaplaceCounts, Mechanism, SampledGaussian, wrong_parameter

__all__ = ["DIRECTIONS", "Direction", "Law", "TiltedMoments", "composition_laws", "require_delta", "tilted_moments"]

Direction = Literal["remove", "add"]
DIRECTIONS: tuple[Direction, Direction] = ("remove", "add")

Floats = NDArray[np.float64]

#: Beyond this many standard deviations of the noise the weights are below the smallest number that matters.
_REACH = 14.0
#: Nodes a standard deviation, and nodes a width of the loss's bend.
_NODES_A_SIGMA = 16.0
_NODES_A_BEND = 8.0
#: What a step's log-moment is padded with: rounding of a sum of some thousand terms of size 1.
_ROUNDING = 1e-13
_LEGENDRE = 64
_MIN_NOISE = 0.05
_MAX_NOISE = 2e6
_MAX_STEPS = 10_000_000


@dataclass(frozen=True, slots=True)
class Law:
    """The law of one step's loss, and how many times the step is run.

    Attributes:
        losses_N: values of the loss.
        log_weights_N: logarithms of their weights; the weights sum to 1.
        times: number of independent steps with this law.
    """

    losses_N: Floats
    log_weights_N: Floats
    times: int

    def mean_and_moments(self, highest: int) -> tuple[float, list[float]]:
        """The mean, and the central moments from the second to the ``highest``."""
        weights_N = np.exp(self.log_weights_N)
        mean = float(weights_N @ self.losses_N)
        off_N = self.losses_N - mean
        return mean, [float(weights_N @ off_N**power) for power in range(2, highest + 1)]


class TiltedMoments(NamedTuple):
    """Sums over all steps, for each tilt; ``identical`` where all steps have one law."""

    log_mgf_T: Floats
    mean_T: Floats
    variance_T: Floats
    third_T: Floats
    steps: int
    identical: bool


def require_delta(delta: float) -> None:
    """Refuse a delta that no guarantee can have.

    Raises:
        InputError: delta is not above 0 and below 1.
    """
    if not 0.0 < delta < 1.0:
        raise wrong_parameter("delta", "a number above 0 and below 1", delta)


def composition_laws(
    mechanisms: Sequence[Mechanism],
    direction: Direction,
    *,
    tilts: tuple[float, float] = (0.0, 0.0),
    frequency: float = 0.0,
) -> tuple[Law, ...]:
    """The laws of all steps, one a distinct mechanism, in an order that does not depend on the caller's.

    Args:
        mechanisms: run one after another on the same records.
        direction: which neighbour the output is drawn from.
        tilts: the smallest and the largest t with which the laws will be tilted by exp(t L).
        frequency: the largest y with which they will be multiplied by exp(i y L).

    Raises:
        InputError: a parameter is outside what the mechanisms are defined for.
    """
    steps: dict[tuple[float, ...], int] = {}
    for mechanism in mechanisms:
        match mechanism:
            case SampledGaussian():
                key: tuple[float, ...] = (mechanism.sampling_rate, mechanism.noise_multiplier)
                times = mechanism.steps
                _require_gaussian(mechanism)
            case LaplaceCounts():
                key, times = (mechanism.epsilon,), 1
                if not 0.0 < mechanism.epsilon <= 100.0:  # noqa: PLR2004 - named in the message
                    raise wrong_parameter("epsilon of the counts", "a number above 0, at most 100", mechanism.epsilon)
            case _:
                raise wrong_parameter("mechanism", "sampled_gaussian or laplace_counts", type(mechanism).__name__)
        steps[key] = steps.get(key, 0) + times
    return tuple(_law(key, times, direction, tilts, frequency) for key, times in sorted(steps.items()))


def tilted_moments(laws: Sequence[Law], tilts_T: Floats) -> TiltedMoments:
    """Log-moments of the sum of all steps, and moments of its summands under the tilted measure.

    The tilted measure has the density exp(t L - K(t)); see docs/edgeworth.md. ``log_mgf_T`` is padded upwards for
    rounding.

    Args:
        laws: from ``composition_laws``, made for a range that holds the tilts.
        tilts_T: the tilts t.
    """
    total = np.zeros((4, len(tilts_T)))
    for law in laws:
        exponents_TN = tilts_T[:, None] * law.losses_N + law.log_weights_N
        log_mgf_T = logsumexp(exponents_TN, axis=1)
        weights_TN = np.exp(exponents_TN - log_mgf_T[:, None])
        mean_T = weights_TN @ law.losses_N
        off_TN = np.abs(law.losses_N - mean_T[:, None])
        second_TN = weights_TN * off_TN * off_TN
        parts = (log_mgf_T + _ROUNDING, mean_T, second_TN.sum(axis=1), (second_TN * off_TN).sum(axis=1))
        total += law.times * np.array(parts)
    return TiltedMoments(total[0], total[1], total[2], total[3], sum(law.times for law in laws), len(laws) == 1)


@lru_cache(maxsize=32)
def _law(key: tuple[float, ...], times: int, direction: Direction, tilts: tuple[float, float], frequency: float) -> Law:
    if len(key) == 1:
        return _laplace(key[0], times)
    rate, noise = key
    log_rest = math.log1p(-rate) if rate < 1.0 else -math.inf
    # A tilt moves the bump of the weights to u, where exp(u log(p/q)) is what it multiplies the noise's density by.
    ends = [tilt + 1.0 if direction == "remove" else -tilt for tilt in tilts]
    low = min(_mode(rate, noise, min(0.0, *ends)), 0.0) - _REACH * noise
    high = max(1.0, *ends) + _REACH * noise
    if frequency > 0.0:
        # Only exponentials are integrated, whose error falls exponentially; moments with a kink want more nodes.
        step = min(2.0 * math.pi / (frequency / noise**2 + 14.0 / noise), 0.5 * noise**2)
    else:
        step = min(noise / _NODES_A_SIGMA, noise**2 / _NODES_A_BEND)
    points_N = low + step * np.arange(int((high - low) / step) + 2, dtype=np.float64)
    ratios_N = np.logaddexp(log_rest, math.log(rate) + (2.0 * points_N - 1.0) / (2.0 * noise**2))
    log_weights_N = math.log(step / (noise * math.sqrt(2.0 * math.pi))) - points_N**2 / (2.0 * noise**2)
    if direction == "remove":
        return Law(ratios_N, log_weights_N + ratios_N, times)
    return Law(-ratios_N, log_weights_N, times)


def _mode(rate: float, noise: float, power: float) -> float:
    """Where exp(power log(p/q)) times the noise's density is largest, for a power of at most 0.

    That product is log-concave, and more so than the noise's density: beyond ``_REACH`` deviations of it is nothing.
    """
    if rate == 1.0 or power == 0.0:
        return power
    low, high = power, 0.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        log_odds = math.log(rate / (1.0 - rate)) + (2.0 * middle - 1.0) / (2.0 * noise**2)
        slope = middle - power / (1.0 + math.exp(min(-log_odds, 700.0)))
        low, high = (middle, high) if slope < 0.0 else (low, middle)
    return low


def _laplace(epsilon: float, times: int) -> Law:
    """Both directions are alike: epsilon with probability 1/2, -epsilon with exp(-epsilon) / 2, and between them."""
    points_N, weights_N = np.polynomial.legendre.leggauss(_LEGENDRE)
    share_N = 0.5 * (points_N + 1.0)
    losses_N = epsilon * (1.0 - 2.0 * share_N)
    log_density_N = np.log(0.5 * weights_N * 0.5 * epsilon) - epsilon * share_N
    return Law(
        np.concatenate([[epsilon, -epsilon], losses_N]),
        np.concatenate([[math.log(0.5), math.log(0.5) - epsilon], log_density_N]),
        times,
    )


def _require_gaussian(mechanism: SampledGaussian) -> None:
    if not 0.0 < mechanism.sampling_rate <= 1.0:
        raise wrong_parameter("sampling_rate", "a number above 0, at most 1", mechanism.sampling_rate)
    if not _MIN_NOISE <= mechanism.noise_multiplier <= _MAX_NOISE:
        raise wrong_parameter("noise_multiplier", f"{_MIN_NOISE} to {_MAX_NOISE:g}", mechanism.noise_multiplier)
    if isinstance(mechanism.steps, bool) or not 1 <= mechanism.steps <= _MAX_STEPS:
        raise wrong_parameter("steps", f"1 to {_MAX_STEPS}", mechanism.steps)
