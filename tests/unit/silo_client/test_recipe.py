"""Recipes: fixed by public numbers, and scaled so that noise stays as loud as it is meant to be."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llamdex_fl.errors import InputError
from llamdex_fl.experts import (
    THERMOMETER_CROSSES,
    THERMOMETER_LARGE,
    THERMOMETER_LINEAR,
    Expert,
    code_length,
    tensor_shapes,
)
from llamdex_fl.privacy import Budget, Ledger, SampledGaussian, check_guarantee
from llamdex_fl.release import Offer, Release
from llamdex_fl.schema import Value, load_library_schema
from silo_client.data import SiloData
from silo_client.policy import DEFAULT_PURPOSE, Authorisation
from silo_client.recipe import Recipe, recipe_for
from silo_client.training import train
from simulations.seeded_noise import SeededNoise

NURSERY = load_library_schema("nursery")
NOISE = SampledGaussian(sampling_rate=0.25, noise_multiplier=10.0, steps=150, max_grad_norm=2.0)


def test_the_first_architecture_keeps_its_recipe() -> None:
    assert recipe_for(THERMOMETER_LINEAR, NURSERY, 5000) == Recipe()
    pace = Recipe().pace(200.0, NOISE)
    assert (pace.learning_rate, pace.penalty, pace.momentum) == (0.3, 0.1, 0.0)


def test_an_unknown_architecture_has_none() -> None:
    with pytest.raises(InputError):
        recipe_for("mlp/v1", NURSERY, 100)


@pytest.mark.parametrize("architecture", [THERMOMETER_LARGE, THERMOMETER_CROSSES])
def test_the_clip_norm_follows_the_codes(architecture: str) -> None:
    recipe = recipe_for(architecture, NURSERY, 10_000)
    share = {THERMOMETER_LARGE: 0.7, THERMOMETER_CROSSES: 0.35}[architecture]
    assert recipe.max_grad_norm == pytest.approx(share * math.hypot(code_length(architecture, NURSERY), 0.5))


def test_sampling_and_counts_follow_the_public_bound() -> None:
    found = {bound: recipe_for(THERMOMETER_LARGE, NURSERY, bound) for bound in (100, 8192, 10**9)}
    assert [recipe.sampling_rate for recipe in found.values()] == [0.5, 0.25, 0.05]
    assert [recipe.counts_share for recipe in found.values()] == [0.1, 0.02, 0.02]
    assert {recipe.steps for recipe in found.values()} == {150}


def test_noise_is_as_loud_as_it_is_meant_to_be() -> None:
    # Plain SGD without signal: each step adds rate * sigma * clip / (q n) of noise to each weight.
    recipe = Recipe(loudness=0.02, stiffness=0.5, momentum=0.5, code_length=3.0)
    pace = recipe.pace(1000.0, NOISE)
    travel = pace.learning_rate * 150 / (1.0 - 0.5)
    # That sum of 150 independent steps, as far as the whole travel goes, on a record of length 3.
    assert travel * 10.0 * 2.0 / (0.25 * 1000.0) / math.sqrt(150) * 3.0 == pytest.approx(0.02)
    assert pace.penalty == pytest.approx(0.5 / travel)
    assert replace(recipe, growth=0.5).pace(4000.0, NOISE).learning_rate == pytest.approx(8 * pace.learning_rate)


def test_steps_stay_stable_however_many_records_there_are() -> None:
    recipe = recipe_for(THERMOMETER_CROSSES, NURSERY, 10**9)
    pace = recipe.pace(1e9, NOISE)
    # Heavy ball on a quadratic of curvature h is stable below 2 (1 + momentum) / h.
    assert pace.learning_rate * recipe.code_length**2 / 8.0 <= 2.0 * (1.0 + pace.momentum) + 1e-9


def applications(count: int) -> SiloData:
    random = np.random.default_rng(count)
    records: list[dict[str, Value]] = []
    labels = []
    for _ in range(count):
        record: dict[str, Value] = {f.name: str(random.choice(f.categories)) for f in NURSERY.features}
        records.append(record)
        # Only the pair tells: neither feature alone says anything.
        labels.append(int((record["finance"] == "convenient") == (record["children"] in {"1", "2"})))
    return SiloData(records=tuple(records), labels=tuple(labels), digest="cd" * 32)


def release(architecture: str, data: SiloData, folder: Path, seed: int | None = None) -> Release:
    offer = Offer(
        provider="provider",
        purpose=DEFAULT_PURPOSE,
        schema_digest=NURSERY.digest(),
        architecture=architecture,
        base_model_digest="0" * 64,
        epsilon=1.0,
        delta=1e-4,
        challenge="1" * 64,
    )
    allowed = Authorisation(offer=offer, data_set="a", budget=Budget(epsilon=3.0, delta=1e-4), record_bound=4096)
    noise = None if seed is None else SeededNoise(seed)
    return train(NURSERY, data, allowed, Ledger(folder / f"{architecture[12:15]}{len(data.labels)}"), noise=noise)


@pytest.mark.parametrize("architecture", [THERMOMETER_LARGE, THERMOMETER_CROSSES])
def test_a_release_is_what_it_says(architecture: str, tmp_path: Path) -> None:
    made = release(architecture, applications(100), tmp_path)
    assert made.architecture == architecture
    assert {name: array.shape for name, array in made.tensors.items()} == tensor_shapes(architecture, NURSERY)
    assert 0.998 <= check_guarantee(made.guarantee) <= 1.0


def test_the_mechanisms_do_not_depend_on_the_records(tmp_path: Path) -> None:
    few, many = (release(THERMOMETER_CROSSES, applications(count), tmp_path) for count in (30, 300))
    assert few.guarantee == many.guarantee


def test_pairs_are_learned(tmp_path: Path) -> None:
    data = applications(2000)
    rates = {}
    for architecture in (THERMOMETER_LARGE, THERMOMETER_CROSSES):
        tensors = release(architecture, data, tmp_path, seed=3).tensors
        asked = applications(500)
        said = Expert.from_tensors(NURSERY, tensors, architecture).predict_proba(asked.records).argmax(axis=1)
        rates[architecture] = float((said == np.array(asked.labels)).mean())
    assert rates[THERMOMETER_CROSSES] > 0.85
    assert rates[THERMOMETER_LARGE] < 0.6
