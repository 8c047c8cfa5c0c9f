"""A silo as the grid sees it: a home, whose daemon answers while a message for it is handled.

A thousand daemons at once would need thousands of threads and files. So a silo's daemon converses behind the
switchboard when a message comes, and what it keeps open is closed when it has answered; all that a silo remembers lies
on its disk.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flwr.app import Context, Message, RecordDict

from llamdex_fl.envelope import SealedFile
from llamdex_fl.errors import LlamdexError
from llamdex_fl.release import Offer
from llamdex_fl.rounds import Answer
from llamdex_fl.wire import convert
from silo_client import uplink
from silo_client.client_app import app
from silo_client.config import SiloConfig, load_silo_config
from silo_client.daemon import Worker, open_log
from silo_client.daemon_protocol import Reply
from silo_client.enrolment import load_identity
from silo_client.work import SiloWorker
from simulations.harness.seams import KilledError, replay_copy
from simulations.harness.switchboard import Switchboard
from simulations.review.attacker import answer, messages

__all__ = ["Node", "Timed", "close_log", "new_worker"]

_CALL_S = 20.0
#: For how long a silo tries an absent provider before it says so; the round asks again.
_UPLOAD_DEADLINE_S = 120.0

Maker = Callable[[SiloConfig, logging.Logger], Worker]


def new_worker(config: SiloConfig, log: logging.Logger) -> Worker:
    """The real one of a silo."""
    return SiloWorker(config, log, upload_deadline_s=_UPLOAD_DEADLINE_S)


def close_log(log: logging.Logger) -> None:
    """Close a silo's log file; whoever writes the next line opens it again."""
    for handler in log.handlers:
        handler.close()


class Timed:
    """A worker that says how long it worked, and that can be killed like a process.

    Attributes:
        seconds: in the worker's own methods, over all silos: what a plain loop of the same work would take.
        cpu_s: CPU seconds of the threads that called them, in there and in opening what a silo keeps open.
    """

    seconds = 0.0
    cpu_s = 0.0

    def __init__(self, worker: Worker) -> None:
        """Around the real one."""
        self._worker = worker
        self.killed = False

    def consider(self, offer: Offer) -> Reply:
        """As the worker."""
        began, own = time.perf_counter(), time.thread_time()
        try:
            return self._worker.consider(offer)
        finally:
            Timed.seconds += time.perf_counter() - began
            Timed.cpu_s += time.thread_time() - own

    def train_and_upload(self, offer: Offer) -> Reply:
        """As the worker; a kill leaves the caller without an answer, as a process that died does."""
        began, own = time.perf_counter(), time.thread_time()
        try:
            return self._worker.train_and_upload(offer)
        except KilledError:
            self.killed = True
            # A dead process answers nothing: the node throws this away.
            return Reply(answer=Answer.INTERNAL)
        finally:
            Timed.seconds += time.perf_counter() - began
            Timed.cpu_s += time.thread_time() - own


class Node:
    """One silo behind the grid.

    Args:
        node_id: Flower's.
        silo: its id.
        home: its directory.
        switchboard: behind which its daemon converses.
        worker: makes its worker, when the first message comes.
    """

    def __init__(
        self, node_id: int, silo: str, home: Path, switchboard: Switchboard, worker: Maker = new_worker
    ) -> None:
        """Nothing is opened yet."""
        self.node_id = node_id
        self.silo = silo
        self.home = home
        self._switchboard = switchboard
        self._maker = worker
        self._opened: tuple[SiloConfig, logging.Logger, Worker] | None = None
        # Never opened: see Switchboard.
        self._node_config = {"silo-socket": str(home / "silo.sock")}

    def handle(self, message: Message, run_id: int) -> Message:
        """Let the unchanged ClientApp answer a message.

        Raises:
            KilledError: the silo was killed while it worked.
        """
        context = Context(
            run_id=run_id, node_id=self.node_id, node_config=self._node_config, state=RecordDict(), run_config={}
        )
        _, log, worker = self._open()
        timed = Timed(worker)
        try:
            with self._switchboard.answering(timed, log):
                reply = app(message, context)
        finally:
            close_log(log)
        if timed.killed:
            # Who comes back begins with what is on the disk.
            self._opened = None
            raise KilledError
        return reply

    def replay(self) -> list[str]:
        """Send the kept sealed envelope again, whole; what the provider answered, nothing if none is kept."""
        copy = replay_copy(self.home)
        if not copy.exists():
            return []
        (config, _, _), answers = self._open(), []
        with suppress(LlamdexError), uplink.connect(load_identity(config), config) as stub:
            sealed = SealedFile.open(copy)
            digest = sealed.header.statement.digest()
            calls = (
                lambda: stub.UploadExpert(iter(messages(sealed)), timeout=_CALL_S),
                lambda: stub.CommitUpload(convert.commit_request(sealed.header.upload_id, digest, 0), timeout=_CALL_S),
            )
            answers += [answer(call) for call in calls]
        return answers

    def _open(self) -> tuple[SiloConfig, logging.Logger, Worker]:
        if self._opened is None:
            began = time.thread_time()
            config = load_silo_config(self.home)
            log = open_log(config.home)
            self._opened = config, log, self._maker(config, log)
            Timed.cpu_s += time.thread_time() - began
        return self._opened
