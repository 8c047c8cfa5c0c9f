"""An attacker of weights that DP-SGD averaged: who was present, from the release alone.

Released weights are close to linear in what was present: w = -k (sum of the canaries' clipped gradients) + noise, where
the gain k and the noise's deviation follow from the recipe, the noisy counts and the guarantee. The attacker inverts
that as the linear estimate of least mean squared error, so that a canary is not taken for another that resembles it. It
does not believe the claim: how much louder the canaries are, or softer the noise, it fits to the release by likelihood,
and so sees noise that is missing. Legend: m canaries, n other records, p weights, k axes of what is seen.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.privacy import SampledGaussian

__all__ = ["Passage", "log_odds", "passage"]

#: What the attacker holds possible: canaries this much louder, noise this much softer (in deviations) than claimed.
_LOUDER = 2.0 ** np.arange(0, 7)
_SOFTER = 2.0 ** -np.arange(0, 15)


@dataclass(frozen=True, slots=True)
class Passage:
    """How gradients come to stand in released weights.

    Attributes:
        gain: k, what becomes of one gradient that is in every batch as often as sampling has it in the mean.
        deviation: of each weight's noise.
        sampling: variance of what becomes of a gradient, by the batches it happens to be in; relative to gain squared.
    """

    gain: float
    deviation: float
    sampling: float


def passage(
    mechanism: SampledGaussian, records: float, *, learning_rate: float, penalty: float, momentum: float = 0.0
) -> Passage:
    """From the trainer's recursion.

    Args:
        mechanism: of the release's guarantee.
        records: by which the trainer divides, before the sampling rate.
        learning_rate: of the step on the mean gradient.
        penalty: of the L2 penalty.
        momentum: of SGD.

    In step t the weights shrink and take up the noisy sum; the mean counts step t with t.
    """
    steps = mechanism.steps
    # How far a gradient of one step has moved the weights so many steps later.
    moved_t = np.zeros(steps)
    place, speed = 0.0, 1.0
    for later in range(steps):
        place += learning_rate * speed
        moved_t[later] = place
        speed = momentum * speed - penalty * place
    counts_t = np.arange(1, steps + 1) / (records * steps * (steps + 1) / 2)
    # What is taken up in step t weighs in the mean as all later steps count it.
    weights_t = np.correlate(np.pad(counts_t, (0, steps - 1)), moved_t, mode="valid")
    gain, length = float(weights_t.sum()), float(np.linalg.norm(weights_t))
    rate = mechanism.sampling_rate
    return Passage(
        gain=gain,
        deviation=mechanism.noise_multiplier * mechanism.max_grad_norm / rate * length,
        sampling=(1.0 - rate) / rate * (length / gain) ** 2,
    )


def log_odds(
    canaries_mp: NDArray[np.float64],
    others_np: NDArray[np.float64],
    weights_p: NDArray[np.float64],
    way: Passage,
) -> NDArray[np.float64]:
    """Log-odds of presence in w = canaries that are present + others + noise, as if all of it were Gaussian."""
    # How far the others drift is not linear, so the few directions in which they pull are all but left out.
    spread_pp = (0.25 + 0.5 * way.sampling) * canaries_mp.T @ canaries_mp + others_np.T @ others_np
    powers_k, axes_pk = np.linalg.eigh(spread_pp)
    powers_k = np.maximum(powers_k, 0.0)
    canaries_mk, seen_k = canaries_mp @ axes_pk, weights_p @ axes_pk
    mean_k = 0.5 * canaries_mk.sum(axis=0) + others_np.sum(axis=0) @ axes_pk
    best, likeliest = -math.inf, (1.0, 1.0)
    for louder in _LOUDER:
        for softer in _SOFTER:
            variance_k = louder**2 * powers_k + (softer * way.deviation) ** 2
            likelihood = -float((np.log(variance_k) + (seen_k - louder * mean_k) ** 2 / variance_k).sum())
            if likelihood > best:
                best, likeliest = likelihood, (float(louder), float(softer))
    louder, softer = likeliest
    inverse_k = 1.0 / (louder**2 * powers_k + (softer * way.deviation) ** 2)
    estimate_m = 0.25 * louder * (canaries_mk * inverse_k) @ (seen_k - louder * mean_k)
    known_m = 0.25 * louder**2 * (canaries_mk**2 * inverse_k).sum(axis=1)
    log_odds_m: NDArray[np.float64] = 4.0 * estimate_m / np.maximum(1.0 - known_m, 1e-9)
    return log_odds_m
