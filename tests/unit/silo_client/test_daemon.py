"""The daemon, asked over its real socket."""

import json
import logging
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from llamdex_fl.errors import ChannelError, ConfigError, InputError, PortInUseError
from llamdex_fl.release import Offer
from llamdex_fl.rounds import Answer, offer_to_text
from silo_client.daemon import Daemon
from silo_client.daemon_protocol import MAX_FRAME, PROTOCOL, Operation, Reply, Request, ask, find_socket, socket_path
from silo_client.jobs import JobState, JobStore

OFFER = Offer(
    provider="prov-1",
    purpose="answer-questions",
    schema_digest="a" * 64,
    architecture="thermometer_linear/v1",
    base_model_digest="b" * 64,
    epsilon=1.0,
    delta=1e-5,
    challenge="c" * 64,
)
FIELDS = offer_to_text(OFFER)
FACTS = {"receipt_id": "0f" * 16, "artefact_digest": "d" * 64, "guarantee": '{"epsilon":"1.0"}'}
PRIVATE = "row 17: ssn=078-05-1120"


class Worker:
    """Does the least that a worker does, and counts."""

    def __init__(self) -> None:
        """Nothing was trained yet."""
        self.trained = 0
        self.gate = threading.Event()
        self.gate.set()
        self.fails = False

    def consider(self, offer: Offer) -> Reply:
        if self.fails:
            raise RuntimeError(PRIVATE)
        return Reply(answer=Answer.ACCEPTED if offer.epsilon <= 1 else Answer.POLICY_REFUSED)

    def train_and_upload(self, offer: Offer) -> Reply:
        assert offer
        self.trained += 1
        self.gate.wait(10)
        return Reply(answer=Answer.DONE, facts=FACTS)


class Running:
    """A daemon on its own thread."""

    def __init__(self, home: Path) -> None:
        """Not started yet."""
        home.mkdir(exist_ok=True)
        self.home = home
        self.worker = Worker()
        self.path = socket_path(home)
        log = logging.getLogger(f"test.{home}")
        self.daemon = Daemon(home=home, path=self.path, worker=self.worker, log=log)
        self.thread = threading.Thread(target=self._run)
        self.ready = threading.Event()

    def _run(self) -> None:
        self.daemon.serve(self.ready)

    def __enter__(self) -> Self:
        """Start."""
        self.thread.start()
        assert self.ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.worker.gate.set()
        self.daemon.stop()
        self.thread.join(5)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path / "home") as daemon:
        yield daemon


def _raw(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        parts = b""
        while part := connection.recv(65536):
            parts += part
        return parts


def _frame(document: object) -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return struct.pack(">I", len(body)) + body


def test_the_three_questions(running: Running):
    assert ask(running.path, Request(operation=Operation.STATUS), timeout_s=5).answer is Answer.ACCEPTED
    accepted = ask(running.path, Request(operation=Operation.OFFER, offer=FIELDS), timeout_s=5)
    assert accepted == Reply(answer=Answer.ACCEPTED)
    dear = {**FIELDS, "epsilon": "8"}
    assert (
        ask(running.path, Request(operation=Operation.OFFER, offer=dear), timeout_s=5).answer is Answer.POLICY_REFUSED
    )
    done = ask(running.path, Request(operation=Operation.TRAIN_AND_UPLOAD, offer=FIELDS), timeout_s=5)
    assert done == Reply(answer=Answer.DONE, facts=FACTS)


def test_the_socket_is_private_and_goes_with_the_daemon(tmp_path: Path):
    with Running(tmp_path / "home") as running:
        assert stat.S_IMODE(running.path.stat().st_mode) == 0o600
    assert not running.path.exists()
    with pytest.raises(ChannelError):
        ask(running.path, Request(operation=Operation.STATUS), timeout_s=1)


def test_the_same_round_joins_the_training_and_another_is_told_busy(running: Running):
    running.worker.gate.clear()
    replies: list[Reply] = []
    request = Request(operation=Operation.TRAIN_AND_UPLOAD, offer=FIELDS)
    threads = [
        threading.Thread(target=lambda: replies.append(ask(running.path, request, timeout_s=10))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while running.worker.trained == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    other = Request(operation=Operation.TRAIN_AND_UPLOAD, offer={**FIELDS, "challenge": "d" * 64})
    assert ask(running.path, other, timeout_s=5).answer is Answer.BUSY
    assert ask(running.path, Request(operation=Operation.STATUS), timeout_s=5).answer is Answer.BUSY
    time.sleep(0.2)
    running.worker.gate.set()
    for thread in threads:
        thread.join(10)
    assert replies == [Reply(answer=Answer.DONE, facts=FACTS)] * 3
    assert running.worker.trained == 1


def test_a_failing_worker_is_a_code_and_no_text(running: Running):
    running.worker.fails = True
    answer = _raw(running.path, _frame({"protocol": PROTOCOL, "operation": "offer", "offer": FIELDS}))
    assert json.loads(answer[4:]) == {"protocol": PROTOCOL, "answer": "INTERNAL", "facts": {}}
    assert b"ssn" not in answer


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"not json",
        b"\xff\xfe",
        b'{"protocol":"llamdex-silo/1","protocol":"llamdex-silo/1","operation":"status"}',
        b'{"protocol":"llamdex-silo/1","operation":"status","extra":1.5}',
        b"[" * 20_000,
        {"protocol": "llamdex-silo/2", "operation": "status"},
        {"protocol": PROTOCOL, "operation": "read_records"},
        {"protocol": PROTOCOL, "operation": ["status"]},
        {"protocol": PROTOCOL, "operation": "status", "offer": FIELDS},
        {"protocol": PROTOCOL, "operation": "offer"},
        {"protocol": PROTOCOL, "operation": "offer", "offer": {**FIELDS, "epsilon": "NaN"}},
        {"protocol": PROTOCOL, "operation": "offer", "offer": {**FIELDS, "budget": "100"}},
        {"protocol": PROTOCOL, "operation": "offer", "offer": {**FIELDS, "epsilon": "0"}},
    ],
)
def test_malformed_requests_get_one_code(running: Running, document: object):
    answer = _raw(running.path, _frame(document))
    assert json.loads(answer[4:])["answer"] == "BAD_REQUEST"


def test_an_oversized_or_truncated_frame_ends_the_connection_only(running: Running):
    assert b"BAD_REQUEST" in _raw(running.path, struct.pack(">I", MAX_FRAME + 1))
    assert b"BAD_REQUEST" in _raw(running.path, struct.pack(">I", 0xFFFFFFFF))
    assert _raw(running.path, b"\0\0") == b""
    assert _raw(running.path, struct.pack(">I", 100) + b"{") == b""
    assert ask(running.path, Request(operation=Operation.STATUS), timeout_s=5).answer is Answer.ACCEPTED


def test_too_many_callers_do_not_stop_the_daemon(running: Running):
    held = []
    for _ in range(24):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(running.path))
        held.append(connection)
    time.sleep(0.2)
    for connection in held:
        connection.close()
    time.sleep(0.2)
    assert ask(running.path, Request(operation=Operation.STATUS), timeout_s=5).answer is Answer.ACCEPTED


def test_a_second_daemon_for_the_same_home_is_refused(running: Running):
    with pytest.raises(PortInUseError):
        Running(running.home).daemon.serve()
    assert ask(running.path, Request(operation=Operation.STATUS), timeout_s=5).answer is Answer.ACCEPTED


def test_a_dead_daemons_socket_is_replaced(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(home / "silo.sock"))
    with Running(home) as running:
        assert ask(running.path, Request(operation=Operation.STATUS), timeout_s=5).answer is Answer.ACCEPTED


@pytest.mark.parametrize("name", ["records.csv", "directory", "dangling", "a" * 120])
def test_only_a_dead_socket_is_removed(tmp_path: Path, name: str):
    (tmp_path / "records.csv").write_text("private", encoding="utf-8")
    (tmp_path / "directory").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    before = sorted(tmp_path.iterdir())
    home = tmp_path / "home"
    home.mkdir()
    daemon = Daemon(home=home, path=tmp_path / name, worker=Worker(), log=logging.getLogger("test"))
    with pytest.raises(ConfigError, match="cannot listen"):
        daemon.serve()
    assert sorted(path for path in tmp_path.iterdir() if path != home) == before
    assert [path.name for path in home.iterdir()] == ["daemon.lock"]


def test_a_long_home_gets_a_short_socket_that_callers_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runtime = Path(f"/tmp/llamdex-test-{os.getpid()}")  # noqa: S108 - made private below, and short on purpose
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    home = tmp_path / ("deep-" * 20)
    with Running(home) as running:
        assert running.path.parent == runtime
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
        assert find_socket(home) == running.path
        assert ask(find_socket(home), Request(operation=Operation.STATUS), timeout_s=5).answer is Answer.ACCEPTED
    runtime.rmdir()


def test_a_job_goes_forward_only_and_is_remembered(tmp_path: Path):
    store = JobStore(tmp_path / "jobs.sqlite")
    assert store.find(OFFER) is None
    store.accept(OFFER)
    store.trained(OFFER.challenge, '{"epsilon":"1.0"}')
    store.accept(OFFER)
    job = JobStore(tmp_path / "jobs.sqlite").find(OFFER)
    assert job is not None
    assert job.state is JobState.TRAINED
    store.done(OFFER.challenge, FACTS)
    job = store.find(OFFER)
    assert job is not None
    assert job.facts == FACTS
    with pytest.raises(Exception, match="may not take"):
        store.trained(OFFER.challenge, "{}")
    assert stat.S_IMODE((tmp_path / "jobs.sqlite").stat().st_mode) == 0o600


def test_the_same_round_with_other_terms_is_refused(tmp_path: Path):
    store = JobStore(tmp_path / "jobs.sqlite")
    store.accept(OFFER)
    with pytest.raises(InputError):
        store.find(Offer(**{**{name: getattr(OFFER, name) for name in FIELDS}, "epsilon": 0.5}))
