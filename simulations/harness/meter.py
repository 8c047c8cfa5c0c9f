"""What a seed's run takes: seconds, CPU and memory; kept beside the run, so that an interruption loses none of it."""

import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from simulations.harness.node import Timed

__all__ = ["Meter", "peak_bytes"]

#: Wall seconds, but for the two that say CPU: of this process in the rounds, and of the harness alone.
_TIMES = ("founding_s", "rounds_s", "work_s", "rounds_cpu_s", "harness_cpu_s", "resumed")
#: Of a plot of growth.
_POINTS = 100
#: Trainings between two writes.
_EVERY = 10


def peak_bytes() -> float:
    """Most resident memory of this process so far."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Meter:
    """Adds up, over all runs of one seed.

    Attributes:
        totals: name -> what was measured so far, rounds that are done only.

    Args:
        path: where it is kept; what an interrupted run left there is gone on with.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self._path = path
        self.totals: dict[str, float] = dict.fromkeys(_TIMES, 0.0)
        self._growth: list[tuple[int, float, float]] = []
        self._began = self._cpu = self._worked = self._own = 0.0
        self._in_round = False
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            self.totals |= kept["totals"]
            self.totals["resumed"] += 1.0
            self._growth = [(int(silos), float(seconds), float(peak)) for silos, seconds, peak in kept["growth"]]

    def begin_round(self) -> None:
        """The clocks run."""
        self._began, self._cpu = time.perf_counter(), time.process_time()
        self._worked, self._own = Timed.seconds, Timed.cpu_s
        self._in_round = True

    def end_round(self, grid_cpu_s: float) -> None:
        """The clocks stand; ``grid_cpu_s`` is the CPU of this thread in the grid, the silos' own work among it."""
        self.totals = self._now(grid_cpu_s)
        self._in_round = False
        self.keep()

    def trained(self, count: int, *, first_round: bool) -> None:
        """So many silos had trained before this moment; a round that is gone on with counts from 0 again."""
        if first_round and count > (self._growth[-1][0] if self._growth else -1):
            self._growth.append((count, round(self._now(0.0)["rounds_s"], 3), peak_bytes()))
        if count % _EVERY == 0:
            self.keep()

    def keep(self) -> None:
        """Write it down."""
        self.totals["peak_bytes"] = max(self.totals.get("peak_bytes", 0.0), peak_bytes())
        beside = self._path.with_suffix(".part")
        document = {"totals": self._now(0.0) if self._in_round else self.totals, "growth": self._growth}
        beside.write_text(json.dumps(document), encoding="utf-8")
        beside.replace(self._path)

    @property
    def growth(self) -> list[tuple[int, float, float]]:
        """Silos that had trained, seconds, most memory in bytes: of the first round, thinned for a plot."""
        return _thinned(self._growth)

    def _now(self, grid_cpu_s: float) -> dict[str, float]:
        worked, own = Timed.seconds - self._worked, Timed.cpu_s - self._own
        more = {
            "rounds_s": time.perf_counter() - self._began,
            "rounds_cpu_s": time.process_time() - self._cpu,
            "work_s": worked,
            # Known when the round is done; of one that is cut off it is not counted.
            "harness_cpu_s": grid_cpu_s - own if grid_cpu_s else 0.0,
        }
        return {name: value + more.get(name, 0.0) for name, value in self.totals.items()}


def _thinned(growth: Sequence[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
    step = max(1, len(growth) // _POINTS)
    return [*growth[::step], *growth[-1:]] if len(growth) > _POINTS else list(growth)
