"""Trainings of a benchmark that are done, kept in a file, so that an interrupted benchmark goes on where it was.

One JSON line a result, appended when it is there and never changed: a line that a crash cut off is passed over, and
processes may write side by side. A result is found again only for the same plan, texts and noise, to the digit. The
texts of this benchmark are public and so are its results; nothing of a silo's records is ever kept here.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from llamdex_fl.errors import InputError

__all__ = ["KeptResults"]


class KeptResults:
    """Results by name, in memory, and in a file if there is one."""

    def __init__(self, path: Path | None, about: Any) -> None:  # noqa: ANN401 - what JSON can say
        """Read what is there.

        Args:
            path: the file; None keeps nothing beyond this object.
            about: all that the results depend on.

        Raises:
            InputError: the file cannot be read or written, or holds something else.
        """
        self._path = path
        self._about = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        self._results: dict[str, dict[str, float]] = {}
        if path is None:
            return
        try:
            path.touch()
            content = path.read_bytes()
            for line in content.splitlines():
                self._take(path, line)
            if content and not content.endswith(b"\n"):
                # Cut off: what is appended next must not continue it.
                _append(path, b"\n")
        except OSError as error:
            raise _unusable(path, type(error).__name__) from error

    def __contains__(self, name: str) -> bool:
        """Whether it is done."""
        return name in self._results

    def __getitem__(self, name: str) -> dict[str, float]:
        """The result of this name."""
        return self._results[name]

    def add(self, name: str, **result: float) -> None:
        """Take a result, and write it before this returns."""
        self._results[name] = result
        if self._path is not None:
            line = json.dumps({"about": self._about, "name": name, "result": result}) + "\n"
            _append(self._path, line.encode())

    def _take(self, path: Path, line: bytes) -> None:
        try:
            told = json.loads(line)
        except ValueError as error:
            # One that was cut off begins as ours do; a file of another kind does not.
            if not line.startswith(b'{"about"'[: len(line)]):
                raise _unusable(path, "something else") from error
            return
        if not (isinstance(told, dict) and told.keys() == {"about", "name", "result"}):
            raise _unusable(path, "something else")
        if told["about"] == self._about:
            self._results[told["name"]] = told["result"]


def _append(path: Path, line: bytes) -> None:
    """In one piece, at the end of what others wrote meanwhile."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def _unusable(path: Path, got: str) -> InputError:
    return InputError(
        "Results cannot be kept in this file.",
        expected=f"{path}: a new file, or one that this command wrote",
        got=got,
        next_step="name another file",
    )
