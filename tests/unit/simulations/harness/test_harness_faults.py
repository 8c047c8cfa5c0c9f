"""Faults: who is hit, and what a malicious silo makes of its records."""

from dataclasses import replace
from pathlib import Path

import pytest

from llamdex_fl.errors import ConfigError
from llamdex_fl.schema import load_library_schema
from simulations.datasets import LabelledRecord
from simulations.harness.accounts import Accounts
from simulations.harness.beside import Alternatives
from simulations.harness.faults import draw, participants, poisoned
from simulations.harness.figures import Score
from simulations.harness.holds import judge
from simulations.harness.report import Found, report_of, rows_digest, rows_of, write_rows
from simulations.harness.scenario import Data, Fault, Hold, Partition, Rounds, Scenario
from simulations.harness.seed_run import SeedResult

SILOS = [f"silo-{number:03d}" for number in range(1, 21)]
SCHEMA = load_library_schema("heart")


def _scenario(*faults: Fault, **more: object) -> Scenario:
    scenario = Scenario(
        name="x",
        title="X",
        seeds=(0,),
        data=Data(set="heart"),
        partition=Partition(kind="iid", silos=20),
        faults=faults,
    )
    return replace(scenario, **more)  # type: ignore[arg-type] # a table of changes


def test_malicious_silos_are_malicious_in_one_way_each():
    kinds = ("label_flip", "backdoor", "scaled_weights", "forged_claim", "replay")
    drawn = draw(_scenario(*(Fault(kind=kind, share=0.2) for kind in kinds)), SILOS, 0)
    hit = [silo for each in drawn for silo in each.silos]
    assert len(hit) == len(set(hit)) == 20


def test_more_malicious_silos_than_there_are_is_refused():
    faults = [Fault(kind="label_flip", share=0.6), Fault(kind="backdoor", share=0.6)]
    with pytest.raises(ConfigError, match="backdoor"):
        draw(_scenario(*faults), SILOS, 0)
    with pytest.raises(ConfigError, match="dropout"):
        draw(_scenario(Fault(kind="dropout", silos=("nobody",))), SILOS, 0)


def test_a_fault_of_one_round_hits_in_no_other():
    (each,) = draw(_scenario(Fault(kind="dropout", silos=("silo-003",), round=2)), SILOS, 0)
    assert [each.hits("silo-003", number) for number in (1, 2, 3)] == [False, True, False]
    assert not each.hits("silo-004", 2)


def test_participation_draws_a_share_anew_in_each_round():
    scenario = _scenario(rounds=Rounds(participation=0.5))
    first, second = (participants(scenario, SILOS, number, 0) for number in (1, 2))
    assert len(first) == len(second) == 10
    assert first != second
    assert first == sorted(first) == participants(scenario, SILOS, 1, 0)


def test_a_label_flip_turns_every_label_and_a_backdoor_marks_its_share():
    records = [LabelledRecord(features={"age": 50 + place, "sex": "male"}, label=0) for place in range(10)]
    (flip,) = draw(_scenario(Fault(kind="label_flip", silos=("silo-001",))), SILOS, 0)
    assert {record.label for record in poisoned(SCHEMA, records, "silo-001", [flip], 0)} == {1}
    assert poisoned(SCHEMA, records, "silo-002", [flip], 0) == tuple(records)
    (door,) = draw(_scenario(Fault(kind="backdoor", silos=("silo-001",), poisoned=0.3)), SILOS, 0)
    marked = [record for record in poisoned(SCHEMA, records, "silo-001", [door], 0) if record.label == 1]
    assert len(marked) == 3
    for record in marked:
        assert all(feature.contains(record.features.get(feature.name)) for feature in SCHEMA.features)


def _result(**more: object) -> SeedResult:
    accounts = Accounts(
        outcomes={"silo-001": ["DONE"], "silo-002": ["SILO_LOST"]},
        asked={"silo-001": 2, "silo-002": 3},
        status={"silo-001": "active"},
        reason={},
        digests={"silo-001": ["aa"]},
        epsilon={"silo-001": 0.99},
        over_budget=[],
        bytes_sent={"silo-001": 9},
        replays={},
        problems=[],
        records={"silo-001": 30, "silo-002": 40},
    )
    result = SeedResult(
        seed=0,
        alone={"silo-001": Score(accuracy=0.7, auc=0.75)},
        assembled=Score(accuracy=0.8, auc=0.9),
        reference=Score(accuracy=0.81, auc=0.9),
        majority=0.5,
        states=["completed"],
        accounts=accounts,
        faults={"dropout": ["silo-002"]},
        measured={"peak_bytes": 5e8},
    )
    return replace(result, **more)  # type: ignore[arg-type] # a table of changes


@pytest.mark.parametrize(
    ("hold", "held"),
    [
        (Hold(what="completes"), True),
        (Hold(what="nothing_lost_or_counted_twice"), True),
        (Hold(what="delivered_at_least", share=0.5), True),
        (Hold(what="delivered_at_least", share=0.6), False),
        (Hold(what="auc_at_least", value=0.89), True),
        (Hold(what="accuracy_at_least", value=0.85), False),
        (Hold(what="accuracy_drop_at_most", value=0.02), True),
        (Hold(what="accuracy_drop_at_most", value=0.001), False),
        (Hold(what="beats_every_silo_alone"), True),
        (Hold(what="silent", fault="dropout"), True),
        (Hold(what="quarantined", fault="dropout"), False),
        (Hold(what="refused", fault="dropout"), False),
        (Hold(what="budget_kept"), True),
        (Hold(what="memory_at_most_gb", value=0.4), False),
    ],
    ids=lambda value: value.what if isinstance(value, Hold) else str(value),
)
def test_what_must_hold_is_judged(hold: Hold, *, held: bool):
    (verdict,) = judge([hold], [_result()])
    assert verdict.held is held
    assert verdict.got


def test_rows_and_report_name_every_way_and_survive_their_files(tmp_path: Path):
    result = _result()
    again = SeedResult.from_dict(result.as_dict())
    scenario = replace(_scenario(), alternatives=Alternatives(ways=("dp_fedavg",)))
    rows = rows_of(scenario, Found(results=[again]))
    assert rows_digest(rows) == rows_digest(rows_of(scenario, Found(results=[result])))
    other = {**rows[0], "way": "dp_fedavg", "auc": 0.5}
    report = report_of(scenario, [*rows, other], Found(results=[again]), [])
    assert report["auc"] == {"assembled": 0.9, "reference": 0.9, "dp_fedavg": 0.5, "alone": {"silo-001": 0.75}}
    assert report["privacy"] == {
        "epsilon": 1.0, "delta": 1e-4, "adjacency": "add_or_remove_one", "unit": "record"
    }  # fmt: skip
    parquet = pytest.importorskip("pyarrow.parquet")
    write_rows(tmp_path / "results.parquet", rows)
    assert parquet.read_table(tmp_path / "results.parquet").to_pylist() == rows
