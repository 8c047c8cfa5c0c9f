"""Certified epsilons: pessimistic privacy loss distributions, composed over all mechanisms of a release.

Guarantee: no number returned here is below the true epsilon of the composition, under the adjacency and unit of
``llamdex_fl.privacy.guarantee``. The discretised loss is an upper bound ("connect the dots", Doroshenko et al.,
arXiv 2207.04380v1), and composition is a convolution of losses, never a sum of epsilons.

This module knows nothing of how training is done: the provider uses it to compute a silo's claim again.
"""

import importlib.metadata
import math
from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import TYPE_CHECKING

from llamdex_fl.privacy.discretised import bucket_width, laplace_counts, sampled_gaussian
from llamdex_fl.privacy.guarantee import (
    ADJACENCY,
    UNIT,
    Guarantee,
    LaplaceCounts,
    Mechanism,
    SampledGaussian,
    wrong_parameter,
)
from llamdex_fl.privacy.loss import require_delta

if TYPE_CHECKING:
    from dp_accounting.pld import privacy_loss_distribution as pld

__all__ = [
    "ACCOUNTANT",
    "accountant_version",
    "certified_epsilon",
    "certify",
    "check_guarantee",
    "forget_compositions",
    "weaken",
]

#: The word that stands in a guarantee for this accountant.
ACCOUNTANT = "pld"

#: A claim may differ from the recomputed epsilon by this much: another build rounds its convolutions otherwise.
_CLAIM_SLACK = 1e-6
#: The Fourier transform's rounding, a step, by which delta is lessened so that the epsilon stays an upper end. About
#: three times the largest error that was seen beside the contour reference (docs/edgeworth.md, section 6).
_FFT_ROUNDING = 5e-17
_MAX_STEPS = 10_000_000
_MAX_NOISE = 1e6
_MIN_NOISE = 0.05


def accountant_version() -> str:
    """The library behind the numbers, with its version."""
    return f"dp-accounting {importlib.metadata.version('dp-accounting')}"


def certified_epsilon(mechanisms: Sequence[Mechanism], delta: float, *, discretisation: float | None = None) -> float:
    """Epsilon of the composition of some mechanisms, never below the truth.

    Args:
        mechanisms: run one after another on the same records, in any order.
        delta: of the (epsilon, delta) guarantee, above 0 and below 1.
        discretisation: width of a bucket of the privacy loss; finer is tighter and slower, and never unsafe. None
            takes one with which rounding costs less than 1e-5 wherever memory allows.

    Returns:
        Epsilon; 0 for no mechanism, ``inf`` where no finite epsilon is certified.

    Raises:
        InputError: a parameter is outside what the mechanisms are defined for.
    """
    require_delta(delta)
    if not mechanisms:
        return 0.0
    steps: dict[tuple[str, float, float], int] = {}
    for mechanism in mechanisms:
        key, times = _key(mechanism)
        steps[key] = steps.get(key, 0) + times
    if discretisation is None:
        discretisation = bucket_width(mechanisms, delta)
    # Sorted, so that the order of a ledger's entries cannot change the last digit.
    parts = [_composed(key, times, discretisation) for key, times in sorted(steps.items())]
    composed = reduce(lambda whole, part: whole.compose(part), parts)
    rounding = _FFT_ROUNDING * sum(steps.values())
    if delta <= rounding:
        return math.inf
    return float(composed.get_epsilon_for_delta(delta - rounding))


def certify(mechanisms: Sequence[Mechanism], delta: float) -> Guarantee:
    """The guarantee that some mechanisms give, as this accountant certifies it."""
    return Guarantee(
        epsilon=certified_epsilon(mechanisms, delta),
        delta=delta,
        mechanisms=tuple(mechanisms),
        accountant=ACCOUNTANT,
        accountant_version=accountant_version(),
    )


def check_guarantee(guarantee: Guarantee) -> float:
    """Compute a claimed epsilon again from the mechanisms; for whoever receives a release.

    Returns:
        The epsilon that was certified here.

    Raises:
        InputError: the claim is lower than what the mechanisms give, or speaks of another adjacency, unit or
            accountant.
    """
    words = (guarantee.accountant, guarantee.adjacency, guarantee.unit)
    if words != (ACCOUNTANT, ADJACENCY, UNIT):
        raise wrong_parameter("guarantee", f"{ACCOUNTANT}, {ADJACENCY}, {UNIT}", ", ".join(words))
    if not guarantee.mechanisms:
        raise wrong_parameter("guarantee", "the mechanisms that made the release", "none")
    certified = certified_epsilon(guarantee.mechanisms, guarantee.delta)
    if not guarantee.epsilon >= certified - _CLAIM_SLACK:  # written so that NaN is refused too
        raise wrong_parameter("guarantee", f"epsilon of at least {certified:.6g}", guarantee.epsilon)
    return certified


def weaken(mechanisms: Sequence[Mechanism], factor: float) -> tuple[Mechanism, ...]:
    """The same mechanisms with ``factor`` times the noise."""
    return tuple(
        _sampled(m, m.noise_multiplier * factor)
        if isinstance(m, SampledGaussian)
        else LaplaceCounts(epsilon=m.epsilon / factor)
        for m in mechanisms
    )


def _sampled(mechanism: SampledGaussian, noise: float) -> SampledGaussian:
    return SampledGaussian(
        sampling_rate=mechanism.sampling_rate,
        noise_multiplier=noise,
        steps=mechanism.steps,
        max_grad_norm=mechanism.max_grad_norm,
    )


def _key(mechanism: Mechanism) -> tuple[tuple[str, float, float], int]:
    """What makes two mechanisms the same one, and how many times this one runs."""
    match mechanism:
        case SampledGaussian():
            if not 0.0 < mechanism.sampling_rate <= 1.0:
                raise wrong_parameter("sampling_rate", "a number above 0, at most 1", mechanism.sampling_rate)
            if not _MIN_NOISE <= mechanism.noise_multiplier <= 2.0 * _MAX_NOISE:
                raise wrong_parameter("noise_multiplier", f"{_MIN_NOISE} to {_MAX_NOISE:g}", mechanism.noise_multiplier)
            if isinstance(mechanism.steps, bool) or not 1 <= mechanism.steps <= _MAX_STEPS:
                raise wrong_parameter("steps", f"1 to {_MAX_STEPS}", mechanism.steps)
            if not (math.isfinite(mechanism.max_grad_norm) and mechanism.max_grad_norm > 0.0):
                raise wrong_parameter("max_grad_norm", "a number above 0", mechanism.max_grad_norm)
            return ("sampled_gaussian", mechanism.sampling_rate, mechanism.noise_multiplier), mechanism.steps
        case LaplaceCounts():
            if not (math.isfinite(mechanism.epsilon) and 0.0 < mechanism.epsilon <= 100.0):  # noqa: PLR2004 - named in the message
                raise wrong_parameter("epsilon of the counts", "a number above 0, at most 100", mechanism.epsilon)
            return ("laplace_counts", mechanism.epsilon, 0.0), 1
        case _:
            raise wrong_parameter("mechanism", "sampled_gaussian or laplace_counts", type(mechanism).__name__)


# A distribution may hold millions of buckets, so only a few are kept.
@lru_cache(maxsize=8)
def _composed(key: tuple[str, float, float], times: int, discretisation: float) -> "pld.PrivacyLossDistribution":
    kind, first, second = key
    one = (
        sampled_gaussian(first, second, discretisation)
        if kind == "sampled_gaussian"
        else laplace_counts(first, discretisation)
    )
    return one if times == 1 else one.self_compose(times)


def forget_compositions() -> None:
    """Drop the compositions that are kept between calls; for timing."""
    _composed.cache_clear()
