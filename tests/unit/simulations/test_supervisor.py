"""Processes are started, watched, and never left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llamdex_fl.errors import PortInUseError, ProcessError
from simulations.local_consortium import guardian
from simulations.local_consortium.supervisor import Supervisor, free_port

SLEEP = [sys.executable, "-c", "import time; print('ready here', flush=True); time.sleep(60)"]
# A child of its own session, as a daemon would be, that outlives its parent.
_FORK = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
    " start_new_session=True); print('ready here', flush=True); time.sleep(60)"
)
FORKING = [sys.executable, "-c", _FORK]


def _ended(pid: int, within_s: float = 8.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_everything_ends_with_the_block_even_on_an_exception(tmp_path: Path):
    pids: list[int] = []

    def fail() -> None:
        with Supervisor(tmp_path) as supervisor:
            process = supervisor.start("p", FORKING)
            assert supervisor.wait_ready(process, 20) == "here"
            pids.extend(guardian.members(supervisor.environment()[guardian.MARKER]))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert len(pids) == 2
    assert all(_ended(pid) for pid in pids)
    assert not (tmp_path / "processes.pid").exists()


def _other_run(directory: Path) -> tuple["subprocess.Popen[str]", list[int]]:
    code = (
        "import sys; from pathlib import Path; from simulations.local_consortium.supervisor import Supervisor\n"
        "from simulations.local_consortium import guardian\n"
        f"with Supervisor(Path({str(directory)!r})) as s:\n"
        f"    s.wait_ready(s.start('p', {FORKING!r}), 20)\n"
        "    print(*guardian.members(s.environment()[guardian.MARKER]), flush=True)\n"
        "    print(s._guardian.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    pids = [int(pid) for pid in run.stdout.readline().split()]
    guard = int(run.stdout.readline())
    return run, [*pids, guard]


def _close(run: "subprocess.Popen[str]") -> None:
    run.wait()
    assert run.stdin is not None
    assert run.stdout is not None
    run.stdin.close()
    run.stdout.close()


def test_everything_ends_when_the_starter_is_killed(tmp_path: Path):
    run, pids = _other_run(tmp_path)
    run.kill()
    _close(run)
    assert all(_ended(pid) for pid in pids)


def test_leftovers_of_a_run_whose_guardian_was_killed_too_are_ended_at_the_next_start(tmp_path: Path):
    run, pids = _other_run(tmp_path)
    os.kill(pids[-1], signal.SIGKILL)
    run.kill()
    _close(run)
    assert not _ended(pids[0], within_s=0.3)
    with Supervisor(tmp_path):
        assert all(_ended(pid) for pid in pids)


def test_two_runs_do_not_share_a_directory(tmp_path: Path):
    with Supervisor(tmp_path), pytest.raises(PortInUseError):
        Supervisor(tmp_path).__enter__()


def test_a_process_that_ends_is_an_error_or_started_again(tmp_path: Path):
    with Supervisor(tmp_path) as supervisor:
        lasting = supervisor.start("lasting", SLEEP, restarts=1)
        lasting.pause_s = 0.2
        supervisor.wait_ready(lasting, 20)
        lasting.handle.kill()
        lasting.handle.wait()
        deadline = time.monotonic() + 10
        while not lasting.alive and time.monotonic() < deadline:
            supervisor.tend()
            time.sleep(0.05)
        assert lasting.alive
        lasting.handle.kill()
        lasting.handle.wait()
        with pytest.raises(ProcessError, match="lasting"):
            supervisor.tend()


def test_a_fixed_port_that_is_taken_is_refused():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(PortInUseError):
            free_port(wanted=holder.getsockname()[1])
    assert free_port() in range(20_000, 30_000)


def test_an_interrupt_while_processes_are_ended_is_heard_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    ended = []

    def end_all(token: str, pid_file: Path) -> int:
        signal.raise_signal(signal.SIGINT)
        ended.append((token, pid_file))
        return 0

    monkeypatch.setattr("simulations.local_consortium.guardian.end_all", end_all)
    # A shell starts what runs in the background with interrupts ignored, and Python keeps it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt), Supervisor(tmp_path / "work"):
        pass
    assert ended
