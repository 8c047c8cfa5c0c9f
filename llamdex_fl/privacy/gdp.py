"""Epsilon by the central limit theorem of Gaussian DP: an estimate that may be too low, and authorises nothing.

Source: Bu, Dong, Long, Su, arXiv 1911.11607v3, corollary 5.4: the composition is close to mu-GDP for many steps of
little loss each, with mu^2 the sum of steps * q^2 (exp(1 / sigma^2) - 1).
"""

import math
from collections.abc import Sequence

from scipy.special import log_ndtr

from llamdex_fl.errors import InputError
from llamdex_fl.privacy.guarantee import Mechanism, SampledGaussian
from llamdex_fl.privacy.loss import composition_laws, require_delta

__all__ = ["gdp_estimate"]

_LARGEST_EXPONENT = 700.0


def gdp_estimate(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """Estimate epsilon; ``inf`` where the theorem's mu is beyond floating point.

    Raises:
        InputError: a parameter is out of range, or a mechanism is no sampled Gaussian.
    """
    require_delta(delta)
    composition_laws(mechanisms, "remove")  # refuses what is out of range
    squared = 0.0
    for mechanism in mechanisms:
        if not isinstance(mechanism, SampledGaussian):
            raise InputError(
                "The gdp estimate does not speak of this mechanism.",
                expected="sampled_gaussian",
                got=mechanism.kind,
                next_step="use pld, prv, rdp or edgeworth",
            )
        exponent = 1.0 / mechanism.noise_multiplier**2
        if exponent > _LARGEST_EXPONENT:
            return math.inf
        squared += mechanism.steps * mechanism.sampling_rate**2 * math.expm1(exponent)
    return _epsilon(math.sqrt(squared), delta)


def _epsilon(mu: float, delta: float) -> float:
    from scipy.optimize import brentq  # noqa: PLC0415 - guarantees are read without it

    def excess(epsilon: float) -> float:
        lost = math.exp(log_ndtr(-epsilon / mu + mu / 2.0))
        kept = math.exp(epsilon + log_ndtr(-epsilon / mu - mu / 2.0))
        return lost - kept - delta

    if mu == 0.0 or excess(0.0) <= 0.0:
        return 0.0
    # Beyond this the first term alone is below delta.
    end = mu * (mu / 2.0 + math.sqrt(2.0 * math.log(1.0 / delta))) + mu
    root: float = brentq(excess, 0.0, end, xtol=1e-12)
    return root
