"""The reader's training in a process of its own, while the silos train and the injector learns.

The reader needs no LLM and no silo, so it need not wait for them: on two cores it takes one, and the rest the other.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from llamdex_fl.errors import ProcessError

__all__ = ["ReaderInBackground"]

_STEP = re.compile(r"reader (\d+)/(\d+)")


class ReaderInBackground:
    """A context in which ``llamdex-provider connect --reader-only`` runs."""

    def __init__(self, home: Path, on_progress: Callable[[str, int, int], None]) -> None:
        """Nothing is started yet."""
        self._home = home
        self._on_progress = on_progress
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self._trained = False
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        """Start the process."""
        self._process = subprocess.Popen(
            [Path(sys.executable).with_name("llamdex-provider"), "connect", "--home", self._home, "--reader-only"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def wait(self) -> bool:
        """Wait until the reader is in the cache.

        Returns:
            Whether it was trained; False if the cache had it.

        Raises:
            ProcessError: it could not be trained.
        """
        if self._process is None:
            raise AssertionError("wait stands inside the context")
        code = self._process.wait()
        self._listener.join()
        if code != 0:
            raise ProcessError(
                "The reader could not be trained.",
                expected="exit code 0",
                got=f"exit code {code}: " + " ".join(self._lines[-3:]),
                next_step=f"llamdex-provider connect --home {self._home} --reader-only",
            )
        return self._trained

    def _listen(self) -> None:
        if self._process is None or self._process.stderr is None:
            raise AssertionError("the process was started with a pipe")
        with self._process.stderr as lines:
            for line in lines:
                if match := _STEP.match(line):
                    self._trained = True
                    self._on_progress("reader", int(match.group(1)), int(match.group(2)))
                else:
                    self._lines.append(line.strip())
