"""The audit's bounds against published values, exact distributions and mechanisms whose privacy is known."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binom, norm

from llamdex_fl.errors import InputError
from llamdex_fl.privacy import LaplaceCounts, SampledGaussian
from llamdex_fl.privacy.auditing import (
    advantage_lower_bound,
    certified_advantage,
    epsilon_lower_bound,
    epsilon_of_advantage,
    p_value,
)


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "delta", "bound"),
    [(1000, 1000, 700, 0.0, 0.73201), (1000, 200, 190, 0.0, 2.39787), (1000, 200, 190, 1e-3, 1.40799)],
)
def test_reference_bounds(canaries: int, guesses: int, correct: int, delta: float, bound: float) -> None:
    found = epsilon_lower_bound(canaries=canaries, guesses=guesses, correct=correct, delta=delta, confidence=0.95)
    assert found == pytest.approx(bound, abs=1e-4)


def test_without_delta_it_is_the_binomial_bound_of_randomised_response() -> None:
    for correct in (60, 75, 100):
        found = epsilon_lower_bound(canaries=100, guesses=100, correct=correct, delta=0.0)
        chance = 1.0 / (1.0 + math.exp(-found))
        assert binom.sf(correct - 1, 100, chance) == pytest.approx(0.05, rel=1e-3)
    # All right: chance^100 = 0.05 in closed form.
    assert found == pytest.approx(-math.log(0.05 ** (-1 / 100) - 1), abs=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("delta", [0.0, 1e-3, 0.05])
def test_no_mechanism_of_known_privacy_is_right_more_often_than_the_p_value_says(epsilon: float, delta: float) -> None:
    # Each coin is shown openly with probability delta, else by randomised response: (epsilon, delta)-DP, exactly.
    chance = delta + (1.0 - delta) / (1.0 + math.exp(-epsilon))
    for canaries in (1, 7, 200):
        for correct in range(canaries + 1):
            truth = float(binom.sf(correct - 1, canaries, chance))
            told = p_value(canaries=canaries, guesses=canaries, correct=correct, epsilon=epsilon, delta=delta)
            assert truth <= told + 1e-12


def test_all_coins_shown_at_once_are_covered_too() -> None:
    # The other extreme that delta allows: all of m coins shown together, with probability delta each time.
    delta, canaries = 0.01, 50
    right = (1.0 - delta) * binom.sf(np.arange(canaries), canaries, 0.5) + delta
    told = [
        p_value(canaries=canaries, guesses=canaries, correct=v, epsilon=0.0, delta=delta)
        for v in range(1, canaries + 1)
    ]
    assert (right <= np.array(told) + 1e-12).all()


def test_the_bound_moves_as_it_must() -> None:
    rising = [epsilon_lower_bound(canaries=500, guesses=200, correct=v, delta=1e-4) for v in range(100, 201, 10)]
    assert rising == sorted(rising)
    assert rising[0] == 0.0
    falling = [epsilon_lower_bound(canaries=500, guesses=200, correct=190, delta=d) for d in (0.0, 1e-5, 1e-3, 0.1)]
    assert falling == sorted(falling, reverse=True)
    surer = [epsilon_lower_bound(canaries=500, guesses=200, correct=190, delta=0, confidence=c) for c in (0.99, 0.9)]
    assert surer[0] < surer[1]
    assert epsilon_lower_bound(canaries=5, guesses=0, correct=0, delta=0.0) == 0.0


def test_the_p_value_of_the_bound_is_the_level() -> None:
    bound = epsilon_lower_bound(canaries=3000, guesses=600, correct=420, delta=1e-5, confidence=0.99)
    values = [
        p_value(canaries=3000, guesses=600, correct=420, epsilon=bound * factor, delta=1e-5) for factor in (0.9, 1, 1.1)
    ]
    assert all(low < high for low, high in pairwise(values))
    assert values[1] == pytest.approx(0.01, rel=1e-3)
    assert values[1] <= 0.01


def test_an_advantage_is_found_and_seldom_too_large() -> None:
    random = np.random.default_rng(4)
    truth = 0.3
    bounds = []
    for _ in range(300):
        # The most spread that shares of this mean can have: a whole training is read, or none of it.
        shares = (random.random(60) < 0.5 * (1.0 + truth)).astype(float)
        bounds.append(advantage_lower_bound(shares.tolist(), confidence=0.95))
    assert np.mean(np.array(bounds) > truth) <= 0.05
    steady = random.normal(0.5 * (1.0 + truth), 0.05, 60).clip(0.0, 1.0)
    assert 0.2 < advantage_lower_bound(steady.tolist()) < 0.3


def test_an_advantage_takes_several_trainings() -> None:
    assert advantage_lower_bound([]) == advantage_lower_bound([1.0]) == advantage_lower_bound([0.5] * 1000) == 0.0
    assert advantage_lower_bound([1.0] * 40) > 0.8
    # What was won before is not lost again: the fault was there.
    assert advantage_lower_bound([1.0] * 20 + [0.0] * 50) > 0.5


def test_an_advantage_costs_an_epsilon() -> None:
    for epsilon in (0.1, 1.0, 5.0):
        for delta in (0.0, 1e-3):
            advantage = (math.exp(epsilon) - 1.0 + 2.0 * delta) / (math.exp(epsilon) + 1.0)
            assert epsilon_of_advantage(advantage, delta) == pytest.approx(epsilon)
    assert epsilon_of_advantage(0.0, 1e-3) == epsilon_of_advantage(1e-3, 1e-3) == 0.0
    assert math.isinf(epsilon_of_advantage(1.0, 1e-3))


def test_the_certified_advantage_is_the_distance_in_total_variation() -> None:
    gaussian = SampledGaussian(sampling_rate=1.0, noise_multiplier=5.0, steps=9, max_grad_norm=1.0)
    truth = 2.0 * norm.cdf(0.5 * 3.0 / 5.0) - 1.0
    assert truth <= certified_advantage([gaussian]) <= truth + 2e-3
    laplace = 1.0 - math.exp(-0.5 * 0.7)
    assert laplace <= certified_advantage([LaplaceCounts(epsilon=0.7)]) <= laplace + 2e-3


@pytest.mark.parametrize(
    "change",
    [
        {"correct": 11},
        {"correct": -1},
        {"guesses": 101},
        {"delta": -0.1},
        {"delta": math.nan},
        {"confidence": 1.0},
        {"confidence": 0.0},
        {"confidence": math.nan},
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, float]) -> None:
    good: dict[str, float] = {"canaries": 100, "guesses": 10, "correct": 5, "delta": 0.0, "confidence": 0.95}
    with pytest.raises(InputError):
        epsilon_lower_bound(**good | change)  # type: ignore[arg-type]


def test_shares_and_epsilons_that_make_no_sense_are_refused() -> None:
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError):
            advantage_lower_bound([0.5, share])
    for epsilon in (-1.0, math.nan):
        with pytest.raises(InputError):
            p_value(canaries=1, guesses=1, correct=1, epsilon=epsilon, delta=0.0)
