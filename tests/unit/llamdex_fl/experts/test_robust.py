"""A minority cannot carry an average: the bound, for anything that hypothesis can think of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats.mstats import winsorize

from llamdex_fl.errors import InputError
from llamdex_fl.experts import Robustness, Weighed
from llamdex_fl.experts.robust import largest_share, levelled, moved_in_mean

WEIGHTS = st.lists(st.floats(1e-6, 1e9), min_size=5, max_size=40)


@given(WEIGHTS)
@settings(max_examples=100, deadline=None)
def test_no_fifth_of_the_experts_holds_more_than_their_level(weights: list[float]) -> None:
    given_i = np.array(weights)
    count = len(weights) // 5
    found_i = levelled(given_i, count, 0.25)
    assert largest_share(found_i, count) <= 0.25 + 1e-6
    assert (found_i <= given_i).all()
    assert (found_i > 0.0).all()
    # What is below the level is left as it is.
    assert (found_i[found_i < found_i.max()] == given_i[found_i < found_i.max()]).all()


def test_weights_that_are_level_stay() -> None:
    weights_i = np.array([3.0, 2.0, 3.0, 2.5, 2.0, 2.2])
    assert levelled(weights_i, 1, 0.25) is weights_i


@given(st.integers(0, 2**32 - 1), st.integers(5, 30), st.floats(1e-3, 1e6))
@settings(max_examples=150, deadline=None)
def test_the_mean_stays_within_what_the_honest_say(seed: int, experts: int, size: float) -> None:
    random = np.random.default_rng(seed)
    count = experts // 5
    poisoned = random.choice(experts, count, replace=False)
    values_inC = random.normal(size=(experts, 3, 2))
    values_inC[poisoned] = size * random.normal(size=(count, 3, 2))
    precisions_i = random.lognormal(0.0, 2.0, experts)
    precisions_i[poisoned] *= random.choice([1.0, 1e9])
    # They may agree or contradict as they like, too.
    agreements_i = random.uniform(-1.0, 1.0, experts)
    weighed = Weighed.of(precisions_i, agreements_i)
    honest_inC = np.delete(values_inC, poisoned, axis=0)
    mean_nC = weighed.mean(values_inC)
    assert weighed.poisoned == count
    assert (mean_nC >= honest_inC.min(axis=0) - 1e-9).all()
    assert (mean_nC <= honest_inC.max(axis=0) + 1e-9).all()


@given(st.integers(0, 2**32 - 1), st.integers(5, 30))
@settings(max_examples=100, deadline=None)
def test_the_reach_holds_whatever_the_poisoned_say(seed: int, experts: int) -> None:
    random = np.random.default_rng(seed)
    weighed = Weighed.of(random.lognormal(0.0, 1.0, experts))
    clean_inC = random.normal(size=(experts, 4, 2))
    low_nC, high_nC = weighed.reach(clean_inC, weighed.poisoned)
    poisoned = random.choice(experts, weighed.poisoned, replace=False)
    said_inC = clean_inC.copy()
    said_inC[poisoned] = random.choice([-1e6, 1e6, 0.3]) * random.normal(size=(len(poisoned), 4, 2))
    mean_nC = weighed.mean(said_inC)
    assert (low_nC - 1e-9 <= mean_nC).all()
    assert (mean_nC <= high_nC + 1e-9).all()
    assert (low_nC <= weighed.mean(clean_inC)).all()
    none_low_nC, none_high_nC = weighed.reach(clean_inC, 0)
    np.testing.assert_allclose(none_low_nC, none_high_nC)


def test_too_many_poisoned_experts_have_no_reach() -> None:
    weighed, values_inC = Weighed.of(np.ones(10)), np.zeros((10, 1, 2))
    weighed.reach(values_inC, 3)
    with pytest.raises(InputError, match="combined"):
        weighed.reach(values_inC, 4)
    with pytest.raises(InputError, match="combined"):
        Weighed.of(np.ones(4)).reach(values_inC[:4], 1)


def _one_by_one(values: NDArray[np.float64], weights: NDArray[np.int64], trim: float) -> float:
    """By scipy, of each value as often as it weighs."""
    repeated = np.repeat(values, weights)
    return float(np.asarray(winsorize(repeated, limits=(trim, trim))).mean())


@pytest.mark.parametrize("trim", [0.0, 0.1, 0.25, 0.4])
def test_the_mean_is_that_of_winsorized_values(trim: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        weights_i = random.integers(1, 9, 11)
        weights_i[0] += -weights_i.sum() % 20  # so that every trim is a whole number of them
        values_i1 = random.normal(size=(11, 1))
        found = moved_in_mean(values_i1, weights_i.astype(np.float64), trim + 1e-12 if trim else 0.0)
        assert found[0] == pytest.approx(_one_by_one(values_i1[:, 0], weights_i, trim), abs=1e-6)


def test_four_experts_are_averaged_as_they_are() -> None:
    values_inC = np.array([[[0.0]], [[0.0]], [[0.0]], [[8.0]]])
    weighed = Weighed.of(np.array([1.0, 1.0, 1.0, 5.0]), np.array([1.0, 1.0, 1.0, -1.0]))
    assert weighed.poisoned == 0
    assert weighed.mean(values_inC)[0, 0] == pytest.approx(5.0)
    assert [Robustness().may_be_poisoned(experts) for experts in (1, 4, 5, 9, 10, 1000)] == [0, 0, 1, 1, 2, 200]


def test_who_contradicts_is_heard_less_and_never_so_many_that_others_could_carry() -> None:
    precisions_i = np.ones(10)
    agreements_i = np.array([0.5] * 8 + [-0.5] * 2)
    assert (Weighed.of(precisions_i, agreements_i).weights_i > 0.0).tolist() == [True] * 8 + [False] * 2
    # Six contradict: all but the three that contradict most are needed to outvote two.
    weighed = Weighed.of(precisions_i, np.array([0.5] * 4 + [-0.5, -0.6, -0.7, -0.8, -0.9, -1.0]))
    assert (weighed.weights_i > 0.0).sum() == 7
    assert largest_share(weighed.weights_i, 2) <= Robustness().level + 1e-6
