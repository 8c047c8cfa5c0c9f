"""One contract for all accountants, the doc's reference values, and who may authorise a run."""

import math

import pytest

from llamdex_fl.errors import EstimateRefusedError, InputError, PolicyError
from llamdex_fl.privacy import (
    ACCOUNTANTS,
    LaplaceCounts,
    SampledGaussian,
    calibrate,
    calibrated_noise,
    certified_epsilon,
    contour_epsilon,
    edgeworth_epsilon,
    edgeworth_estimate,
    edgeworth_report,
    find_accountant,
    prv_interval,
    rdp_epsilon,
    require_rigorous,
    tilted_bound,
    with_noise,
)


def gaussian(rate: float, noise: float, steps: int) -> SampledGaussian:
    return SampledGaussian(sampling_rate=rate, noise_multiplier=noise, steps=steps, max_grad_norm=1.0)


MIXED = (gaussian(0.01, 1.0, 500), gaussian(0.02, 1.5, 300))
#: mechanisms, delta, contour, RDP, tilted bound (None where nobody published one).
REFERENCES = [
    ((gaussian(0.01, 1.0, 1000),), 1e-5, 1.828236667, 2.1014, 2.1013),
    ((gaussian(1 / 264, 0.6, 792),), 5e-6, 3.579910829, 4.4994, 4.3695),
    ((gaussian(0.128, 3.0, 80),), 1e-3, 1.052966499, 1.2269, 1.1167),
    ((gaussian(1 / 16, 1.6, 160),), 2e-4, 1.916742690, 2.1827, None),
    ((gaussian(1.0, 10.0, 30),), 1e-5, 2.207059470, 2.3964, None),
    (MIXED, 1e-5, 1.682595, 1.951746, None),
]
#: records, batch, epochs, epsilon, noise by the Edgeworth estimate of order 1, what that noise really costs.
ESTIMATES = [
    (67349, 256, 3, 8.0, 0.4205, 11.76),
    (67349, 256, 10, 1.0, 1.0628, None),
    (500, 64, 30, 8.0, 1.2244, None),
    (500, 64, 10, 1.0, 3.0746, None),
    (2000, 128, 10, 2.0, 1.6096, None),
    (5000, 64, 10, 1.0, 1.4174, None),
    (30000, 256, 10, 0.5, 2.2098, None),
]


@pytest.mark.parametrize("name", list(ACCOUNTANTS))
class TestEveryAccountant:
    """What each of them promises."""

    def test_nothing_costs_nothing(self, name: str) -> None:
        assert find_accountant(name).epsilon([], 1e-5) == 0.0

    def test_more_steps_cost_more_and_more_noise_costs_less(self, name: str) -> None:
        epsilon = find_accountant(name).epsilon
        costs = [epsilon([gaussian(0.05, noise, steps)], 1e-5) for noise, steps in ((2.0, 200), (1.5, 200), (1.5, 400))]
        assert 0.0 < costs[0] < costs[1] < costs[2] < math.inf

    def test_mixed_schedules_count_alike_in_any_order_and_split(self, name: str) -> None:
        epsilon = find_accountant(name).epsilon
        split = [MIXED[1], gaussian(0.01, 1.0, 200), gaussian(0.01, 1.0, 300)]
        assert epsilon(split, 1e-5) == pytest.approx(epsilon(MIXED, 1e-5), rel=1e-9)

    def test_a_rigorous_one_is_never_below_the_truth(self, name: str) -> None:
        accountant = find_accountant(name)
        if accountant.kind == "estimate":
            pytest.skip("an estimate promises nothing")
        for mechanisms, delta, contour, _, _ in REFERENCES[2:4]:
            assert accountant.epsilon(mechanisms, delta) >= contour - 5e-7  # the mixed reference has six digits

    def test_out_of_range_is_refused(self, name: str) -> None:
        epsilon = find_accountant(name).epsilon
        for bad in (gaussian(0.0, 1.0, 1), gaussian(0.1, 0.0, 1), gaussian(0.1, math.nan, 1), gaussian(0.1, 1.0, 0)):
            with pytest.raises(InputError):
                epsilon([bad], 1e-5)
        with pytest.raises(InputError, match="delta"):
            epsilon([gaussian(0.1, 1.0, 1)], 1.0)

    def test_calibration_comes_within_a_500th_below(self, name: str) -> None:
        rough = [gaussian(0.128, 1.0, 80)]
        noise = calibrated_noise(rough, epsilon=1.05, delta=1e-3, accountant=name)
        assert 1.05 * (1 - 1 / 500) <= find_accountant(name).epsilon(with_noise(rough, noise), 1e-3) <= 1.05


@pytest.mark.parametrize(("mechanisms", "delta", "contour", "rdp", "bound"), REFERENCES)
def test_references(
    mechanisms: tuple[SampledGaussian, ...], delta: float, contour: float, rdp: float, bound: float | None
) -> None:
    assert contour_epsilon(mechanisms, delta) == pytest.approx(contour, abs=1e-6)
    assert contour - 5e-7 <= certified_epsilon(mechanisms, delta) <= contour + 3e-5
    continuous = rdp_epsilon(mechanisms, delta).epsilon
    # The references are of a grid of orders, which can only be larger, and by little unless the orders are few.
    assert rdp - 0.01 <= continuous <= rdp + 5e-5
    found = tilted_bound(mechanisms, delta).epsilon
    assert contour <= found <= continuous
    if bound is not None:
        assert found == pytest.approx(bound, abs=1e-4)


@pytest.mark.parametrize("delta", [1e-2, 1e-5, 1e-9])
def test_without_sampling_the_truth_has_a_closed_form(delta: float) -> None:
    # Balle and Wang, arXiv 1805.06530v2, theorem 8, with mu = sqrt(steps) / noise.
    from scipy.optimize import brentq  # noqa: PLC0415 - only here
    from scipy.special import ndtr  # noqa: PLC0415

    mu = math.sqrt(30) / 10
    truth = brentq(lambda e: ndtr(mu / 2 - e / mu) - math.exp(e) * ndtr(-mu / 2 - e / mu) - delta, 0, 50, xtol=1e-13)
    mechanisms = [gaussian(1.0, 10.0, 30)]
    assert contour_epsilon(mechanisms, delta) == pytest.approx(truth, abs=1e-9)
    assert truth <= certified_epsilon(mechanisms, delta) <= truth + 1e-5
    # The loss is normal: every order of the expansion is exact.
    for order in (1, 2, 3):
        assert edgeworth_estimate(mechanisms, delta, order=order).epsilon == pytest.approx(truth, abs=1e-7)


@pytest.mark.parametrize(("records", "batch", "epochs", "epsilon", "noise", "truth"), ESTIMATES)
def test_the_estimate_is_the_published_one(  # noqa: PLR0913, PLR0917 - a row
    records: int, batch: int, epochs: int, epsilon: float, noise: float, truth: float | None
) -> None:
    steps = math.ceil(records / batch)
    delta = records**-1.1
    training = [gaussian(1 / steps, 1.0, epochs * steps)]
    found = calibrated_noise(training, epsilon=epsilon, delta=delta, accountant="edgeworth_estimate")
    assert found == pytest.approx(noise, abs=1e-3)
    if truth is not None:
        at_noise = with_noise(training, noise)
        assert contour_epsilon(at_noise, delta) == pytest.approx(truth, abs=0.005)
        assert edgeworth_estimate(at_noise, delta).validity == "invalid"


def test_the_epsilon_of_edgeworth_is_rigorous_where_its_estimate_lies() -> None:
    report = edgeworth_report([gaussian(1 / 264, 0.4205, 792)], 67349**-1.1)
    assert report.estimate.epsilon < 8.01
    assert report.epsilon == min(report.certificate, report.upper_bound) > 11.7
    assert report.binds == "pld"


def test_orders_and_flags() -> None:
    mechanisms = [gaussian(0.02, 2.0, 800)]
    truth = contour_epsilon(mechanisms, 1e-5)
    errors = [abs(edgeworth_estimate(mechanisms, 1e-5, order=order).epsilon - truth) for order in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2]
    assert edgeworth_estimate(mechanisms, 1e-5).validity == "valid"
    assert edgeworth_estimate([gaussian(0.02, 2.0, 90)], 1e-5).validity == "doubtful"
    assert edgeworth_estimate([gaussian(0.02, 2.0, 60)], 1e-5).validity == "invalid"
    with pytest.raises(InputError, match="order"):
        edgeworth_estimate(mechanisms, 1e-5, order=4)


@pytest.mark.parametrize(
    "mechanisms",
    [[gaussian(0.5, 14.5, 60), LaplaceCounts(epsilon=0.2)], list(MIXED), [LaplaceCounts(epsilon=0.3)]],
)
def test_prv_holds_the_certificate_between_its_ends(mechanisms: list[SampledGaussian | LaplaceCounts]) -> None:
    lower, upper = prv_interval(mechanisms, 1e-4, epsilon_error=1e-3)
    assert lower <= certified_epsilon(mechanisms, 1e-4) <= upper + 1e-5
    assert upper - lower < 2.5e-3
    assert edgeworth_epsilon(mechanisms, 1e-4) >= lower


def test_an_estimate_never_authorises_a_run() -> None:
    for name in ("gdp", "edgeworth_estimate"):
        with pytest.raises(EstimateRefusedError, match="estimate"):
            require_rigorous(name)
        with pytest.raises(PolicyError):
            calibrate([gaussian(0.1, 1.0, 100)], epsilon=1.0, delta=1e-5, accountant=name)
    with pytest.raises(InputError, match="no such accountant"):
        require_rigorous("moments")


def test_rdp_agrees_with_opacus_and_dp_accounting() -> None:
    from dp_accounting import rdp  # noqa: PLC0415 - only here
    from dp_accounting.dp_event import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent  # noqa: PLC0415

    orders = [1.0 + 0.05 * number for number in range(1, 400)]
    other = rdp.RdpAccountant(orders)
    other.compose(SelfComposedDpEvent(PoissonSampledDpEvent(0.05, GaussianDpEvent(1.4)), 300))
    ours = rdp_epsilon([gaussian(0.05, 1.4, 300)], 1e-5).epsilon
    assert ours <= other.get_epsilon(1e-5) + 1e-9
    assert ours == pytest.approx(other.get_epsilon(1e-5), rel=1e-4)
