"""The demo of all schemas: who joins it on what terms, and its table."""

from pathlib import Path

import pytest

from simulations import all_demo
from simulations.all_demo import SCHEMAS, AllDemoSettings, summary_rows
from simulations.datasets import LabelledRecord


def test_terms_come_from_public_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # 8,192 and 8,193 to train on lie on two sides of a public bound; delta follows the bound alone.
    for records, bound in ((10923, 8192), (10924, 16384)):
        table = tuple(LabelledRecord(features={"sex": "male"}, label=0) for _ in range(records))
        monkeypatch.setattr(all_demo, "load_table", lambda _, table=table: table)
        domain = all_demo._domain("titanic", AllDemoSettings(out=tmp_path))
        assert domain.terms.record_bound == bound
        assert domain.terms.delta == pytest.approx(bound**-1.1)
        assert domain.terms.epsilon == 1.0


def test_small_silos_keep_the_least_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tuple(LabelledRecord(features={"sex": "male"}, label=0) for _ in range(40))
    monkeypatch.setattr(all_demo, "load_table", lambda _: table)
    terms = all_demo._domain("titanic", AllDemoSettings(out=tmp_path)).terms
    assert (terms.record_bound, terms.delta) == (1000, pytest.approx(1e-4))


def test_a_row_a_schema() -> None:
    measured = {
        "reader": {"exact_match": 0.987},
        "answer_accuracy": 0.8,
        "expert_accuracy_true_features": 0.82,
        "base_llm_accuracy": None,
        "calibration_error": 0.0123,
        "routing": {"correct_rate": 1.0},
    }
    rows = summary_rows({"schemas": dict.fromkeys(SCHEMAS, measured)})
    assert [row[0] for row in rows] == list(SCHEMAS)
    assert rows[0][1:] == ["98.7 %", "80.0 %", "82.0 %", "-", "0.012", "100.0 %"]
