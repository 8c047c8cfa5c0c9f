"""What a run leaves: ``results.parquet`` and ``report.json`` for people and plots, ``run.json`` to make it again.

A row of ``results.parquet`` is one way to answer, in one seed: ``assembled``, ``reference`` (the same consortium
without faults), or ``alone`` with the silo. Rows of other ways (DP-FedAvg, pooled training, synthesis) need the same
columns only: ``report_of`` puts every way that it finds into ``auc`` and ``accuracy``.

Rows are the same whenever a scenario is run with the same seeds; what differs from run to run (seconds, bytes, memory)
stands under ``measured`` and in ``run.json``.
"""

import hashlib
import importlib.util
import json
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from llamdex_fl.errors import ConfigError
from llamdex_fl.privacy import ADJACENCY, UNIT
from simulations.harness.holds import Verdict
from simulations.harness.scenario import Scenario
from simulations.harness.seed_run import SeedResult

__all__ = ["ALONE", "report_of", "require_parquet", "rows_digest", "rows_of", "versions", "write_rows"]

ALONE = "alone"
_CONFIDENCE = 0.95
_PACKAGES = ("llamdex-fl", "flwr", "torch", "opacus", "numpy", "grpcio", "cryptography")

Row = dict[str, Any]


def require_parquet() -> None:
    """Whether ``results.parquet`` can be written: asked before a run of hours, not after it.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigError(
            "results.parquet cannot be written.",
            expected="the package pyarrow",
            got="none",
            next_step="pip install 'llamdex-fl[demo]', or pip install pyarrow",
        )


def rows_of(scenario: Scenario, results: Sequence[SeedResult]) -> list[Row]:
    """One row for each way to answer and seed."""
    rows = []
    for result in results:
        accounts = result.accounts
        common = {
            "scenario": scenario.name,
            "data_set": scenario.data.set,
            "partition": scenario.partition.kind,
            "alpha": scenario.partition.alpha,
            "silos": len(accounts.records),
            "seed": result.seed,
            "epsilon": scenario.privacy.epsilon,
            "delta": scenario.privacy.delta,
            "adjacency": ADJACENCY,
            "unit": UNIT,
        }
        for way, score in (("assembled", result.assembled), ("reference", result.reference)):
            if score is not None:
                rows.append({**common, "way": way, "silo": "", **asdict(score), **_nothing_of_silo()})
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


def rows_digest(rows: Sequence[Row]) -> str:
    """Hex SHA-256 of all rows: the same for two runs that repeat bit for bit."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write ``results.parquet``, whole or not at all.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    require_parquet()
    from pyarrow import Table, parquet  # noqa: PLC0415 - of the demo's extra

    beside = path.with_suffix(".part")
    parquet.write_table(Table.from_pylist(list(rows)), beside)
    beside.replace(path)


def report_of(
    scenario: Scenario, rows: Sequence[Row], results: Sequence[SeedResult], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """The report: means over the seeds, intervals beside them, each silo's own, and what held."""
    figures: dict[str, Any] = {}
    for figure in ("accuracy", "auc"):
        means, intervals = _by_way(rows, figure)
        figures[figure] = means
        figures.setdefault("intervals", {"confidence": _CONFIDENCE})[figure] = intervals
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
        **figures,
        "majority": fmean(result.majority for result in results),
        "per_seed": [_seed(result) for result in results],
        "must_hold": [asdict(verdict) for verdict in verdicts],
        "passed": all(verdict.held for verdict in verdicts),
        "measured": _measured(results),
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
        where[1][where[2]] = _interval(numbers)
    return means, intervals


def _interval(numbers: Sequence[float]) -> list[float] | None:
    """Student's interval of the mean over seeds; None for one seed."""
    if len(numbers) < 2:  # noqa: PLR2004 - one number has no spread
        return None
    from scipy.stats import t  # noqa: PLC0415 - takes a second to import

    half = float(t.ppf(0.5 + _CONFIDENCE / 2, len(numbers) - 1)) * stdev(numbers) / math.sqrt(len(numbers))
    return [fmean(numbers) - half, fmean(numbers) + half]


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
