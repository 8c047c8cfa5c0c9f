"""``run_scenario``: all seeds of a scenario, judged and reported.

::

    OUT/NAME/
      scenario.toml        the scenario that was run
      seed-<n>/            one seed (simulations.harness.seed_run); its homes go when its result is there
      sweep/, growth/      what of the scenario's sweep, and of its runs with fewer silos, is done
      results.parquet, report.json, report.html, run.json
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llamdex_fl.errors import ConfigError
from simulations.harness.holds import judge
from simulations.harness.page import write_page
from simulations.harness.ray_backend import require_ray
from simulations.harness.report import Found, report_of, require_report, rows_digest, rows_of, versions, write_rows
from simulations.harness.scenario import Scenario, load_scenario
from simulations.harness.seed_run import SeedResult, run_seed
from simulations.harness.sizes import scale_of, sized
from simulations.harness.ways import sweep, ways_beside
from simulations.local_consortium.lock import take_lock

__all__ = ["BACKENDS", "RunSettings", "run_scenario"]

BACKENDS = ("in-process", "ray")
_MARK = "run.json"
#: Marks a directory of homes that lie elsewhere.
_HOMES = ".llamdex-sim"

Told = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """How a scenario is run.

    Attributes:
        scenario: its file.
        out: under which ``NAME/`` is made.
        seeds: in place of the scenario's own, if any.
        resume: go on with what is there.
        keep: keep the homes of provider and silos.
        backend: one of ``BACKENDS``.
        homes: where the homes lie while the run goes, in place of ``out``; an interrupted run remembers it.
    """

    scenario: Path
    out: Path = Path("out/sim")
    seeds: tuple[int, ...] = ()
    resume: bool = False
    keep: bool = False
    backend: str = "in-process"
    homes: Path | None = None


def run_scenario(settings: RunSettings, told: Told) -> dict[str, Any]:
    """Run all seeds, and write what the package's report module says.

    Args:
        settings: what to run.
        told: of the progress (stage, done, in all).

    Returns:
        The report; ``passed`` says whether all that must hold held.

    Raises:
        ConfigError: the scenario, the backend or the directory is not usable, or pyarrow is missing.
        PortInUseError: another run uses the directory.
        ArtefactError, ProcessError: see ``run_seed``.
    """
    _require_backend(settings.backend)
    require_report()
    scenario = load_scenario(settings.scenario)
    _require_backend(settings.backend, scenario)
    seeds = settings.seeds or scenario.seeds
    out = settings.out / scenario.name
    out.mkdir(parents=True, exist_ok=True)
    descriptor = take_lock(out / ".lock")
    try:
        began = time.perf_counter()
        run = _claim(out, scenario, settings)
        homes = Path(run["homes"])
        results = [
            _one(scenario, seed, (out / f"seed-{seed}", homes / f"seed-{seed}"), settings, told) for seed in seeds
        ]
        points = sized(scenario, settings.scenario, seeds[0], (out / "growth", homes / "growth"), told)
        found = Found(
            results=results,
            ways={seed: ways_beside(scenario, seed, out / f"seed-{seed}", told) for seed in seeds},
            swept=sweep(scenario, seeds, out / "sweep", told),
            scale=scale_of(points, scenario, results[0]),
        )
        rows = rows_of(scenario, found)
        report = report_of(scenario, rows, found, judge(scenario.must_hold, results))
        write_rows(out / "results.parquet", rows)
        _write(out / "report.json", report)
        write_page(report, out / "report.html")
        finished = {
            "seeds": list(seeds),
            "finished_at": _now(),
            "seconds": round(time.perf_counter() - began, 3),
            "results_digest": rows_digest(rows),
            "passed": report["passed"],
        }
        _write(out / _MARK, {**run, **finished})
    finally:
        os.close(descriptor)
    return report


def _one(scenario: Scenario, seed: int, places: tuple[Path, Path], settings: RunSettings, told: Told) -> SeedResult:
    directory, homes = places
    kept = directory / "result.json"
    if kept.exists():
        document = json.loads(kept.read_text(encoding="utf-8"))
        told(f"seed {seed}: kept", 1, 1)
        return SeedResult.from_dict(document)
    result = run_seed(scenario, seed, homes, told, backend=settings.backend)
    directory.mkdir(parents=True, exist_ok=True)
    _write(kept, result.as_dict())
    if not settings.keep:
        for path in homes.iterdir():
            if path.is_dir() and (path.name != "work" or homes != directory):
                shutil.rmtree(path)
        if homes != directory:
            shutil.rmtree(homes)
    return result


def _claim(out: Path, scenario: Scenario, settings: RunSettings) -> dict[str, Any]:
    """Make the directory this scenario's: go on with it, or begin it anew."""
    mark = out / _MARK
    before: dict[str, Any] = {}
    if mark.exists():
        before = json.loads(mark.read_text(encoding="utf-8"))
    elif any(path.name != ".lock" for path in out.iterdir()):
        raise ConfigError(
            f"{out} holds something that is no simulation's.",
            expected="a new or empty directory, or an earlier run",
            got="other files",
            next_step="name another directory with --out",
        )
    if settings.resume and "homes" in before:
        if before.get("scenario_digest") != scenario.digest():
            raise ConfigError(
                f"The run in {out} is of another scenario.",
                expected="the scenario as it was when the run began",
                got="one that was changed since",
                next_step="run it without --resume: that begins anew",
            )
        return before
    for path in out.iterdir():
        if (path.name in {"sweep", "growth"} or path.name.startswith("seed-")) and path.is_dir():
            shutil.rmtree(path)
        elif path.name in {"results.parquet", "report.json", "report.html"}:
            path.unlink()
    homes = out if settings.homes is None else settings.homes.resolve() / f"llamdex-sim-{scenario.name}"
    if homes != out:
        _clear_homes(homes, str(before.get("homes", "")))
    run = {
        "homes": str(homes),
        "scenario": scenario.name,
        "scenario_digest": scenario.digest(),
        "seeds": list(settings.seeds or scenario.seeds),
        "backend": settings.backend,
        "started_at": _now(),
        "versions": versions(),
    }
    shutil.copyfile(settings.scenario, out / "scenario.toml")
    _write(mark, run)
    return run


def _clear_homes(homes: Path, before: str) -> None:
    """Make room for homes elsewhere: what an earlier run of this scenario left there goes, and nothing else."""
    mark = homes / _HOMES
    if homes.exists() and str(homes) != before and not mark.exists():
        raise ConfigError(
            f"{homes} holds something that is no simulation's.",
            expected="nothing, or an earlier run's homes",
            got="other files",
            next_step="name another directory with --homes",
        )
    shutil.rmtree(homes, ignore_errors=True)
    homes.mkdir(parents=True, mode=0o700)
    mark.touch()


def _require_backend(backend: str, scenario: Scenario | None = None) -> None:
    if backend not in BACKENDS:
        raise ConfigError(
            "There is no such backend.",
            expected=" or ".join(BACKENDS),
            got=backend[:80],
            next_step="mend --backend",
        )
    if backend == "ray":
        require_ray(scenario)


def _write(path: Path, document: dict[str, Any]) -> None:
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    beside.replace(path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
