"""The tilted bound's parts against mpmath, and its promises on a random grid."""

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld

from llamdex_fl.errors import InputError
from llamdex_fl.privacy import (
    Mechanism,
    SampledGaussian,
    certified_epsilon,
    contour_epsilon,
    edgeworth_epsilon,
    rdp_epsilon,
    tilted_bound,
)
from llamdex_fl.privacy.discretised import bucket_width, sampled_gaussian
from llamdex_fl.privacy.loss import DIRECTIONS, Direction, TiltedMoments, composition_laws, tilted_moments
from llamdex_fl.privacy.tilted import _ANY_LAWS, _berry_esseen, _log_normal_part


def gaussian(rate: float, noise: float, steps: int) -> SampledGaussian:
    return SampledGaussian(sampling_rate=rate, noise_multiplier=noise, steps=steps, max_grad_norm=1.0)


def by_mpmath(rate: float, noise: float, tilt: float, direction: Direction) -> list[float]:
    """K, mean, variance and absolute third moment of one step's tilted loss, by adaptive quadrature."""
    sign = 1 if direction == "remove" else -1

    def ratio(x: mpmath.mpf) -> mpmath.mpf:
        return sign * mpmath.log(1 - rate + rate * mpmath.exp((2 * x - 1) / (2 * noise**2)))

    power = tilt + (1 if direction == "remove" else 0)
    ends = [min(0.0, -tilt) - 15 * noise, max(1.0, 1 + tilt) + 15 * noise]

    def integral(function: Callable[[mpmath.mpf], mpmath.mpf], middle: float = 0.5) -> mpmath.mpf:
        cuts = sorted({ends[0], -3 * noise, 0.0, middle, 1.0, 1 + tilt, 1 + tilt + 3 * noise, ends[1]})
        return mpmath.quad(lambda x: function(ratio(x)) * mpmath.exp(power * ratio(x)) * mpmath.npdf(x, 0, noise), cuts)

    mass = integral(lambda _: 1)
    mean = integral(lambda r: r) / mass
    kink = 0.5 + noise**2 * mpmath.log((mpmath.exp(sign * mean) - 1 + rate) / rate)
    second = integral(lambda r: (r - mean) ** 2) / mass
    third = integral(lambda r: abs(r - mean) ** 3, float(kink)) / mass
    return [float(mpmath.log(mass)), float(mean), float(second), float(third)]


@pytest.mark.parametrize(
    ("rate", "noise", "tilt"), [(0.01, 1.0, 6.7), (1 / 264, 0.6, 2.8), (0.3, 4.0, 0.5), (0.05, 0.4, 1.5)]
)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_moments_are_those_of_adaptive_quadrature(rate: float, noise: float, tilt: float, direction: Direction) -> None:
    laws = composition_laws([gaussian(rate, noise, 1)], direction, tilts=(tilt, tilt))
    found = tilted_moments(laws, np.array([tilt]))
    expected = by_mpmath(rate, noise, tilt, direction)
    # K is padded upwards by 1e-13; the bound pads the third moment by twenty times what is allowed here.
    assert 0.0 <= found.log_mgf_T[0] - expected[0] + 1e-14 < 1e-12
    assert found.mean_T[0] == pytest.approx(expected[1], rel=1e-10)
    assert found.variance_T[0] == pytest.approx(expected[2], rel=1e-10)
    assert found.third_T[0] == pytest.approx(expected[3], rel=1e-6)


@pytest.mark.parametrize(("tilt", "gap", "variance"), [(2.0, 0.3, 0.5), (0.2, -1.0, 4.0), (30.0, 0.01, 1e-4)])
def test_the_normal_part_is_the_integral_of_g(tilt: float, gap: float, variance: float) -> None:
    deviation = math.sqrt(variance)
    expected = mpmath.quad(
        lambda u: mpmath.exp(-tilt * u) * (1 - mpmath.exp(-u)) * mpmath.npdf(u, gap, deviation),
        [0, 0.1 * deviation, deviation, 4 * deviation, 20 * deviation],
    )
    found = _log_normal_part(np.array([tilt]), np.array([gap]), np.array([variance]))
    assert math.exp(found[0]) == pytest.approx(float(expected), rel=1e-8)


def test_constants_for_one_law_are_not_used_where_laws_differ() -> None:
    moments = TiltedMoments(*(np.array([value]) for value in (1.0, 2.0, 3.0, 4.0)), steps=100, identical=True)
    fraction = 4.0 / 3.0**1.5
    one = _berry_esseen(moments)[0]
    many = _berry_esseen(moments._replace(identical=False))[0]
    assert many == pytest.approx(_ANY_LAWS * fraction, rel=1e-4)
    assert one < 0.4690 * fraction * 1.0001 < many


@pytest.mark.parametrize(("rate", "noise"), [(0.02, 0.6), (0.3, 2.0), (1.0, 5.0)])
def test_our_divergences_are_those_of_dp_accounting(rate: float, noise: float) -> None:
    theirs = pld.from_gaussian_mechanism(noise, sampling_prob=rate, value_discretization_interval=1e-3)
    ours = sampled_gaussian(rate, noise, 1e-3)
    for epsilon in (0.0, 0.1, 0.5, 1.0, 3.0):
        assert ours.get_delta_for_epsilon(epsilon) == pytest.approx(theirs.get_delta_for_epsilon(epsilon), abs=1e-13)
    assert ours.self_compose(40).get_epsilon_for_delta(1e-5) == pytest.approx(
        theirs.self_compose(40).get_epsilon_for_delta(1e-5), abs=1e-9
    )


def test_buckets_follow_the_loss_down_and_stay_powers_of_two() -> None:
    wide, narrow = bucket_width([gaussian(0.1, 2.0, 100)], 1e-5), bucket_width([gaussian(0.0004, 3.0, 8000)], 1e-5)
    assert wide == 1e-4 > narrow
    assert math.log2(wide / narrow).is_integer()


def drawn(seed: int, number: int) -> list[tuple[Mechanism, float]]:
    """Trainings whose epsilon is at most 20, and whose loss is spread enough for the contour."""
    random = np.random.default_rng(seed)
    found: list[tuple[Mechanism, float]] = []
    while len(found) < number:
        rate = 1.0 if random.random() < 0.1 else float(10 ** random.uniform(-3, 0))
        training = gaussian(rate, float(10 ** random.uniform(-0.3, 1.2)), int(10 ** random.uniform(1.3, 4)))
        delta = float(10 ** random.uniform(-8, -2))
        if rdp_epsilon([training], delta).epsilon < 20.0:
            found.append((training, delta))
    return found


def hold(training: Mechanism, delta: float) -> bool:
    try:
        contour = contour_epsilon([training], delta)
    except InputError:
        return False
    certified = certified_epsilon([training], delta)
    bound, rdp = tilted_bound([training], delta).epsilon, rdp_epsilon([training], delta).epsilon
    told = (training, delta, contour, certified, bound, rdp)
    assert contour <= certified <= contour + 3e-5, told
    assert contour <= bound <= rdp, told
    assert edgeworth_epsilon([training], delta) >= contour, told
    return True


def test_promises_on_a_small_random_grid() -> None:
    assert sum(hold(*each) for each in drawn(1, 4)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_promises_on_a_large_random_grid(seed: int) -> None:
    # 500 trainings in all; where the contour does not converge there is nothing to hold against.
    assert sum(hold(*each) for each in drawn(10 + seed, 58)) >= 50
