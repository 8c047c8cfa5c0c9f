"""A silo as the grid sees it: a home, whose real daemon listens on its socket while a message is handled.

A thousand daemons at once would need thousands of threads and files. So the daemon of a silo is started when a message
comes, and stopped when it is answered; all that a silo remembers lies on its disk, as after a restart.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
from silo_client.daemon import Daemon, open_log
from silo_client.daemon_protocol import Reply, socket_path
from silo_client.enrolment import load_identity
from silo_client.work import SiloWorker
from simulations.harness.seams import KilledError, replay_copy
from simulations.review.attacker import answer, messages

__all__ = ["Node", "Timed"]

_CALL_S = 20.0
#: For how long a silo tries an absent provider before it says so; the round asks again.
_UPLOAD_DEADLINE_S = 120.0


class Timed:
    """A worker that says how long it worked, and that can be killed like a process.

    Attributes:
        seconds: in the worker's own methods, over all silos: what a plain loop of the same work would take.
        listening_s: CPU seconds of the daemons' own threads, over all silos: what the loop would not need.
        opening_s: CPU seconds in which workers were made, over all silos: the loop needs them too.
    """

    seconds = 0.0
    listening_s = 0.0
    opening_s = 0.0

    def __init__(self, config: SiloConfig, log: logging.Logger) -> None:
        """Make the real one."""
        began, own = time.perf_counter(), time.thread_time()
        self._worker = SiloWorker(config, log, upload_deadline_s=_UPLOAD_DEADLINE_S)
        Timed.seconds += time.perf_counter() - began
        Timed.opening_s += time.thread_time() - own
        self.killed = False

    def consider(self, offer: Offer) -> Reply:
        """As the worker."""
        began = time.perf_counter()
        try:
            return self._worker.consider(offer)
        finally:
            Timed.seconds += time.perf_counter() - began

    def train_and_upload(self, offer: Offer) -> Reply:
        """As the worker; a kill leaves the caller without an answer, as a process that died does."""
        began = time.perf_counter()
        try:
            return self._worker.train_and_upload(offer)
        except KilledError:
            self.killed = True
            # A dead process answers nothing: the node throws this away.
            return Reply(answer=Answer.INTERNAL)
        finally:
            Timed.seconds += time.perf_counter() - began


class Node:
    """One silo behind the grid."""

    def __init__(self, node_id: int, silo: str, home: Path) -> None:
        """Nothing is opened yet."""
        self.node_id = node_id
        self.silo = silo
        self.home = home
        self._config: SiloConfig | None = None

    def handle(self, message: Message, run_id: int) -> Message:
        """Let the unchanged ClientApp answer a message.

        Raises:
            KilledError: the silo was killed while it worked.
        """
        context = Context(
            run_id=run_id,
            node_id=self.node_id,
            node_config={"silo-home": str(self.home)},
            state=RecordDict(),
            run_config={},
        )
        with self._serving() as worker:
            reply = app(message, context)
        if worker.killed:
            raise KilledError
        return reply

    def replay(self) -> list[str]:
        """Send the kept sealed envelope again, whole; what the provider answered, nothing if none is kept."""
        copy = replay_copy(self.home)
        if not copy.exists():
            return []
        config, answers = self._own_config(), []
        with suppress(LlamdexError), uplink.connect(load_identity(config), config) as stub:
            sealed = SealedFile.open(copy)
            digest = sealed.header.statement.digest()
            calls = (
                lambda: stub.UploadExpert(iter(messages(sealed)), timeout=_CALL_S),
                lambda: stub.CommitUpload(convert.commit_request(sealed.header.upload_id, digest, 0), timeout=_CALL_S),
            )
            answers += [answer(call) for call in calls]
        return answers

    def _own_config(self) -> SiloConfig:
        if self._config is None:
            self._config = load_silo_config(self.home)
        return self._config

    @contextmanager
    def _serving(self) -> Iterator[Timed]:
        config = self._own_config()
        log = open_log(config.home)
        worker = Timed(config, log)
        path = socket_path(config.home)
        daemon = Daemon(home=config.home, path=path, worker=worker, log=log)
        ready, failed = threading.Event(), []

        def serve() -> None:
            try:
                daemon.serve(ready)
            except Exception as error:  # noqa: BLE001 - told to the thread that waits
                failed.append(error)
                ready.set()
            Timed.listening_s += time.thread_time()

        thread = threading.Thread(target=serve, name=f"daemon-{self.silo}")
        thread.start()
        try:
            ready.wait()
            if failed:
                raise failed[0]
            yield worker
        finally:
            daemon.stop()
            thread.join()
            for handler in log.handlers:
                handler.close()
            log.handlers = []
