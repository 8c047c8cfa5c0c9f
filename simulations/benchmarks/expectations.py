"""Figures of a report held to committed ones, each with its tolerance."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

__all__ = ["committed", "compared_figures"]


def committed(name: str) -> dict[str, Any]:
    """What ``expected/NAME.json`` holds."""
    text = (files("simulations.benchmarks") / "expected" / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def compared_figures(report: Mapping[str, Any], wanted: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """By path (``ttft.ratio``): ``expected`` value, its ``tolerance``, what was ``got``, and whether that is ``good``.

    A figure that is not in the report is no good one.

    Args:
        report: a JSON document.
        wanted: by path ``value`` and ``tolerance``.
    """
    figures = {}
    for path, own in wanted.items():
        got = _at(report, path)
        good = got is not None and abs(got - own["value"]) <= own["tolerance"]
        figures[path] = {"expected": own["value"], "tolerance": own["tolerance"], "got": got, "good": good}
    return figures


def _at(report: Any, path: str) -> float | None:  # noqa: ANN401 - a JSON document
    for key in path.split("."):
        if not isinstance(report, Mapping) or key not in report:
            return None
        report = report[key]
    return None if report is None else float(report)
