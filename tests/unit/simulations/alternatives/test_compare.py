"""The comparison by real alternatives on a consortium that never was, and the command."""

import json

import numpy as np
import pytest

from llamdex_fl import console
from llamdex_fl.errors import InputError
from llamdex_fl.schema import load_library_schema
from simulations import cli as _sim  # noqa: F401 - registers the commands
from simulations.alternatives import Cohort, alternatives, compare, with_silo
from simulations.cli.main import app
from simulations.datasets import split, synthetic_silos


def _cohort(_name: str, seed: int) -> Cohort:
    schema = load_library_schema("heart")
    silos = synthetic_silos(schema, 5)
    return Cohort(schema=schema, splits={silo: split(records[:60], seed) for silo, records in silos.items()})


def test_real_alternatives_on_the_same_records() -> None:
    told: list[tuple[int, int]] = []
    methods = alternatives(["alone", "assembled", "pooled_dp", "pooled"])
    found = compare(
        "made up", [0, 1], methods, epsilon=4.0, cohort_of=_cohort, on_step=lambda done, of: told.append((done, of))
    )
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert told[-1] == (8, 8)
    assert (document["seeds"], len(document["silos"]), document["best_synthesis"]) == ([0, 1], 4, None)
    assert document["delta"] <= 1e-4
    own = document["methods"]
    assert {"alone: site-1", "alone: each asks its own", "assembled", "pooled_dp", "pooled_dp_silo", "pooled"} <= set(
        own
    )
    assert own["assembled"]["ours_less_this"] is None
    assert own["pooled"]["guarantee"] is None
    for name in ("assembled", "pooled_dp", "alone: site-2"):
        spent = own[name]["guarantee"]
        assert 0.0 < spent["epsilon"] <= 4.0
        assert (spent["adjacency"], spent["unit"]) == ("add_or_remove_one", "record")
    assert own["pooled_dp"]["guarantee"]["table"] == "the pooled"
    assert own["alone: site-1"]["bytes_sent"] == 0 < own["assembled"]["bytes_sent"]
    assert own["assembled"]["asked"] == [60, 60]
    gap = own["assembled"]["accuracy"]["mean"] - own["pooled"]["accuracy"]["mean"]
    assert own["pooled"]["ours_less_this"]["mean"] == pytest.approx(gap)


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(InputError):
        compare("heart", [], alternatives(["assembled"]))


def test_a_record_may_tell_its_silo(small_cohort: Cohort) -> None:
    known = with_silo(small_cohort)
    assert known.schema.features[:-1] == small_cohort.schema.features
    assert known.schema.features[-1].categories == tuple(small_cohort.splits)
    asked = [record.features[known.schema.features[-1].name] for record in known.held_out]
    assert asked == [tuple(small_cohort.splits)[place] for place in small_cohort.silo_n]
    np.testing.assert_array_equal(known.labels_n, small_cohort.labels_n)


@pytest.mark.parametrize("arguments", [["--methods", "magic"], ["--datasets", "iris"], ["iris"]])
def test_unknown_names_are_the_callers_fault(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        console.run(app, ["compare", *arguments])
    assert ended.value.code == 2


def test_the_command_prints_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        console.run(
            app, ["compare", "--datasets", "heart", "--methods", "assembled", "dp_fedavg", "--seeds", "1", "--json"]
        )
    assert ended.value.code == 0
    (heart,) = json.loads(capsys.readouterr().out)["data_sets"]
    assert set(heart["methods"]) == {"assembled", "dp_fedavg", "dp_fedavg_site"}
    assert heart["methods"]["assembled"]["accuracy"]["mean"] > 0.7
    assert heart["methods"]["dp_fedavg"]["guarantee"]["epsilon"] <= 1.0
