"""Ends the processes of a consortium when the process that started them is gone, however it went.

Run as ``python -I -S guardian.py TOKEN PIDFILE`` with a pipe on stdin that only the starter holds: its end of file
means that the starter closed it or died, even by SIGKILL. A process belongs to the consortium when its environment
carries ``LLAMDEX_CONSORTIUM=TOKEN``, which every descendant inherits; where there is no /proc, the process groups
in PIDFILE are taken. Only the standard library: it starts without site-packages.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

__all__ = ["MARKER", "end_all", "members"]

#: Name of the environment variable that marks a consortium's processes.
MARKER = "LLAMDEX_CONSORTIUM"
_GRACE_S = 1.5
_POLL_S = 0.05


def members(token: str) -> list[int]:
    """Process ids, other than this one's, that carry the token (Linux; elsewhere none)."""
    mark = f"{MARKER}={token}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        # A process that ended, or another user's, has no readable environment.
        with contextlib.suppress(OSError):
            if pid != os.getpid() and mark in (entry / "environ").read_bytes().split(b"\0") and not _is_dead(entry):
                found.append(pid)
    return found


def end_all(token: str, pid_file: Path) -> int:
    """Ask all of them to end, wait a little, then kill; returns how many there were. Removes the pid file."""
    pids = members(token)
    targets = [*pids] if Path("/proc/self/environ").exists() else [-group for group in _groups(pid_file)]
    for number, grace_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
        for target in targets:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(target, number)
        deadline = time.monotonic() + grace_s
        while members(token) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        targets = members(token) or [target for target in targets if target < 0]
        if not targets:
            break
    pid_file.unlink(missing_ok=True)
    return len(pids)


def _is_dead(entry: Path) -> bool:
    # The third field of stat, after the name in brackets: Z is a zombie that its parent has yet to collect.
    return (entry / "stat").read_bytes().rpartition(b")")[2].split()[0] in {b"Z", b"X"}


def _groups(pid_file: Path) -> list[int]:
    try:
        lines = pid_file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [int(line.split()[0]) for line in lines[1:] if line.split()]


def _main() -> None:
    token, pid_file = sys.argv[1], Path(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while sys.stdin.buffer.read(1):
        pass
    if pid_file.exists():
        end_all(token, pid_file)


if __name__ == "__main__":
    _main()
