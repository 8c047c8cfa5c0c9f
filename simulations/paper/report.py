"""The report of the experiment: what every kept cell says, beside the published claims.

``report.json``: ``at_epsilon_1 {data set: {ours, best_synthesis, best_synthesis_name, llm_on_synthetic, plain_llm,
expert_api}}``, accuracies as fractions, means over the seeds that were run; null where no cell was. The best of several
routes is the one with the best mean on the held-out records, which favours the rival.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.envelope import write_atomically
from llamdex_fl.privacy import ADJACENCY, UNIT
from simulations.alternatives.paired import interval, paired_difference
from simulations.harness.report import versions, write_rows
from simulations.paper.cells import DATA_SETS, Plan, Store
from simulations.paper.claims import CLAIMS, DIFFERENCES, PAPER, PUBLISHED_RECIPE
from simulations.paper.expected import against_expected, load_expected

__all__ = ["report_of", "write_report"]

OURS, OURS_LLM = "assembled", "assembled_llm"
_ONE_OWNER = "_single_owner"
_Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Series:
    """One method's outcomes at one epsilon: by seed."""

    by_seed: Mapping[int, Mapping[str, Any]]

    @property
    def accuracy(self) -> float:
        return fmean(own["accuracy"] for own in self.by_seed.values())

    def right(self, seed: int) -> dict[int, bool]:
        """By the place of the held-out record."""
        own = self.by_seed[seed]
        rows = own["rows"] if own["rows"] is not None else range(len(own["right"]))
        return {row: bit == "1" for row, bit in zip(rows, own["right"], strict=True)}

    def point(self) -> dict[str, Any]:
        """Means with intervals."""
        accuracy = interval([own["accuracy"] for own in self.by_seed.values()])
        areas = [own["auc"] for own in self.by_seed.values() if own["auc"] is not None]
        area = interval(areas) if areas else None
        first = next(iter(self.by_seed.values()))
        return {
            "accuracy": accuracy.mean,
            "accuracy_interval": None if accuracy.low is None else [accuracy.low, accuracy.high],
            "auc": area.mean if area else None,
            "auc_interval": None if area is None or area.low is None else [area.low, area.high],
            "accuracy_by_seed": {str(seed): own["accuracy"] for seed, own in self.by_seed.items()},
            "seeds": sorted(self.by_seed),
            "asked": sum(len(own["right"]) for own in self.by_seed.values()),
            "seconds": fmean(own["seconds"] for own in self.by_seed.values()),
            "bytes_sent": fmean(float(own["bytes_sent"]) for own in self.by_seed.values()),
            "guarantee": first["guarantee"],
        }


#: data set -> epsilon (None: has none) -> method -> its outcomes.
_Found = dict[str, dict[float | None, dict[str, _Series]]]


def report_of(store: Store, plan: Plan, failures: Sequence[Mapping[str, Any]] = ()) -> _Report:
    """What all kept cells say; those of other plans too.

    Args:
        store: of the cells.
        plan: what was wanted.
        failures: cells that failed in this run.
    """
    documents = list(store)
    found = _found(documents)
    names = list(dict.fromkeys([*DATA_SETS, *plan.data_sets, *found]))
    at_one = {name: found.get(name, {}).get(1.0, {}) | found.get(name, {}).get(None, {}) for name in names}
    wanted = plan.cells()
    missing = [str(cell) for cell in wanted if store.get(cell) is None]
    gaps = {name: _gaps(series) for name, series in at_one.items()}
    report = {
        "scenario": "paper",
        "paper": PAPER,
        "adjacency": ADJACENCY,
        "unit": UNIT,
        "at_epsilon_1": {name: _at_one(series) for name, series in at_one.items()},
        "ours_llm_at_epsilon_1": {name: _accuracy(series, OURS_LLM) for name, series in at_one.items()},
        "at_epsilon_1_interval": {name: _intervals(series) for name, series in at_one.items()},
        "single_owner": {name: _single_owner(series) for name, series in at_one.items()},
        "ours_less": gaps,
        "ours_llm_less": {name: _gaps(series, OURS_LLM) for name, series in at_one.items()},
        "over_epsilon": {
            name: {
                "none" if epsilon is None else f"{epsilon:g}": {own: series.point() for own, series in methods.items()}
                for epsilon, methods in sorted(by_epsilon.items(), key=lambda pair: pair[0] or 0.0)
            }
            for name, by_epsilon in found.items()
        },
        "data_sets": {name: _about([own for own in documents if own["cell"]["data_set"] == name]) for name in found},
        "claims": _claims(gaps),
        "published_recipe_at_epsilon_1": dict(PUBLISHED_RECIPE),
        "differs": [{"what": what, "theirs": theirs, "here": here} for what, theirs, here in DIFFERENCES],
        "cells": {
            "wanted": len(wanted),
            "run": len(wanted) - len(missing),
            "missing": missing,
            "stale": [{"cell": str(cell), "because": because} for cell in wanted if (because := store.changed(cell))],
            "kept": len(documents),
            "failed": [dict(failure) for failure in failures],
        },
        "settings": {name: dict(own) for name, own in store.settings.items()},
        "seconds": sum(document["wall_s"] for document in documents),
        "versions": versions(),
    }
    return {**report, "expected": against_expected(report, load_expected())}


def write_report(report: Mapping[str, Any], out: Path, *, rows: bool = False) -> None:
    """Write ``report.json``, and, with ``rows``, ``report.html`` and ``results.parquet`` too, each whole or not at all.

    Raises:
        ConfigError: ``rows``, and a package of the demo's extra is missing.
    """
    write_atomically(out / "report.json", (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    if not rows:
        return
    from simulations.paper.page import page  # noqa: PLC0415 - loads matplotlib

    write_atomically(out / "report.html", page(report).encode())
    flat = [
        {"data_set": name, "epsilon": None if epsilon == "none" else float(epsilon), "method": method}
        | {key: point[key] for key in ("accuracy", "auc", "asked", "seconds", "bytes_sent")}
        | {"seeds": len(point["seeds"])}
        for name, by_epsilon in report["over_epsilon"].items()
        for epsilon, methods in by_epsilon.items()
        for method, point in methods.items()
    ]
    if flat:
        write_rows(out / "results.parquet", flat)


def _found(documents: Iterable[Mapping[str, Any]]) -> _Found:
    gathered: dict[tuple[str, float | None, str], dict[int, Any]] = {}
    for document in documents:
        cell = document["cell"]
        for outcome in document["outcomes"]:
            place = (cell["data_set"], cell["epsilon"], outcome["method"])
            gathered.setdefault(place, {})[cell["seed"]] = outcome
    found: _Found = {}
    for (data_set, epsilon, method), by_seed in gathered.items():
        found.setdefault(data_set, {}).setdefault(epsilon, {})[method] = _Series(dict(sorted(by_seed.items())))
    return found


def _best(series: Mapping[str, _Series], names: Iterable[str]) -> str | None:
    return max(names, key=lambda name: series[name].accuracy, default=None)


def _rivals(series: Mapping[str, _Series]) -> dict[str, str | None]:
    """The name of the best route of each kind."""
    synthesis = [name for name in series if name.startswith("synthesis_")]
    return {
        "best_synthesis": _best(series, [name for name in synthesis if _ONE_OWNER not in name]),
        "llm_on_synthetic": _best(series, [name for name in series if name.startswith("llm_on_synthetic")]),
        "plain_llm": "plain_llm" if "plain_llm" in series else None,
        "expert_api": "expert_api" if "expert_api" in series else None,
    }


def _accuracy(series: Mapping[str, _Series], name: str) -> float | None:
    return series[name].accuracy if name in series else None


def _at_one(series: Mapping[str, _Series]) -> dict[str, Any]:
    names = _rivals(series)
    best = names["best_synthesis"]
    told: dict[str, Any] = {"ours": _accuracy(series, OURS)}
    for key, name in names.items():
        told[key] = None if name is None else series[name].accuracy
        if key == "best_synthesis":
            told["best_synthesis_name"] = best
    return told


def _intervals(series: Mapping[str, _Series]) -> dict[str, Any]:
    """As ``at_epsilon_1``: 95 % intervals over the seeds, and how many records were asked about."""
    names: dict[str, str | None] = {"ours": OURS if OURS in series else None, **_rivals(series)}
    return {
        key: None
        if name is None
        else {part: series[name].point()[part] for part in ("accuracy_interval", "seeds", "asked")} | {"name": name}
        for key, name in names.items()
    }


def _single_owner(series: Mapping[str, _Series]) -> dict[str, Any]:
    """One owner of all records: one expert, against one synthetic table."""
    best = _best(series, [name for name in series if name.startswith("synthesis_") and _ONE_OWNER in name])
    return {
        "ours": _accuracy(series, "pooled_dp"),
        "best_synthesis": None if best is None else series[best].accuracy,
        "best_synthesis_name": best,
    }


def _gaps(series: Mapping[str, _Series], ours: str = OURS) -> dict[str, Any]:
    """Ours less each rival, on the records and seeds that both have; None where one of them was not run."""
    return {
        key: None if name is None or ours not in series else _gap(series[ours], series[name])
        for key, name in _rivals(series).items()
    }


def _gap(ours: _Series, other: _Series) -> dict[str, Any] | None:
    pairs = []
    for seed in sorted(set(ours.by_seed) & set(other.by_seed)):
        mine, theirs = ours.right(seed), other.right(seed)
        rows = sorted(set(mine) & set(theirs))
        pairs.append((_array(mine, rows), _array(theirs, rows)))
    if not pairs:
        return None
    return {
        **asdict(paired_difference([mine for mine, _ in pairs], [theirs for _, theirs in pairs])),
        "seeds": len(pairs),
        "asked": sum(len(mine) for mine, _ in pairs),
    }


def _array(right: Mapping[int, bool], rows: Sequence[int]) -> NDArray[np.bool_]:
    return np.array([right[row] for row in rows], np.bool_)


def _about(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last = documents[-1]
    majorities = {document["cell"]["seed"]: document["majority"] for document in documents}
    return {
        "silos": last["silos"],
        "architecture": last["architecture"],
        "delta": last["delta"],
        "held_out": last["held_out"],
        "majority": fmean(majorities.values()),
    }


def _claims(gaps: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The published claims, each with what was found here; None where nothing was."""
    measured = {
        "most_over_llm_on_synthetic": _extreme(gaps, "llm_on_synthetic", most=True),
        "least_over_best_synthesis": _extreme(gaps, "best_synthesis", most=False),
    }
    return [
        {
            "claim": claim.said,
            "published": claim.published,
            "here": measured.get(claim.key),
            "elsewhere": claim.elsewhere or None,
        }
        for claim in CLAIMS
    ]


def _extreme(gaps: Mapping[str, Mapping[str, Any]], rival: str, *, most: bool) -> dict[str, Any] | None:
    """The data set where ours is furthest ahead of the rival, or where it is least so."""
    known = {name: own[rival] for name, own in gaps.items() if own[rival] is not None}
    if not known:
        return None
    name = (max if most else min)(known, key=lambda each: known[each]["mean"])
    return {
        "data_set": name,
        "of": len(known),
        "points": 100.0 * known[name]["mean"],
        "low": 100.0 * known[name]["low"],
        "high": 100.0 * known[name]["high"],
        "p": known[name]["p_bootstrap"],
        "seeds": known[name]["seeds"],
    }
