"""Synthesis: what is said where it cannot run, and, where its environment is, a real table of each method."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from llamdex_fl.errors import ConfigError, ProcessError
from llamdex_fl.privacy import Budget
from simulations.alternatives import Cohort, SynthesisSettings, dp_gan, synthesis
from simulations.alternatives.synthesis import has_environment, needs_environment, synthesise

_BUDGET = Budget(epsilon=8.0, delta=1e-4)
_QUICK = SynthesisSettings(mst_iterations=20, aim_iterations=5, model_megabytes=1.0)


def test_without_the_environment_the_error_says_what_to_do(
    small_cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMDEX_SYNTHESIS_PYTHON", "/nowhere/python")
    assert not has_environment()
    with pytest.raises(ConfigError, match="make synthesis-env"):
        synthesis("mst")(small_cohort, _BUDGET, 1)


def test_an_interpreter_without_dpmm_fails_without_a_word_of_the_records(
    small_cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMDEX_SYNTHESIS_PYTHON", sys.executable)
    with pytest.raises(ProcessError, match="ModuleNotFoundError"):
        synthesis("mst", single_owner=True)(small_cohort, _BUDGET, 1)


def test_a_gan_is_certified_and_repeats_and_needs_no_environment(
    small_cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMDEX_SYNTHESIS_PYTHON", "/nowhere/python")
    monkeypatch.setattr(dp_gan, "_RECIPE", replace(dp_gan._RECIPE, steps=8))
    records = next(iter(small_cohort.splits.values())).train
    one, again, other = (
        synthesise(small_cohort.schema, records, "dp_ctgan", _BUDGET, seed, _QUICK) for seed in (1, 1, 2)
    )
    assert one.records == again.records != other.records
    assert 0.9 * 8.0 < one.spent.epsilon <= 8.0
    assert one.spent.delta == 1e-4
    assert len(one.records) != len(other.records), "how many there are is a noisy count"
    for record in one.records:
        assert all(small_cohort.schema.feature(name).contains(value) for name, value in record.features.items())


def test_only_dpmms_methods_need_the_environment() -> None:
    assert all(map(needs_environment, ["synthesis_mst", "synthesis_aim_single_owner", "llm_on_synthetic_aim"]))
    assert not any(map(needs_environment, ["synthesis_dp_ctgan", "llm_on_synthetic_dp_ctgan", "assembled"]))


@pytest.mark.slow
@pytest.mark.skipif(not has_environment(), reason="make synthesis-env")
@pytest.mark.parametrize("method", ["mst", "aim"])
def test_a_real_table_repeats_and_its_size_is_noisy(small_cohort: Cohort, method: str) -> None:
    records = next(iter(small_cohort.splits.values())).train
    one, again = (synthesise(small_cohort.schema, records, method, _BUDGET, 1, _QUICK) for _ in range(2))
    assert one.records == again.records
    assert (one.spent.epsilon, one.spent.delta) == (8.0, 1e-4)
    assert 1 <= len(one.records) < 200
    for record in one.records:
        assert all(small_cohort.schema.feature(name).contains(value) for name, value in record.features.items())


@pytest.mark.slow
@pytest.mark.skipif(not has_environment(), reason="make synthesis-env")
def test_silos_tables_are_pooled_and_learned_from(small_cohort: Cohort) -> None:
    outcomes = synthesis("mst", settings=_QUICK)(small_cohort, _BUDGET, 1)
    assert [own.method for own in outcomes] == ["synthesis_mst+regression", "synthesis_mst+boosting"]
    for own in outcomes:
        assert own.probabilities_mC.shape == (40, 2)
        np.testing.assert_allclose(own.probabilities_mC.sum(axis=1), 1.0)
        assert own.spent is not None
        assert own.spent.table == "each silo's"
        assert len(own.told["records"]) == 4
