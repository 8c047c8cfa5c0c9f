"""Committed figures: what is written of a report, and what counts as another figure."""

from copy import deepcopy
from typing import Any

from simulations.paper import METHODS
from simulations.paper.expected import against_expected, expected_document, load_expected


def _report() -> dict[str, Any]:
    tabular, llm = {"0": 0.75, "1": 0.5}, {"0": 0.5}
    return {
        "unit": "record",
        "adjacency": "add_or_remove_one",
        "versions": {},
        "settings": {"assembled": {}, "synthesis_mst": {"iterations": 300}, "plain_llm": {"questions": 40}},
        "data_sets": {"wine": {"delta": 1e-4}},
        "over_epsilon": {
            "wine": {
                "1": {
                    "assembled": {"accuracy_by_seed": tabular},
                    "synthesis_mst+regression": {"accuracy_by_seed": tabular},
                },
                "none": {"plain_llm": {"accuracy_by_seed": llm}},
            }
        },
    }


def test_a_report_is_what_was_written_of_it():
    report = _report()
    expected = expected_document(report)
    assert expected["settings"] == {"synthesis_mst": {"iterations": 300}, "plain_llm": {"questions": 40}}
    assert against_expected(report, expected) == {"checked": 5, "not_run": 0, "outside": []}


def test_beyond_the_tolerance_is_told_and_other_settings_are_not_compared():
    expected, report = expected_document(_report()), deepcopy(_report())
    report["over_epsilon"]["wine"]["1"]["assembled"]["accuracy_by_seed"] = {"0": 0.70}
    report["over_epsilon"]["wine"]["none"]["plain_llm"]["accuracy_by_seed"] = {"0": 0.54}
    report["settings"]["synthesis_mst"] = {"iterations": 5}
    found = against_expected(report, expected)
    assert (found["checked"], found["not_run"]) == (2, 3)
    (other,) = found["outside"]
    assert (other["method"], other["seed"], other["expected"], other["here"]) == ("assembled", 0, 0.75, 0.70)


def test_what_is_committed_can_be_compared():
    expected = load_expected()
    for cell in expected["cells"]:
        assert any(cell["method"].startswith(name) for name in METHODS)
        assert 0.0 < cell["tolerance"] < 0.2
        assert all(0.0 <= accuracy <= 1.0 for accuracy in cell["accuracy_by_seed"].values())
