"""Between the ClientApp and a silo's daemon: a question reaches the daemon whose turn it is, in the same thread.

On its own machine a silo's daemon listens on a socket in its home for months. A thousand of them here would be a
thousand threads and sockets, and to start one for each message, or even to wake one thread, costs more than all the
rest of the harness. So what the ClientApp calls to ask (``client_app.ask``) writes its frame into a socket pair, at
whose other end the daemon's own code reads and checks it, asks the worker of the silo whose turn it is, and writes the
reply. What is not run is ``Daemon.serve``: the lock, the socket's file, the loop that accepts, and the asker's time
limit.
"""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from llamdex_fl.release import Offer
from silo_client import client_app
from silo_client.daemon import Daemon, Worker
from silo_client.daemon_protocol import Reply, Request, ask, read_reply, write_request

__all__ = ["Switchboard"]

_NOWHERE = Path("/nonexistent")


class Switchboard:
    """A context in which this process's ClientApp asks here, and nowhere else."""

    def __init__(self) -> None:
        """Nobody's turn."""
        self._daemon = Daemon(
            home=_NOWHERE, path=_NOWHERE, worker=_Nobody(), log=logging.getLogger("llamdex.switchboard")
        )

    def __enter__(self) -> Self:
        """Take the place of the socket."""
        _set(client_app, "ask", self._ask_here)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        _set(client_app, "ask", ask)
        for end in (self._daemon._woken, self._daemon._wake):  # noqa: SLF001 - they end ``serve``, which never ran
            end.close()

    @contextmanager
    def answering(self, worker: Worker, log: logging.Logger) -> Iterator[None]:
        """Within the ``with``, whoever asks is answered by the daemon of the silo with this worker and log."""
        daemon = self._daemon
        before = daemon._worker, daemon._log  # noqa: SLF001 - the silo whose turn it is
        daemon._worker, daemon._log = worker, log  # noqa: SLF001
        try:
            yield
        finally:
            daemon._worker, daemon._log = before  # noqa: SLF001

    def _ask_here(self, path: Path, request: Request, *, timeout_s: float) -> Reply:  # noqa: ARG002 - as ``ask``
        asking, answering = socket.socketpair()
        with asking:
            # Both frames are small: they fit into the pair, so neither end waits for the other.
            write_request(asking, request)
            self._daemon.converse(answering)
            return read_reply(asking)


class _Nobody:
    """The worker while it is no silo's turn: whoever asks then is told of a fault."""

    def consider(self, offer: Offer) -> Reply:
        """Nobody is there."""
        raise NotImplementedError

    def train_and_upload(self, offer: Offer) -> Reply:
        """Nobody is there."""
        raise NotImplementedError


def _set(owner: object, name: str, what: Callable[..., Reply]) -> None:
    setattr(owner, name, what)
