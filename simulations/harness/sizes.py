"""The same scenario with fewer silos, each in a process of its own: how do time and memory grow?

One seed, through the real service, like the run itself. A process of its own, because the most memory that a process
ever had never falls. What is done is kept, so that an interrupted run goes on.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llamdex_fl.errors import ProcessError
from simulations.harness.scenario import Scenario, load_scenario
from simulations.harness.seed_run import SeedResult, run_seed

__all__ = ["scale_of", "sized", "smaller"]

Told = Callable[[str, int, int], None]


def smaller(scenario: Scenario, silos: int) -> Scenario:
    """The scenario with so many silos, as many records each, and no other ways."""
    own = scenario.partition.silos or silos
    records = scenario.data.records
    return replace(
        scenario,
        partition=replace(scenario.partition, silos=silos),
        data=replace(scenario.data, records=None if records is None else records * silos // own),
    )


def sized(scenario: Scenario, path: Path, seed: int, places: tuple[Path, Path], told: Told) -> list[dict[str, float]]:
    """Run the scenario with every number of silos that it names.

    Args:
        scenario: what is run.
        path: its file, which the processes read.
        seed: of the run.
        places: where the figures are kept, and where the homes lie meanwhile.
        told: of the progress.

    Returns:
        By number of silos, rising: ``silos`` and what was measured.

    Raises:
        ProcessError: one of the runs failed.
    """
    directory, homes = places
    counts = sorted(scenario.growth.silos)
    points = []
    for number, silos in enumerate(counts):
        told("growth", number, len(counts))
        kept = directory / f"silos-{silos}.json"
        if not kept.exists():
            directory.mkdir(parents=True, exist_ok=True)
            _in_a_process(path, silos, seed, kept, homes / f"silos-{silos}")
        points.append(json.loads(kept.read_text(encoding="utf-8")))
    if counts:
        told("growth", 1, 1)
    return points


def scale_of(points: Sequence[dict[str, float]], scenario: Scenario, result: SeedResult) -> dict[str, Any]:
    """The points with the run's own last, and what a straight line through them says.

    Returns:
        ``points``; ``fit {name: {per_silo, exponent}}``: the slope of the least-squares line, and of the logarithms
        (1 is linear); nothing with fewer than three points.
    """
    if not scenario.growth.silos:
        return {"points": [], "fit": {}}
    own = {"silos": float(len(result.accounts.records)), **result.measured}
    together = sorted([*points, own], key=lambda point: point["silos"])
    fit = {}
    for name in ("rounds_s", "rounds_cpu_s", "provider_cpu_s", "founding_s", "peak_bytes", "provider_peak_bytes"):
        found = [(point["silos"], point[name]) for point in together if point.get(name, 0.0) > 0.0]
        if len(found) >= 3:  # noqa: PLR2004 - two are always on a line
            xs, ys = np.array(found).T
            fit[name] = {
                "per_silo": float(np.polyfit(xs, ys, 1)[0]),
                "exponent": float(np.polyfit(np.log(xs), np.log(ys), 1)[0]),
            }
    return {"points": together, "fit": fit}


def _in_a_process(path: Path, silos: int, seed: int, kept: Path, homes: Path) -> None:
    command = [sys.executable, "-m", "simulations.harness.sizes", *map(str, (path, silos, seed, kept, homes))]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if ended.returncode:
        raise ProcessError(
            f"The run with {silos} silos failed.",
            expected="exit code 0",
            got=f"{ended.returncode}: {ended.stderr[-400:]}",
            next_step="run it again with --resume",
        )


def _main(path: str, silos: str, seed: str, kept: str, homes: str) -> None:
    scenario = smaller(load_scenario(Path(path)), int(silos))
    result = run_seed(scenario, int(seed), Path(homes), lambda *_: None)
    beside = Path(kept).with_suffix(".part")
    beside.write_text(json.dumps({"silos": float(silos), **result.measured}) + "\n", encoding="utf-8")
    beside.replace(kept)
    shutil.rmtree(homes)


if __name__ == "__main__":
    _main(*sys.argv[1:])
