"""Committed figures: each is compared by its path, and what is missing is no good figure."""

import pytest

from simulations.benchmarks.connectors import TARGETS
from simulations.benchmarks.expectations import committed, compared_figures

REPORT = {"speed": {"ratio": 1.04, "by": {"heart": 1.1}}, "nothing": None}


@pytest.mark.parametrize(
    ("path", "value", "tolerance", "good"),
    [
        ("speed.ratio", 1.0, 0.05, True),
        ("speed.ratio", 1.0, 0.03, False),
        ("speed.by.heart", 1.1, 0.0, True),
        ("speed.by.bank", 1.1, 9.0, False),
        ("nothing", 0.0, 9.0, False),
    ],
)
def test_a_figure_is_good_within_its_tolerance(path: str, value: float, tolerance: float, good: bool) -> None:  # noqa: FBT001 - a parameter
    (figure,) = compared_figures(REPORT, {path: {"value": value, "tolerance": tolerance}}).values()
    assert figure["good"] is good
    assert figure["expected"] == value


def test_the_committed_figures_of_connectors_name_what_is_promised() -> None:
    figures = committed("connectors")["figures"]
    assert {name for name in TARGETS if not name.startswith("calibration")} <= set(figures)
