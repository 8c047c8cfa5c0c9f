"""What a run leaves: ``results.parquet`` and ``report.json`` for people and plots, ``run.json`` to make it again.

A row of ``results.parquet`` is one way to answer, in one seed: ``assembled``, ``reference`` (the same consortium
without faults), ``alone`` with the silo, or one of the scenario's alternatives. ``part`` tells the run's own rows from
those of the sweep, which have another epsilon, alpha or number of silos.

Rows are the same whenever a scenario is run with the same seeds; what differs from run to run (seconds, bytes, memory)
stands under ``measured`` and in ``run.json``.
"""

import hashlib
import importlib.util
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from llamdex_fl.errors import ConfigError
from llamdex_fl.privacy import ADJACENCY, UNIT
from simulations.harness.compared import costs, owners, paired, student, swept, versus
from simulations.harness.holds import Verdict
from simulations.harness.scenario import Scenario
from simulations.harness.seed_run import SeedResult
from simulations.harness.ways import SweptScore, Way

__all__ = ["ALONE", "Found", "report_of", "require_report", "rows_digest", "rows_of", "versions", "write_rows"]

ALONE = "alone"
_CONFIDENCE = 0.95
_OURS = ("assembled", "reference", ALONE)
#: Of the demo's extra.
_NEEDED = ("pyarrow", "matplotlib", "jinja2")
_PACKAGES = ("llamdex-fl", "flwr", "torch", "opacus", "numpy", "grpcio", "cryptography")

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """All that a run came to.

    Attributes:
        results: one a seed.
        ways: by seed, the scenario's alternatives.
        swept: of the scenario's sweep.
        scale: how time and memory grow with the number of silos: points and a fit (``simulations.harness.sizes``).
    """

    results: Sequence[SeedResult]
    ways: Mapping[int, Sequence[Way]] = field(default_factory=dict)
    swept: Sequence[SweptScore] = ()
    scale: Mapping[str, Any] = field(default_factory=dict)


def require_report() -> None:
    """Whether the report can be written: asked before a run of hours, not after it.

    Raises:
        ConfigError: one of the packages that it needs is not installed.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            "The report cannot be written.",
            expected=f"the packages {', '.join(_NEEDED)}",
            got=f"no {', '.join(missing)}",
            next_step="pip install 'llamdex-fl[demo]'",
        )


def rows_of(scenario: Scenario, found: Found) -> list[Row]:
    """One row for each way to answer and seed, of the run and of its sweep."""
    return [*_rows_of_run(scenario, found), *_rows_of_sweep(scenario, found)]


def _rows_of_run(scenario: Scenario, found: Found) -> list[Row]:
    rows = []
    for result in found.results:
        accounts = result.accounts
        common = _common(scenario, "run", len(accounts.records), result.seed)
        own: list[tuple[str, Any]] = [("assembled", result.assembled), ("reference", result.reference)]
        for way, score in own + [(way.name, way) for way in found.ways.get(result.seed, ())]:
            if score is not None:
                scored = {"accuracy": score.accuracy, "auc": score.auc}
                rows.append({**common, "way": way, "silo": "", **scored, **_nothing_of_silo()})
        hit = {
            silo: sorted(kind for kind, silos in result.faults.items() if silo in silos) for silo in accounts.records
        }
        for silo, records in accounts.records.items():
            score = result.alone.get(silo)
            rows.append(
                {
                    **common,
                    "way": ALONE,
                    "silo": silo,
                    "accuracy": score.accuracy if score else None,
                    "auc": score.auc if score else None,
                    "records": records,
                    "outcome": accounts.outcomes.get(silo, [""])[-1],
                    "status": accounts.status.get(silo, ""),
                    "reason": accounts.reason.get(silo, ""),
                    "faults": ",".join(hit[silo]),
                    "spent_epsilon": accounts.epsilon.get(silo, 0.0),
                    "artefact_digest": accounts.digests.get(silo, [""])[-1],
                }
            )
    return rows


def _rows_of_sweep(scenario: Scenario, found: Found) -> list[Row]:
    rows = []
    for own in found.swept:
        common = _common(scenario, "sweep", own.silos, own.seed)
        if own.axis != "silos":
            common[own.axis] = own.value
        way, _, silo = own.way.partition(": ")
        scored = {"way": way, "silo": silo, "accuracy": own.accuracy, "auc": own.auc}
        rows.append({**common, **scored, **_nothing_of_silo()})
    return rows


def _common(scenario: Scenario, part: str, silos: int, seed: int) -> Row:
    return {
        "scenario": scenario.name,
        "part": part,
        "data_set": scenario.data.set,
        "partition": scenario.partition.kind,
        "alpha": scenario.partition.alpha,
        "silos": silos,
        "seed": seed,
        "epsilon": scenario.privacy.epsilon,
        "delta": scenario.privacy.delta,
        "adjacency": ADJACENCY,
        "unit": UNIT,
    }


def rows_digest(rows: Sequence[Row]) -> str:
    """Hex SHA-256 of all rows: the same for two runs that repeat bit for bit."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write ``results.parquet``, whole or not at all.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    require_report()
    from pyarrow import Table, parquet  # noqa: PLC0415 - of the demo's extra

    beside = path.with_suffix(".part")
    parquet.write_table(Table.from_pylist(list(rows)), beside)
    beside.replace(path)


def report_of(scenario: Scenario, rows: Sequence[Row], found: Found, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The report: means over the seeds, intervals beside them, paired tests, each silo's own, and what held."""
    results = found.results
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "seeds": [result.seed for result in results],
        "data_set": scenario.data.set,
        "partition": asdict(scenario.partition),
        "silos": len(results[0].accounts.records),
        "privacy": {
            "epsilon": scenario.privacy.epsilon,
            "delta": scenario.privacy.delta,
            "adjacency": ADJACENCY,
            "unit": UNIT,
        },
        **_figures(scenario, rows),
        "confidence": _CONFIDENCE,
        "variants": versus(results, found.ways, [name for name in _others(rows) if not _is_main(scenario, name)]),
        "paired": paired(results, found.ways),
        "own_records": owners(results),
        "costs": costs(results, found.ways, scenario.privacy.delta),
        "membership_advantage": _membership(results),
        "sweep": swept(found.swept),
        "inference": next((result.inference for result in results if result.inference), None),
        "growth": list(results[0].growth),
        "scale": dict(found.scale) or {"points": [], "fit": {}},
        "majority": fmean(result.majority for result in results),
        "per_seed": [_seed(result) for result in results],
        "must_hold": [asdict(verdict) for verdict in verdicts],
        "passed": all(verdict.held for verdict in verdicts),
        "measured": _measured(results),
    }


def _figures(scenario: Scenario, rows: Sequence[Row]) -> dict[str, Any]:
    """``auc`` and ``accuracy``, and of each the interval, ``{way: …, "alone": {silo: …}}``."""
    own = [row for row in rows if row["part"] == "run" and (row["way"] in _OURS or _is_main(scenario, row["way"]))]
    figures: dict[str, Any] = {}
    for figure in ("accuracy", "auc"):
        figures[figure], figures[f"{figure}_interval"] = _by_way(own, figure)
    return figures


def _others(rows: Sequence[Row]) -> list[str]:
    ways = [row["way"] for row in rows if row["part"] == "run" and row["way"] not in _OURS]
    return list(dict.fromkeys(ways))


def _is_main(scenario: Scenario, name: str) -> bool:
    """Whether it is a way that the scenario names: the rest are forms of one, and stand under ``variants``."""
    return name.partition("+")[0] in scenario.alternatives.ways


def _membership(results: Sequence[SeedResult]) -> dict[str, float]:
    """Mean over the seeds, by silo."""
    silos = sorted({silo for result in results for silo in result.look.membership})
    return {
        silo: fmean(result.look.membership[silo] for result in results if silo in result.look.membership)
        for silo in silos
    }


def versions() -> dict[str, str]:
    """What a run was made with."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    return {**found, **{package: version(package) for package in _PACKAGES}}


def _by_way(rows: Iterable[Row], figure: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Means and intervals, ``{way: …, "alone": {silo: …}}``."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row[figure] is not None:
            values.setdefault((row["way"], row["silo"]), []).append(row[figure])
    means: dict[str, Any] = {ALONE: {}}
    intervals: dict[str, Any] = {ALONE: {}}
    for (way, silo), numbers in values.items():
        where = (means[ALONE], intervals[ALONE], silo) if way == ALONE else (means, intervals, way)
        where[0][where[2]] = fmean(numbers)
        where[1][where[2]] = student(numbers)
    return means, intervals


def _seed(result: SeedResult) -> dict[str, Any]:
    accounts = result.accounts
    return {
        "seed": result.seed,
        "rounds": result.states,
        "assembled": asdict(result.assembled) if result.assembled else None,
        "reference": asdict(result.reference) if result.reference else None,
        "delivered": len(accounts.delivered),
        "quarantined": {silo: why for silo, why in accounts.reason.items() if accounts.status[silo] == "quarantined"},
        "faults": {kind: list(silos) for kind, silos in result.faults.items()},
        "replays": accounts.replays,
        "problems": accounts.problems,
        "silos": {
            silo: {
                "records": records,
                "outcomes": accounts.outcomes.get(silo, []),
                "status": accounts.status.get(silo, ""),
                "spent_epsilon": accounts.epsilon.get(silo, 0.0),
                "alone": asdict(result.alone[silo]) if silo in result.alone else None,
            }
            for silo, records in accounts.records.items()
        },
    }


def _measured(results: Sequence[SeedResult]) -> dict[str, Any]:
    names = sorted({name for result in results for name in result.measured})
    totals: Mapping[str, list[float]] = {
        name: [result.measured[name] for result in results if name in result.measured] for name in names
    }
    peaks = {name: max(values) for name, values in totals.items() if "peak" in name}
    sums = {name: sum(values) for name, values in totals.items() if "peak" not in name}
    silos = sum(len(result.accounts.outcomes) for result in results)
    return {**peaks, **sums, "harness_cpu_ms_per_silo": 1e3 * sums.get("harness_cpu_s", 0.0) / max(silos, 1)}


def _nothing_of_silo() -> Row:
    return {
        "records": None,
        "outcome": "",
        "status": "",
        "reason": "",
        "faults": "",
        "spent_epsilon": None,
        "artefact_digest": "",
    }
