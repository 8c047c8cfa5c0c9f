"""The real provider process of a simulated consortium: started, watched, killed where a scenario says so."""

import os
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from llamdex_fl.errors import ConfigError, LlamdexError
from simulations.local_consortium.supervisor import Process, Supervisor
from simulations.review.mortal import PROVIDER_POINTS

__all__ = ["RunningProvider", "require_point"]

_START_TIMEOUT_S = 300.0
_LOOK_S = 0.05
_PAUSE_S = 0.2
#: One a kill, and one for good measure.
_RESTARTS = 8
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


class RunningProvider:
    """A context in which the provider of a home serves, and comes back when it is killed.

    Args:
        work: logs, and the trap of a kill; made if it is not there.
        home: the provider's.
        mortal: run it so that ``kill_at`` works.
    """

    def __init__(self, work: Path, home: Path, *, mortal: bool = False) -> None:
        """Nothing is started yet."""
        self._supervisor = Supervisor(work)
        self._home = home
        self._trap = work / "trap"
        self._mortal = mortal
        self._process: Process | None = None
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look_after, name="provider-watch")
        self._failed: LlamdexError | None = None
        self._peak_kb = 0
        self._cpu_s: dict[int, float] = {}

    def __enter__(self) -> Self:
        """Start it and wait until it listens.

        Raises:
            PortInUseError: another run uses the directory.
            ProcessError: it did not start.
        """
        self._trap.parent.mkdir(parents=True, exist_ok=True)
        self._trap.unlink(missing_ok=True)
        self._supervisor.__enter__()
        try:
            program = (
                [sys.executable, "-m", "simulations.review.mortal", "provider", self._trap]
                if self._mortal
                else [Path(sys.executable).with_name("llamdex-provider")]
            )
            self._process = self._supervisor.start(
                "provider", [*program, "serve", self._home], _ENVIRONMENT, restarts=_RESTARTS, pause_s=_PAUSE_S
            )
            self._supervisor.wait_ready(self._process, _START_TIMEOUT_S)
            self._watch.start()
        except BaseException:
            self._supervisor.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._ended.set()
        self._watch.join()
        self._supervisor.__exit__(kind, error, trace)

    def kill_at(self, point: str) -> None:
        """Let it die with SIGKILL when it passes a point the next time; it is started again."""
        self._trap.write_text(point, encoding="utf-8")

    @property
    def killed(self) -> bool:
        """Whether no kill is pending."""
        return not self._trap.exists()

    @property
    def peak_bytes(self) -> int:
        """Most resident memory that a look found it with."""
        return 1024 * self._peak_kb

    @property
    def cpu_s(self) -> float:
        """CPU seconds that looks found it with, over all its lives; at most a look's time short."""
        return sum(self._cpu_s.values())

    def require_alive(self) -> None:
        """Raise what ended it for good, if something did.

        Raises:
            ProcessError: it ended more often than it may.
        """
        if self._failed is not None:
            raise self._failed

    def _look_after(self) -> None:
        while not self._ended.wait(_LOOK_S):
            try:
                self._supervisor.tend()
            except LlamdexError as error:
                self._failed = error
                return
            self._peak_kb = max(self._peak_kb, self._resident_kb())
            self._note_cpu()

    def _resident_kb(self) -> int:
        """VmHWM of the process as Linux tells it; 0 where nobody does."""
        if self._process is None:
            return 0
        try:
            lines = Path(f"/proc/{self._process.handle.pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)

    def _note_cpu(self) -> None:
        """User and system time of the process as Linux tells them; nothing where nobody does."""
        if self._process is None:
            return
        pid = self._process.handle.pid
        try:
            told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            return
        # proc(5): fields 14 and 15; what follows the name begins with the third.
        self._cpu_s[pid] = (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def require_point(point: str) -> None:
    """Whether there is a point of this name to be killed at.

    Raises:
        ConfigError: there is none.
    """
    names = [each.name for each in PROVIDER_POINTS]
    if point not in names:
        raise ConfigError(
            "The provider cannot be killed at this point.",
            expected=", ".join(names),
            got=point[:80],
            next_step="mend point in the scenario's [[fault]]",
        )
