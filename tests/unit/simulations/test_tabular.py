"""Single tables: figures by the real path, the command, and tables that never were."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from llamdex_fl import console
from llamdex_fl.experts import THERMOMETER_LARGE
from llamdex_fl.privacy import check_guarantee
from llamdex_fl.schema import load_library_schema
from silo_client.data import read_records
from simulations import cli as _sim  # noqa: F401 - registers the commands
from simulations.cli.main import app
from simulations.datasets import write_silo_csv
from simulations.datasets.synthetic_tables import synthetic_rules, synthetic_table
from simulations.tabular import _boosting, measure_table


def test_the_hearts_pooled() -> None:
    steps: list[tuple[int, int]] = []
    result = measure_table("heart", 0, on_step=lambda done, of: steps.append((done, of)))
    assert steps[-1] == (150, 150)
    assert (result.records, result.architecture) == (920, THERMOMETER_LARGE)
    assert result.guarantee.epsilon <= 1.0
    assert result.guarantee.delta == pytest.approx(736**-1.1)
    assert check_guarantee(result.guarantee) <= 1.0
    assert result.expert.accuracy > result.majority + 0.1
    assert result.expert.auc > 0.8
    assert result.regression.auc > 0.8


def test_boosting_is_left_out_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    assert _boosting(load_library_schema("heart"), [], []) is None


def test_the_command_prints_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        console.run(
            app, ["tabular", "--datasets", "heart", "--seeds", "1", "--epsilon", "2", "--delta", "1e-5", "--json"]
        )
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    (heart,) = document["data_sets"]
    assert (document["seeds"], document["epsilon"], heart["data_set"], heart["records"]) == (1, 2.0, "heart", 920)
    assert heart["guarantee"]["epsilon"] <= 2.0
    assert heart["guarantee"]["delta"] == 1e-5
    assert (heart["guarantee"]["adjacency"], heart["guarantee"]["unit"]) == ("add_or_remove_one", "record")
    assert heart["expert"]["accuracy"]["mean"] == heart["seeds"][0]["expert"]["accuracy"]
    assert heart["expert"]["auc"]["spread"] == 0.0


def test_an_unknown_data_set_is_the_callers_fault() -> None:
    with pytest.raises(SystemExit) as ended:
        console.run(app, ["tabular", "--datasets", "iris"])
    assert ended.value.code == 2


@pytest.mark.parametrize("seed", range(4))
def test_tables_that_never_were_follow_their_schema_and_seed(seed: int, tmp_path: Path) -> None:
    for draw in (synthetic_table, synthetic_rules):
        table = draw(seed, 60)
        assert table == draw(seed, 60)
        path = tmp_path / f"{draw.__name__}.csv"
        write_silo_csv(path, table.schema, table.records)
        assert read_records(path, table.schema).labels == tuple(record.label for record in table.records)
        assert len(set(read_records(path, table.schema).labels)) > 1


def test_rules_leave_no_doubt() -> None:
    table = synthetic_rules(1, 4000)
    label_of: dict[tuple[object, ...], int] = {}
    for record in table.records:
        assert label_of.setdefault(tuple(record.features.values()), record.label) == record.label
    assert np.bincount(list(label_of.values())).min() > 0
