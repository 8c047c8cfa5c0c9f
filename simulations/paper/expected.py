"""Committed results of cells, with tolerances: whether what is found here is what was found before.

The same seed deals the same records and draws the same noise, so a figure moves only by what another processor or
library rounds differently: a few records, an LLM's close calls, and most where an LLM is tuned.
"""

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

__all__ = ["against_expected", "expected_document", "load_expected"]

_FILE = ("benchmarks", "expected", "paper.json")
#: By how a method's name begins; accuracies, fractions.
_TOLERANCES = (("llm_on_synthetic", 0.15), ("plain_llm", 0.05), ("expert_api", 0.05), ("assembled_llm", 0.05))
_SYNTHESIS_TOLERANCE, _TOLERANCE = 0.03, 0.01

_Document = dict[str, Any]


def load_expected() -> _Document:
    """What is committed."""
    document: _Document = json.loads(files("simulations").joinpath(*_FILE).read_text(encoding="utf-8"))
    return document


def expected_document(report: Mapping[str, Any]) -> _Document:
    """What to commit of a report: every cell's accuracy by seed."""
    made = {_maker(method) for _, _, method, _ in _rows(report)}
    return {
        "what": "accuracies on held-out records, fractions, of cells of llamdex-sim paper; by seed",
        "unit": report["unit"],
        "adjacency": report["adjacency"],
        "versions": report["versions"],
        "settings": {name: report["settings"][name] for name in sorted(made) if report["settings"].get(name)},
        "cells": [
            {
                "data_set": data_set,
                "epsilon": epsilon,
                "delta": report["data_sets"][data_set]["delta"],
                "method": method,
                "accuracy_by_seed": point["accuracy_by_seed"],
                "tolerance": _tolerance(method),
            }
            for data_set, epsilon, method, point in _rows(report)
        ],
    }


def against_expected(report: Mapping[str, Any], expected: Mapping[str, Any]) -> _Document:
    """Compare a report with what is committed.

    Returns:
        ``checked``: how many cells, seeds counted; ``outside``: those beyond their tolerance; ``not_run``: how many of
        the expected ones are not kept here, or were made with other settings.
    """
    checked, not_run, outside = 0, 0, []
    for cell in expected["cells"]:
        methods = report["over_epsilon"].get(cell["data_set"], {}).get(cell["epsilon"], {})
        found = methods.get(cell["method"], {}).get("accuracy_by_seed", {})
        if report["settings"].get(_maker(cell["method"])) != expected["settings"].get(_maker(cell["method"]), {}):
            found = {}
        for seed, accuracy in cell["accuracy_by_seed"].items():
            if seed not in found:
                not_run += 1
                continue
            checked += 1
            if abs(found[seed] - accuracy) > cell["tolerance"] + 1e-9:
                about = {key: cell[key] for key in ("data_set", "epsilon", "method", "tolerance")}
                outside.append({**about, "seed": int(seed), "expected": accuracy, "here": found[seed]})
    return {"checked": checked, "not_run": not_run, "outside": outside}


def _rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    for data_set, by_epsilon in report["over_epsilon"].items():
        for epsilon, methods in by_epsilon.items():
            for method, point in methods.items():
                yield data_set, epsilon, method, point


def _maker(method: str) -> str:
    """The name of the alternative that has this outcome."""
    name = method.partition("+")[0]
    return {"pooled_dp_silo": "pooled_dp", "pooled_boosting": "pooled", "dp_fedavg_site": "dp_fedavg"}.get(name, name)


def _tolerance(method: str) -> float:
    for start, tolerance in _TOLERANCES:
        if method.startswith(start):
            return tolerance
    return _SYNTHESIS_TOLERANCE if method.startswith("synthesis_") else _TOLERANCE
