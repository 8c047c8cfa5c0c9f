"""Scenarios held to committed expectations: each figure within its tolerance, and all that must hold held.

``expected/scenarios.json``: by scenario, the seeds, whether it is quick, and figures of its report by path
(``accuracy.assembled``) with value and tolerance. Runs repeat bit for bit with the same packages on the same kind of
machine; the tolerances are for other ones.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simulations.benchmarks.expectations import committed, compared_figures
from simulations.harness import RunSettings, run_scenario

__all__ = ["compared", "expected", "measure_scenarios"]

_SCENARIOS = Path(__file__).resolve().parent.parent / "scenarios"

Told = Callable[[str, int, int], None]


def expected() -> dict[str, Any]:
    """What is committed, by scenario."""
    return committed("scenarios")


def measure_scenarios(out: Path, told: Told, *, quick: bool = True, homes: Path | None = None) -> dict[str, Any]:
    """Run them and compare.

    Args:
        out: under which the runs are made.
        told: of the progress.
        quick: only those of a minute or so.
        homes: as ``RunSettings.homes``.

    Returns:
        ``passed``, and by scenario ``passed``, ``held`` (all that it declares) and ``figures {path: {expected,
        tolerance, got, good}}``.

    Raises:
        ConfigError, ArtefactError, ProcessError: as ``run_scenario``.
    """
    found = {}
    for name, wanted in expected().items():
        if quick and not wanted["quick"]:
            continue
        settings = RunSettings(scenario=_SCENARIOS / f"{name}.toml", out=out, seeds=tuple(wanted["seeds"]), homes=homes)
        found[name] = compared(run_scenario(settings, told), wanted)
    return {"passed": all(own["passed"] for own in found.values()), "scenarios": found}


def compared(report: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """One report against what is expected of it."""
    figures = compared_figures(report, wanted["figures"])
    held = bool(report["passed"])
    return {"passed": held and all(own["good"] for own in figures.values()), "held": held, "figures": figures}
