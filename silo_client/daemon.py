"""The silo's daemon: it holds records, keys and ledger, and answers three questions over a local socket.

What asks is not trusted: a Flower bundle that the provider's SuperLink shipped. So the socket is private (0600, or
a group's), a request is one small strictly parsed frame, and a reply is a code of ``llamdex_fl.rounds`` with at
most three facts. Everything else goes to a log on the silo's own disk.

One training at a time. The same round asked while it runs waits for the one result; another round is told BUSY.
A caller that leaves does not stop the work: the round is asked again and finds it done.
"""

import fcntl
import grp
import logging
import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Protocol

from llamdex_fl.errors import ConfigError, InputError, PortInUseError
from llamdex_fl.release import Offer
from llamdex_fl.rounds import Answer, offer_from_text
from silo_client.daemon_protocol import (
    MAX_SOCKET_PATH,
    Operation,
    Reply,
    Request,
    read_request,
    record_socket,
    write_reply,
)

__all__ = ["Daemon", "Worker", "open_log"]

#: Connections at a time; more are closed at once.
_MAX_CONNECTIONS = 16
_LOG_BYTES = 4_000_000


class Worker(Protocol):
    """What the daemon can do. Both methods answer every fault with a code and raise nothing."""

    def consider(self, offer: Offer) -> Reply:
        """Would the policy allow this offer?"""

    def train_and_upload(self, offer: Offer) -> Reply:
        """Authorise, train and send; the same round again gives the same receipt."""


class Daemon:
    """Listens on ``path`` for the silo whose directory is ``home``."""

    def __init__(
        self, *, home: Path, path: Path, worker: Worker, log: logging.Logger, group: str | None = None
    ) -> None:
        """Nothing is opened yet; see ``serve``."""
        self._home = home
        self._path = path
        self._worker = worker
        self._log = log
        self._group = group
        # A byte in this pair ends the wait for callers; a signal handler may send it.
        self._woken, self._wake = socket.socketpair()
        self._places = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._turn = threading.Lock()
        self._running: _Running | None = None

    def serve(self, ready: threading.Event | None = None) -> None:
        """Answer until ``stop``.

        Raises:
            PortInUseError: another daemon serves this home.
            ConfigError: the socket's directory or group is not usable.
        """
        with self._woken, self._wake, self._only_one(), self._listener() as listener:
            self._log.info("listening on %s", self._path)
            if ready is not None:
                ready.set()
            while self._woken not in select.select([listener, self._woken], [], [])[0]:
                connection, _ = listener.accept()
                if not self._places.acquire(blocking=False):
                    self._log.warning("more than %d connections: one was closed", _MAX_CONNECTIONS)
                    connection.close()
                    continue
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()
        self._log.info("stopped")

    def stop(self) -> None:
        """Leave ``serve`` soon. A training that runs is cut off; its round goes on when it is asked again."""
        # It may have left already.
        with suppress(OSError):
            self._wake.send(b"\0")

    def converse(self, connection: socket.socket) -> None:
        """Answer the one request of a connection, and close it; whatever goes wrong stands in the log."""
        try:
            with connection:
                try:
                    request = read_request(connection)
                except InputError as error:
                    self._log.warning("bad request: %s", error)
                    write_reply(connection, Reply(answer=Answer.BAD_REQUEST))
                    return
                write_reply(connection, self._answer(request))
        except (OSError, EOFError) as error:
            self._log.info("a caller left: %s", type(error).__name__)
        except Exception:  # noqa: BLE001 - one caller must not end the daemon; the log has the trace
            self._log.exception("a connection failed")

    def _converse(self, connection: socket.socket) -> None:
        try:
            self.converse(connection)
        finally:
            self._places.release()

    def _answer(self, request: Request) -> Reply:
        try:
            if request.operation is Operation.STATUS or request.offer is None:
                return Reply(answer=Answer.BUSY if self._running else Answer.ACCEPTED)
            offer = offer_from_text(request.offer)
            if request.operation is Operation.OFFER:
                return self._worker.consider(offer)
            return self._train(offer)
        except InputError as error:
            self._log.warning("bad offer: %s", error)
            return Reply(answer=Answer.BAD_REQUEST)
        except Exception:  # noqa: BLE001 - a caller gets a code and nothing else; the log has the trace
            self._log.exception("the worker failed")
            return Reply(answer=Answer.INTERNAL)

    def _train(self, offer: Offer) -> Reply:
        with self._turn:
            running = self._running
            if running is None:
                mine = self._running = _Running(offer)
        if running is None:
            try:
                mine.reply = self._worker.train_and_upload(offer)
            finally:
                with self._turn:
                    self._running = None
                mine.finished.set()
            return mine.reply
        if running.offer != offer:
            return Reply(answer=Answer.BUSY)
        running.finished.wait()
        return running.reply

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        lock = self._home / "daemon.lock"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PortInUseError(
                    f"Another daemon serves {self._home}.",
                    expected="a free directory",
                    got=f"a lock on {lock}",
                    next_step="use the daemon that runs, or stop it first",
                ) from error
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _listener(self) -> Iterator[socket.socket]:
        self._clear_place()
        record_socket(self._home, self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        except OSError as error:
            listener.close()
            raise self._no_socket(error.strerror or type(error).__name__) from error
        finally:
            os.umask(before)
        try:
            self._open_to_group()
            listener.listen(_MAX_CONNECTIONS)
            yield listener
        finally:
            listener.close()
            self._path.unlink(missing_ok=True)

    def _clear_place(self) -> None:
        """The lock is ours, so a socket that is still there is a dead daemon's; any other file is somebody's."""
        if len(os.fsencode(self._path)) > MAX_SOCKET_PATH:
            raise self._no_socket(f"a path of more than {MAX_SOCKET_PATH} bytes")
        if self._path.is_socket():
            self._path.unlink()
        elif os.path.lexists(self._path):
            raise self._no_socket("a file that is no socket")

    def _no_socket(self, got: str) -> ConfigError:
        return ConfigError(
            f"The daemon cannot listen on {self._path}.",
            expected="a short path in a directory of this user, with nothing there but an old socket",
            got=got,
            next_step="name another path with --socket",
        )

    def _open_to_group(self) -> None:
        if self._group is None:
            return
        try:
            os.chown(self._path, -1, grp.getgrnam(self._group).gr_gid)
        except (KeyError, PermissionError) as error:
            raise ConfigError(
                "The socket cannot be given to this group.",
                expected="a group that exists and that this user is in",
                got=self._group,
                next_step="name another group, or none",
            ) from error
        self._path.chmod(0o660)


class _Running:
    """The training that runs now."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.finished = threading.Event()
        self.reply = Reply(answer=Answer.INTERNAL)


def open_log(home: Path) -> logging.Logger:
    """The silo's own log, ``HOME/daemon.log``, readable by this user alone."""
    path = home / "daemon.log"
    path.touch(mode=0o600)
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger(f"llamdex.silo.{home.name}")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [handler]
    return log
