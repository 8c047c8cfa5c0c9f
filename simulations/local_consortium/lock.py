"""One run at a time in a directory."""

import fcntl
import os
from pathlib import Path

from llamdex_fl.errors import PortInUseError

__all__ = ["take_lock"]


def take_lock(path: Path) -> int:
    """Take the lock of the directory in which ``path`` lies; the system gives it back with the process at the latest.

    Returns:
        A descriptor; closing it gives the lock back.

    Raises:
        PortInUseError: another run has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise PortInUseError(
            f"Another run uses {path.parent}.",
            expected="a directory that no other run uses",
            got="a lock that another process holds",
            next_step="wait for the other run, stop it, or name another directory",
        ) from error
    return descriptor
