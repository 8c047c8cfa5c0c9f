"""The cross-check at a release: it lets the truth through, and nothing that is off by more than its slack."""

import math

import pytest

from llamdex_fl.errors import AccountantsDisagreeError, LlamdexError
from llamdex_fl.privacy import LaplaceCounts, Mechanism, SampledGaussian, certified_epsilon, cross_check

RELEASE: tuple[Mechanism, ...] = (
    LaplaceCounts(epsilon=0.2),
    SampledGaussian(sampling_rate=0.5, noise_multiplier=14.5, steps=60, max_grad_norm=1.0),
)
FEW_STEPS: tuple[Mechanism, ...] = (
    SampledGaussian(sampling_rate=0.001, noise_multiplier=0.6, steps=3, max_grad_norm=1.0),
)
COUNTS_ALONE: tuple[Mechanism, ...] = (LaplaceCounts(epsilon=0.4),)


@pytest.mark.parametrize("mechanisms", [RELEASE, RELEASE[1:], FEW_STEPS, COUNTS_ALONE])
def test_a_certificate_passes(mechanisms: tuple[Mechanism, ...]) -> None:
    cross_check(mechanisms, 1e-4, certified_epsilon(mechanisms, 1e-4))


@pytest.mark.parametrize("off", [-2e-4, 2e-4, -0.5, 0.5, math.nan, math.inf])
def test_another_number_is_refused(off: float) -> None:
    claimed = certified_epsilon(RELEASE, 1e-4) + off
    with pytest.raises(AccountantsDisagreeError, match="contradict") as refused:
        cross_check(RELEASE, 1e-4, claimed)
    assert isinstance(refused.value, LlamdexError)
    assert refused.value.exit_code == 1


@pytest.mark.parametrize("off", [-0.1, 0.1])
def test_where_there_is_no_contour_prv_alone_decides(off: float) -> None:
    with pytest.raises(AccountantsDisagreeError, match="prv"):
        cross_check(COUNTS_ALONE, 1e-4, certified_epsilon(COUNTS_ALONE, 1e-4) + off)
