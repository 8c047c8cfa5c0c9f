"""The accountant against reference values that were computed by contour integration, and its own promises."""

import math

import pytest

from llamdex_fl.errors import InputError
from llamdex_fl.privacy import (
    ACCOUNTANT,
    Guarantee,
    LaplaceCounts,
    Mechanism,
    SampledGaussian,
    accountant_version,
    calibrate,
    certified_epsilon,
    certify,
    check_guarantee,
    weaken,
)


def gaussian(rate: float, noise: float, steps: int) -> SampledGaussian:
    return SampledGaussian(sampling_rate=rate, noise_multiplier=noise, steps=steps, max_grad_norm=1.0)


RECIPE: tuple[Mechanism, ...] = (LaplaceCounts(epsilon=0.2), gaussian(0.5, 14.5, 60))


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta", "reference"),
    [
        (0.01, 1.0, 1000, 1e-5, 1.828236667),
        (1 / 264, 0.6, 792, 5e-6, 3.579910829),
        (0.128, 3.0, 80, 1e-3, 1.052966499),
        (1 / 16, 1.6, 160, 2e-4, 1.916742690),
        (1.0, 10.0, 30, 1e-5, 2.207059470),
    ],
)
def test_reference_epsilons(rate: float, noise: float, steps: int, delta: float, reference: float) -> None:
    # Contour integration of the loss's characteristic function; never below, and within 1e-4.
    epsilon = certified_epsilon([gaussian(rate, noise, steps)], delta)
    assert reference - 1e-8 <= epsilon <= reference + 1e-4


def test_mixed_schedule() -> None:
    mixed = [gaussian(0.01, 1.0, 500), gaussian(0.02, 1.5, 300)]
    assert certified_epsilon(mixed, 1e-5) == pytest.approx(1.682595, abs=1e-4)
    assert certified_epsilon(mixed[::-1], 1e-5) == certified_epsilon(mixed, 1e-5)


def test_laplace_alone_is_pure() -> None:
    # delta of a Laplace mechanism, 1 - exp((eps - eps0) / 2), in closed form (Balle et al., arXiv 1805.06530v2).
    delta = 1e-3
    expected = 0.5 + 2.0 * math.log(1.0 - delta)
    assert certified_epsilon([LaplaceCounts(epsilon=0.5)], delta) == pytest.approx(expected, abs=1e-3)


def test_composition_is_tighter_than_the_sum_and_never_below_its_parts() -> None:
    parts = [certified_epsilon([mechanism], 1e-4) for mechanism in RECIPE]
    whole = certified_epsilon(RECIPE, 1e-4)
    assert max(parts) < whole < sum(parts)


def test_splitting_a_run_changes_nothing() -> None:
    split = [gaussian(0.5, 14.5, 25), gaussian(0.5, 14.5, 35), LaplaceCounts(epsilon=0.2)]
    assert certified_epsilon(split, 1e-4) == certified_epsilon(RECIPE, 1e-4)


def test_calibration_meets_the_target_from_below_within_a_500th() -> None:
    found = calibrate(RECIPE, epsilon=1.0, delta=1e-4)
    assert 1.0 - 1 / 500 <= certified_epsilon(found, 1e-4) <= 1.0
    assert found[0] == RECIPE[0]
    assert isinstance(found[1], SampledGaussian)
    assert (found[1].sampling_rate, found[1].steps, found[1].max_grad_norm) == (0.5, 60, 1.0)


def test_calibration_matches_the_published_noise() -> None:
    found = calibrate([gaussian(0.128, 1.0, 80)], epsilon=1.0529665, delta=1e-3)
    assert isinstance(found[0], SampledGaussian)
    assert found[0].noise_multiplier == pytest.approx(3.0, rel=2e-3)


def test_calibration_refuses_when_the_counts_cost_everything() -> None:
    with pytest.raises(InputError, match="No amount of noise"):
        calibrate([LaplaceCounts(epsilon=1.5), gaussian(0.5, 1.0, 60)], epsilon=1.0, delta=1e-4)


def test_weakening_costs_less() -> None:
    assert certified_epsilon(weaken(RECIPE, 2.0), 1e-4) < certified_epsilon(RECIPE, 1e-4) / 1.9


def test_nothing_costs_nothing() -> None:
    assert certified_epsilon([], 1e-5) == 0.0


@pytest.mark.parametrize(
    "bad",
    [
        gaussian(0.0, 1.0, 1),
        gaussian(1.5, 1.0, 1),
        gaussian(math.nan, 1.0, 1),
        gaussian(0.1, 0.0, 1),
        gaussian(0.1, -1.0, 1),
        gaussian(0.1, math.nan, 1),
        gaussian(0.1, 1.0, 0),
        gaussian(0.1, 1.0, 10**9),
        SampledGaussian(sampling_rate=0.1, noise_multiplier=1.0, steps=1, max_grad_norm=0.0),
        LaplaceCounts(epsilon=0.0),
        LaplaceCounts(epsilon=math.inf),
    ],
)
def test_parameters_out_of_range_are_refused(bad: Mechanism) -> None:
    with pytest.raises(InputError):
        certified_epsilon([bad], 1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, math.nan])
def test_delta_out_of_range_is_refused(delta: float) -> None:
    with pytest.raises(InputError, match="delta"):
        certified_epsilon(RECIPE, delta)


def test_an_honest_claim_is_confirmed() -> None:
    guarantee = certify(RECIPE, 1e-4)
    assert (guarantee.accountant, guarantee.accountant_version) == (ACCOUNTANT, accountant_version())
    assert check_guarantee(guarantee) == guarantee.epsilon


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": 0.5},
        {"epsilon": math.nan},
        {"mechanisms": ()},
        {"accountant": "edgeworth_estimate"},
        {"adjacency": "replace_one"},
        {"unit": "batch"},
    ],
)
def test_a_claim_that_flatters_is_refused(change: dict[str, object]) -> None:
    honest = {
        "epsilon": 1.2,
        "delta": 1e-4,
        "mechanisms": RECIPE,
        "accountant": ACCOUNTANT,
        "accountant_version": accountant_version(),
    }
    with pytest.raises(InputError):
        check_guarantee(Guarantee(**{**honest, **change}))  # type: ignore[arg-type] # a wrong claim on purpose
