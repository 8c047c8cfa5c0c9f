"""A minority cannot carry an average: the bound, for anything that hypothesis can think of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llamdex_fl.errors import InputError
from llamdex_fl.experts import Robustness, Weighed
from llamdex_fl.experts.robust import agreements, between_quantiles, capped, heard, largest_share, quantiles

COUNTS_2 = np.array([60.0, 40.0])


def weighed(
    precisions_i: NDArray[np.float64],
    public_inC: NDArray[np.float64] | None = None,
) -> Weighed:
    return Weighed.of(precisions_i, np.tile(COUNTS_2, (len(precisions_i), 1)), public_inC)


@given(st.integers(0, 2**32 - 1), st.integers(5, 30), st.floats(1e-3, 1e6), st.integers(1, 10))
@settings(max_examples=150, deadline=None)
def test_who_holds_less_than_beta_cannot_take_the_mean_out_of_what_the_others_say(
    seed: int, experts: int, size: float, poisoned: int
) -> None:
    random = np.random.default_rng(seed)
    bad = random.choice(experts, min(poisoned, experts - 1), replace=False)
    values_inC, public_inC = random.normal(size=(experts, 3, 2)), random.normal(size=(experts, 9, 2))
    values_inC[bad] *= size
    public_inC[bad] *= random.choice([1.0, size])
    precisions_i = random.lognormal(0.0, 1.0, experts)
    precisions_i[bad] *= random.choice([1.0, 1e9])
    found = weighed(precisions_i, public_inC)
    if found.weights_i[bad].sum() >= found.beta * found.weights_i.sum():
        return
    others_inC = np.delete(values_inC * found.scales_i[:, None, None], bad, axis=0)
    mean_nC = found.summed(values_inC) / found.weights_i.sum()
    assert (mean_nC >= others_inC.min(axis=0) - 1e-9).all()
    assert (mean_nC <= others_inC.max(axis=0) + 1e-9).all()


@given(st.integers(0, 2**32 - 1), st.integers(5, 30))
@settings(max_examples=100, deadline=None)
def test_the_reach_holds_whatever_the_poisoned_say(seed: int, experts: int) -> None:
    random = np.random.default_rng(seed)
    found = weighed(random.uniform(1.0, 1.5, experts))
    count = experts // 5
    clean_inC = random.normal(size=(experts, 4, 2))
    low_nC, high_nC = found.reach(clean_inC, count)
    bad = random.choice(experts, count, replace=False)
    said_inC = clean_inC.copy()
    said_inC[bad] = random.choice([-1e6, 1e6, 0.3]) * random.normal(size=(count, 4, 2))
    mean_nC = found.summed(said_inC) / found.weights_i.sum()
    assert (low_nC - 1e-9 <= mean_nC).all()
    assert (mean_nC <= high_nC + 1e-9).all()


def test_too_many_poisoned_experts_have_no_reach() -> None:
    values_inC = np.zeros((10, 1, 2))
    weighed(np.ones(10)).reach(values_inC, 2)
    with pytest.raises(InputError, match="combined"):
        weighed(np.ones(10)).reach(values_inC, 3)
    with pytest.raises(InputError, match="combined"):
        weighed(np.ones(4)).reach(values_inC[:4], 1)


@given(st.lists(st.floats(1e-6, 1e9), min_size=5, max_size=40), st.floats(1.0, 1e12))
@settings(max_examples=100, deadline=None)
def test_a_minority_cannot_raise_the_cap_above_what_the_others_make_it(values: list[float], times: float) -> None:
    honest_i = np.array(values)
    raised_i = honest_i.copy()
    raised_i[: (len(values) - 1) // 2] *= times
    assert capped(raised_i, 2.0).max() <= 2.0 * honest_i.max()
    assert (capped(honest_i, 2.0) <= honest_i).all()
    assert largest_share(capped(np.array([1.0] * 8 + [1e9] * 2), 2.0), 2) == pytest.approx(1 / 3)


@pytest.mark.parametrize("level", [0.0, 0.1, 0.35, 0.5, 1.0])
def test_the_quantile_is_that_of_each_value_as_often_as_it_weighs(level: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        weights_i = random.integers(0, 9, 11)
        values_i1 = random.normal(size=(11, 1))
        repeated = np.sort(np.repeat(values_i1[:, 0], weights_i))
        expected = repeated[max(int(np.ceil(level * len(repeated) - 1e-9)) - 1, 0)]
        (found_1,) = quantiles(values_i1, weights_i.astype(np.float64), [level - 1e-12])
        assert found_1[0] == expected


def test_a_mean_between_the_quantiles_stays() -> None:
    values_i1 = np.arange(7.0)[:, None]
    assert between_quantiles(np.array([3.2]), values_i1, np.ones(7), 0.35)[0] == pytest.approx(3.2)
    assert between_quantiles(np.array([9.0]), values_i1, np.ones(7), 0.35)[0] == pytest.approx(4.0)


def test_agreement_is_with_the_others_alone() -> None:
    values_inC = np.random.default_rng(0).normal(size=(6, 50, 2))
    weights_i = np.array([1.0, 2.0, 3.0, 1.0, 0.5, 9.0])
    centred_inC = values_inC - values_inC.mean(axis=1, keepdims=True)
    for one, found in enumerate(agreements(values_inC, weights_i)):
        others = np.arange(6) != one
        rest_nC = np.tensordot(weights_i[others], centred_inC[others], 1)
        assert found == pytest.approx(np.corrcoef(centred_inC[one].ravel(), rest_nC.ravel())[0, 1], abs=1e-9)
    assert agreements(values_inC[:1], np.ones(1))[0] == 0.0
    assert agreements(np.zeros((3, 4, 2)), np.ones(3)).tolist() == [0.0] * 3


def test_who_contradicts_is_not_heard_and_a_majority_always_is() -> None:
    random = np.random.default_rng(1)
    truth_nC = random.normal(size=(60, 2))
    signs_i = np.array([1.0] * 8 + [-1.0] * 2)
    said_inC = signs_i[:, None, None] * truth_nC + random.normal(size=(10, 60, 2))
    assert (heard(said_inC, np.ones(10), -0.2, 0.0) > 0.0).tolist() == [True] * 8 + [False] * 2
    noise_inC = random.normal(size=(10, 60, 2))
    assert (heard(noise_inC - noise_inC.mean(axis=0), np.ones(10), 0.2, 0.3) > 0.0).sum() >= 6


def test_loud_evidence_is_turned_down_and_four_experts_are_averaged_as_they_are() -> None:
    random = np.random.default_rng(2)
    public_inC = random.normal(size=(6, 40, 2)) + random.normal(size=(40, 2))
    public_inC[0] *= 100.0
    found = weighed(np.ones(6), public_inC)
    assert found.scales_i[0] < 0.05
    assert (found.scales_i[1:] > 0.5).all()
    few = weighed(np.array([1.0, 1.0, 1.0, 5.0]))
    assert few.summed(np.array([[[0.0]], [[0.0]], [[0.0]], [[8.0]]]))[0, 0] == 40.0
    assert few.scales_i.tolist() == few.heard_i.tolist() == [1.0] * 4
    assert few.pooled_C.tolist() == [0.6, 0.4]
    assert Robustness().least_experts == 5
