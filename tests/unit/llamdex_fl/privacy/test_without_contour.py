"""Where the contour reference cannot be had, nothing that is promised leans on it.

It does not converge for one or few sub-sampled steps. For one step the true epsilon has a closed form, which is the
oracle here: the privacy loss is monotone in the outcome, so each delta is two normal tails.
"""

import math
from typing import NoReturn

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

import llamdex_fl.privacy.calibration
import llamdex_fl.privacy.edgeworth
from llamdex_fl.errors import InputError
from llamdex_fl.privacy import (
    LaplaceCounts,
    Mechanism,
    SampledGaussian,
    calibrate,
    certified_epsilon,
    certify,
    contour_epsilon,
    edgeworth_epsilon,
)


def one_step(rate: float, noise: float) -> SampledGaussian:
    return SampledGaussian(sampling_rate=rate, noise_multiplier=noise, steps=1, max_grad_norm=1.0)


def exact_epsilon(rate: float, noise: float, delta: float) -> float:
    """Of one step, the larger of both directions."""

    def place(ratio: float) -> float:
        """Where the Gaussian of a present record is ``ratio`` times as likely as that of an absent one."""
        return noise**2 * math.log(ratio) + 0.5

    def remove(epsilon: float) -> float:
        x = place((math.exp(epsilon) - 1.0 + rate) / rate)
        present = (1.0 - rate) * norm.sf(x / noise) + rate * norm.sf((x - 1.0) / noise)
        return float(present - math.exp(epsilon) * norm.sf(x / noise))

    def add(epsilon: float) -> float:
        ratio = (math.exp(-epsilon) - 1.0 + rate) / rate
        if ratio <= 0.0:
            return 0.0
        x = place(ratio)
        present = (1.0 - rate) * norm.cdf(x / noise) + rate * norm.cdf((x - 1.0) / noise)
        return float(norm.cdf(x / noise) - math.exp(epsilon) * present)

    found = [brentq(lambda e, d=d: d(e) - delta, 0.0, 50.0) if d(0.0) > delta else 0.0 for d in (remove, add)]
    return float(max(found))


@pytest.mark.parametrize(
    ("rate", "noise", "delta"),
    [(0.001, 0.6, 1e-5), (0.5, 2.0, 1e-5), (0.9, 0.7, 1e-6)],
)
def test_one_sparse_step_is_certified_to_the_closed_form(rate: float, noise: float, delta: float) -> None:
    step, exact = [one_step(rate, noise)], exact_epsilon(rate, noise, delta)
    with pytest.raises(InputError, match="does not converge"):
        contour_epsilon(step, delta)
    assert exact <= certified_epsilon(step, delta) <= exact + 3e-5
    assert exact <= edgeworth_epsilon(step, delta) <= exact + 3e-5


def test_without_the_contour_certificates_and_guarantees_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    mechanisms: tuple[Mechanism, ...] = (
        LaplaceCounts(epsilon=0.1),
        SampledGaussian(sampling_rate=0.5, noise_multiplier=14.0, steps=60, max_grad_norm=1.0),
    )
    before = certify(mechanisms, 1e-4), edgeworth_epsilon(mechanisms, 1e-4)

    def none(*_: object) -> NoReturn:
        raise InputError("The contour integral does not converge.", expected="", got="", next_step="")

    monkeypatch.setattr(llamdex_fl.privacy.edgeworth, "contour_epsilon", none)
    monkeypatch.setattr(llamdex_fl.privacy.calibration, "contour_epsilon", none)
    llamdex_fl.privacy.calibration._noise.cache_clear()
    assert (certify(mechanisms, 1e-4), edgeworth_epsilon(mechanisms, 1e-4)) == before
    # Calibration starts from another place then, and ends as near below epsilon.
    found = calibrate(mechanisms[1:], epsilon=1.0, delta=1e-4)
    assert 0.999 <= certified_epsilon(found, 1e-4) <= 1.0
    llamdex_fl.privacy.calibration._noise.cache_clear()
