"""Starts processes, watches them, and leaves none behind.

Each process has its own process group and its own log file ``LOGS/<name>.log``. Whatever happens to this process,
theirs end: on leaving the ``with`` block by any road, through ``guardian`` when this process is killed, and at the
next start in the same directory when even the guardian was killed.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from llamdex_fl.errors import PortInUseError, ProcessError
from simulations.local_consortium import guardian
from simulations.local_consortium.lock import take_lock

__all__ = ["Process", "Supervisor", "free_port", "wait_for"]

_T = TypeVar("_T")
_POLL_S = 0.05
#: Below the ports that systems give to outgoing connections, so that nobody takes one by chance before it is bound.
_PORTS = range(20_000, 30_000)
_TRIES = 200


@dataclass(kw_only=True, slots=True)
class Process:
    """A process that was started.

    Attributes:
        restarts: how often it may still be started again after it ended by itself.
        pause_s: seconds until it is; doubled each time.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    handle: "subprocess.Popen[bytes]"
    restarts: int = 0
    pause_s: float = 2.0
    start_again_s: float | None = None

    @property
    def alive(self) -> bool:
        """It has not ended."""
        return self.handle.poll() is None


class Supervisor:
    """A context that owns processes. ``directory`` holds the lock, the pid file and the logs."""

    def __init__(self, directory: Path) -> None:
        """Nothing is started yet."""
        self.directory = directory
        self.logs = directory / "logs"
        self.processes: dict[str, Process] = {}
        self._token = secrets.token_hex(16)
        self._pid_file = directory / "processes.pid"
        self._lock: int | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Take the directory, and end what an interrupted run left in it.

        Raises:
            PortInUseError: another run uses the directory now.
        """
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = take_lock(self.directory / "lock")
        self._end_leftovers()
        self._pid_file.write_text(f"{self._token}\n", encoding="utf-8")
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, self._token, str(self._pid_file)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything that was started."""
        # A Ctrl-C must not cut the ending short; it is heard when all is ended.
        restore = _postpone_interrupts()
        try:
            guardian.end_all(self._token, self._pid_file)
            for process in self.processes.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.handle.pid, signal.SIGKILL)
                process.handle.wait()
            if self._guardian is not None and self._guardian.stdin is not None:
                self._guardian.stdin.close()
                self._guardian.wait()
            if self._lock is not None:
                os.close(self._lock)
        finally:
            restore()

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        *,
        restarts: int = 0,
        pause_s: float = 2.0,
    ) -> Process:
        """Start a process; ``environment`` is added to this one's own.

        When it ends by itself it is started again up to ``restarts`` times, after ``pause_s`` and twice that each time.
        """
        process_environment = self.environment(environment)
        log = self.logs / f"{name}.log"
        arguments = tuple(str(argument) for argument in argv)
        process = Process(
            name=name,
            argv=arguments,
            environment=process_environment,
            log=log,
            handle=self._spawn(arguments, process_environment, log, "wb"),
            restarts=restarts,
            pause_s=pause_s,
        )
        self.processes[name] = process
        return process

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """This process's environment, ``more``, and the mark by which the guardian knows its processes."""
        return {**os.environ, **(more or {}), guardian.MARKER: self._token}

    def tend(self, *, starting: bool = False) -> None:
        """Start again what may be started again; while things are ``starting`` nothing may.

        Raises:
            ProcessError: a process ended that may not, or not any more.
        """
        for process in self.processes.values():
            if process.alive:
                continue
            if starting or process.restarts <= 0:
                raise ProcessError(
                    f"The process {process.name} ended by itself.",
                    expected="that it runs until the consortium is stopped",
                    got=f"exit code {process.handle.returncode}",
                    next_step=f"read {process.log}",
                )
            now_s = time.monotonic()
            if process.start_again_s is None:
                process.start_again_s = now_s + process.pause_s
            elif now_s >= process.start_again_s:
                process.start_again_s, process.restarts, process.pause_s = (
                    None,
                    process.restarts - 1,
                    process.pause_s * 2,
                )
                process.handle = self._spawn(process.argv, process.environment, process.log, "ab")

    def wait_ready(self, process: Process, timeout_s: float) -> str:
        """Wait for the line ``ready ADDRESS`` in a process's log, and return the address."""

        def ready() -> str | None:
            self.tend(starting=True)
            for line in process.log.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("ready "):
                    return line.removeprefix("ready ").strip()
            return None

        return wait_for(ready, timeout_s, f"{process.name} to be ready", process.log)

    def wait_port(self, process: Process, host: str, port: int, timeout_s: float) -> None:
        """Wait until a process accepts connections."""

        def accepts() -> bool:
            self.tend(starting=True)
            with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1.0):
                return True
            return False

        wait_for(accepts, timeout_s, f"{process.name} to accept connections", process.log)

    def _spawn(
        self, argv: tuple[str, ...], environment: Mapping[str, str], log: Path, mode: str
    ) -> "subprocess.Popen[bytes]":
        with log.open(mode) as stream:
            handle = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=self.directory,
                start_new_session=True,
            )
        with self._pid_file.open("a", encoding="utf-8") as stream:
            stream.write(f"{handle.pid} {Path(argv[0]).name}\n")
        return handle

    def _end_leftovers(self) -> None:
        try:
            token = self._pid_file.read_text(encoding="utf-8").splitlines()[0]
        except (OSError, IndexError, UnicodeDecodeError):
            return
        guardian.end_all(token, self._pid_file)


def free_port(host: str = "127.0.0.1", wanted: int | None = None) -> int:
    """A port that can be bound now: ``wanted`` itself if given, else one by chance.

    Raises:
        PortInUseError: the wanted port is taken, or none was found.
    """
    chance = secrets.SystemRandom()
    for port in [wanted] if wanted is not None else chance.sample(_PORTS, _TRIES):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return port
    raise PortInUseError(
        f"No address for a service on {host}.",
        expected=f"the free port {wanted}"
        if wanted is not None
        else f"a free port of {_PORTS.start}-{_PORTS.stop - 1}",
        got="ports that other processes hold",
        next_step="stop the other process, or name another port",
    )


def wait_for(condition: Callable[[], _T | None], timeout_s: float, what: str, log: Path) -> _T:
    """Ask ``condition`` until it says something true."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if said := condition():
            return said
        time.sleep(_POLL_S)
    raise ProcessError(
        f"Waited {timeout_s:.0f} s in vain for {what}.",
        expected=what,
        got="nothing",
        next_step=f"read {log}",
    )


def _postpone_interrupts() -> Callable[[], None]:
    """Take note of Ctrl-C instead of obeying; the returned function obeys what was noted."""
    noted: list[int] = []
    try:
        before = signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    except ValueError:  # not the main thread: Ctrl-C does not come here
        return lambda: None

    def restore() -> None:
        signal.signal(signal.SIGINT, before)
        if noted:
            signal.raise_signal(signal.SIGINT)

    return restore
