"""Intervals and paired tests against what they must say of clear cases."""

import math

import numpy as np
import pytest
from scipy import stats

from simulations.alternatives import interval, paired_difference


def test_an_interval_is_students() -> None:
    values = [0.71, 0.74, 0.69, 0.77]
    found = interval(values)
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high))


def test_one_seed_tells_no_spread() -> None:
    found = interval([0.7])
    assert (found.mean, found.low, found.high) == (0.7, None, None)


def test_the_same_answers_differ_in_nothing() -> None:
    right = [np.array([True, False, True, True])] * 6
    found = paired_difference(right, right)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
    assert (found.p_bootstrap, found.p_wilcoxon) == (1.0, 1.0)


def test_a_clear_difference_is_found_and_a_slight_one_is_not() -> None:
    random = np.random.default_rng(1)
    other = [random.random(200) < 0.7 for _ in range(6)]
    much = paired_difference([own | (random.random(200) < 0.5) for own in other], other)
    assert much.low > 0.05
    assert much.p_bootstrap < 0.01
    assert much.p_wilcoxon == pytest.approx(2 / 2**6)
    slight = paired_difference([random.random(200) < 0.7 for _ in range(6)], other)
    assert slight.low < 0.0 < slight.high
    assert slight.p_bootstrap > 0.05


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random, held = np.random.default_rng(2), 0
    for _ in range(20):
        truth = random.normal(0.05, 0.03, 8)
        one = [random.random(300) < 0.7 + gap for gap in truth]
        other = [random.random(300) < 0.7 for _ in truth]
        found = paired_difference(one, other)
        held += found.low <= 0.05 <= found.high
    assert held >= 15


def test_few_seeds_have_no_wilcoxon() -> None:
    right = [np.array([True, False])] * 4
    assert paired_difference(right, right).p_wilcoxon is None


def test_unpaired_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="paired"):
        paired_difference([np.array([True])], [np.array([True, False])])
    assert math.isfinite(paired_difference([np.array([True])], [np.array([False])]).mean)
