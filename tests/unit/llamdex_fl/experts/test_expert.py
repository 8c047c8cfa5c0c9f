"""Experts from tensors, and their combination."""

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llamdex_fl.errors import InputError, WeightsError
from llamdex_fl.experts import (
    THERMOMETER_LINEAR,
    Expert,
    Panel,
    code_records,
    combine,
    encode,
    pooled_prior,
    tensor_shapes,
    voices,
)
from llamdex_fl.privacy import Guarantee, LaplaceCounts, SampledGaussian
from llamdex_fl.schema import load_library_schema, parse_schema

HEART = load_library_schema("heart")
RECORDS = [{"age": 60, "chest_pain": "asymptomatic"}, {"sex": "female", "cholesterol": 200}, {}]


def tensors(
    seed: int = 0, counts: tuple[float, float] = (50.0, 50.0), scale: float = 0.3
) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    made = {
        name: (scale * random.normal(size=shape)).astype(np.float32)
        for name, shape in tensor_shapes(THERMOMETER_LINEAR, HEART).items()
    }
    made["class_counts"] = np.array(counts, np.float32)
    return made


def guarantee(noise: float = 14.0) -> Guarantee:
    steps = SampledGaussian(sampling_rate=0.5, noise_multiplier=noise, steps=60, max_grad_norm=1.0)
    return Guarantee(
        epsilon=1.0,
        delta=1e-4,
        mechanisms=(LaplaceCounts(epsilon=0.2), steps),
        accountant="pld",
        accountant_version="test",
    )


def test_an_expert_is_softmax_regression_on_the_codes() -> None:
    given = tensors(1)
    expert = Expert.from_tensors(HEART, given)
    logits = encode(HEART, RECORDS) @ given["weight"].T + given["bias"]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(expert.predict_proba(RECORDS), expected, rtol=1e-5)
    np.testing.assert_allclose(expert.log_odds(RECORDS).sum(axis=1), 0.0, atol=1e-9)


def test_the_tensors_are_copied() -> None:
    given = tensors(1)
    expert = Expert.from_tensors(HEART, given)
    before = expert.predict_proba(RECORDS)
    given["weight"][:] = 0.0
    assert (expert.predict_proba(RECORDS) == before).all()


@pytest.mark.parametrize(
    "change",
    [
        {"weight": np.zeros((2, 3), np.float32)},
        {"bias": np.array([np.nan, 0.0], np.float32)},
        {"bias": np.array([np.inf, 0.0], np.float32)},
        {"bias": np.array([1e8, 0.0], np.float32)},
        {"class_counts": np.array([0.0, 5.0], np.float32)},
        {"class_counts": np.array([1e30, 5.0], np.float32)},
        {"extra": np.zeros(1, np.float32)},
    ],
)
def test_wrong_tensors_are_refused(change: dict[str, NDArray[np.float32]]) -> None:
    with pytest.raises(WeightsError):
        Expert.from_tensors(HEART, {**tensors(), **change})


def test_a_missing_tensor_and_an_unknown_architecture_are_refused() -> None:
    given = tensors()
    del given["bias"]
    with pytest.raises(WeightsError):
        Expert.from_tensors(HEART, given)
    with pytest.raises(InputError, match="architecture"):
        Expert.from_tensors(HEART, tensors(), "thermometer_linear/v0")


def test_combination_follows_its_formula() -> None:
    first, second = Expert.from_tensors(HEART, tensors(1, (60, 40))), Expert.from_tensors(HEART, tensors(2, (10, 90)))
    guarantees = [guarantee(14.0), guarantee(28.0)]
    # Two classes: everything in log-odds of the second class, by hand.
    precision, evidence = [], []
    for expert, noise in ((first, 14.0), (second, 28.0)):
        negative, positive = expert.class_counts_C
        size = negative * positive / (negative + positive)
        spread = noise / (0.5 * np.sqrt(60))
        precision.append(size**2 / (size + 1.5 * spread**2))
        odds = expert.log_odds(RECORDS)
        evidence.append(odds[:, 1] - odds[:, 0] - np.log(positive / negative))
    total = precision[0] * evidence[0] + precision[1] * evidence[1]
    prior = 0.8 * np.log(0.7 / 0.3) + 0.2 * np.log((40 + 90) / (60 + 10))
    log_odds = 2.0 * total / (sum(precision) + 40.0) + prior
    found = combine([first, second], guarantees, RECORDS, np.array([0.3, 0.7]))
    np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-log_odds)), rtol=1e-9)
    np.testing.assert_allclose(voices([first, second], guarantees), np.array(precision) / sum(precision), rtol=1e-12)


def test_experts_of_one_schema_may_have_it_from_two_files_and_of_two_schemas_may_not() -> None:
    again = parse_schema(json.dumps(HEART.as_dict()))
    assert again is not HEART
    both = [Expert.from_tensors(HEART, tensors(1)), Expert.from_tensors(again, tensors(2))]
    same = [Expert.from_tensors(HEART, tensors(seed)) for seed in (1, 2)]
    guarantees = [guarantee()] * 2
    np.testing.assert_array_equal(combine(both, guarantees, RECORDS), combine(same, guarantees, RECORDS))
    other = Expert.from_tensors(replace(HEART, title="Another"), tensors(2))
    with pytest.raises(InputError, match="schema"):
        combine([both[0], other], guarantees, RECORDS)


def test_records_are_coded_once_for_all_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    experts = [Expert.from_tensors(HEART, tensors(seed)) for seed in range(5)]
    expected = combine(experts, [guarantee()] * 5, RECORDS)
    coded: list[str] = []

    def counted(architecture: str, *rest: Any) -> NDArray[np.float32]:  # noqa: ANN401 - as code_records
        coded.append(architecture)
        return code_records(architecture, *rest)

    monkeypatch.setattr(sys.modules[Panel.__module__], "code_records", counted)
    together = Panel.of(experts, [guarantee()] * 5)
    np.testing.assert_array_equal(together.combined(RECORDS), expected)
    # The public records, on which experts are compared, once and for all; then the question's.
    assert coded == [THERMOMETER_LINEAR] * 2
    together.combined(RECORDS)
    assert coded == [THERMOMETER_LINEAR] * 3


def test_the_prior_moves_the_answer_and_defaults_to_the_pooled_one() -> None:
    experts = [Expert.from_tensors(HEART, tensors(seed, (30, 90))) for seed in range(3)]
    guarantees = [guarantee()] * 3
    np.testing.assert_allclose(pooled_prior(experts), [0.25, 0.75])
    default = combine(experts, guarantees, RECORDS)
    assert (default == combine(experts, guarantees, RECORDS, np.array([0.25, 0.75]))).all()
    rows = np.tile([0.5, 0.5], (len(RECORDS), 1))
    assert (combine(experts, guarantees, RECORDS, rows)[:, 1] < default[:, 1]).all()


def test_an_expert_that_knows_only_its_prior_adds_nothing() -> None:
    silent = tensors(0, (20, 80), scale=0.0)
    silent["bias"] = np.log(np.array([0.2, 0.8], np.float32))
    found = combine([Expert.from_tensors(HEART, silent)], [guarantee()], RECORDS, np.array([0.6, 0.4]))
    log_odds = 0.8 * np.log(0.4 / 0.6) + 0.2 * np.log(0.8 / 0.2)
    np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-log_odds)), atol=1e-6)


def test_more_noise_is_less_voice() -> None:
    experts = [Expert.from_tensors(HEART, tensors(seed)) for seed in range(2)]
    quiet, loud = voices(experts, [guarantee(60.0), guarantee(14.0)])
    assert quiet < loud / 5


def test_wrong_calls_are_refused() -> None:
    expert = Expert.from_tensors(HEART, tensors())
    with pytest.raises(InputError):
        combine([], [], RECORDS)
    with pytest.raises(InputError):
        combine([expert], [], RECORDS)
    for prior in ([0.5, 0.6], [0.0, 1.0], [1.0], [np.nan, 0.5]):
        with pytest.raises(InputError):
            combine([expert], [guarantee()], RECORDS, np.array(prior))
