"""A process that kills itself with SIGKILL at a named point of the protocol: ``python -m simulations.review.mortal``.

The point is read from a file, the trap, when the program passes it, and the trap is removed first: a process that is
started again lives. Nothing of the program knows of it; functions are wrapped from outside.
"""

import functools
import importlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PROVIDER_POINTS", "ROTATION_POINTS", "SILO_POINTS", "Point", "main"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A place where a process dies.

    Attributes:
        owner: ``module`` or ``module:class`` whose attribute is wrapped.
        attribute: a function's name.
        after: whether the process dies when the function returns, and not when it is called.
        count: it dies the n-th time from the moment when the trap was set.
    """

    owner: str
    attribute: str
    after: bool = False
    count: int = 1

    @property
    def name(self) -> str:
        """What stands in the trap."""
        # The class, or the module where it is a function of one.
        owner = self.owner.rpartition("." if ":" not in self.owner else ":")[2]
        return f"{'after' if self.after else 'before'} {owner}.{self.attribute} #{self.count}"


def _around(owner: str, attribute: str, *counts: int) -> tuple[Point, ...]:
    return tuple(
        Point(owner=owner, attribute=attribute, after=after, count=count)
        for count in counts or (1,)
        for after in (False, True)
    )


_DESK, _STREAM, _REGISTRY = (
    "provider_server.desk:Desk",
    "provider_server.spool:Stream",
    "provider_server.registry:Registry",
)
#: In the order in which an upload of three chunks passes them.
PROVIDER_POINTS: tuple[Point, ...] = (
    *_around(_DESK, "begin"),
    *_around("provider_server.registry.uploads:Uploads", "add"),
    *_around(_DESK, "progress"),
    *_around(_DESK, "receive"),
    *_around("provider_server.registry.uploads:Uploads", "bind"),
    *_around(_STREAM, "write", 1, 2, 3),
    *_around(_STREAM, "finish"),
    *_around(_DESK, "commit"),
    *_around("provider_server.spool:SeenFiles", "of"),
    *_around("provider_server.desk", "place"),
    *_around(_REGISTRY, "accept"),
    *_around("pathlib:Path", "unlink"),
    *_around(_DESK, "review"),
)
#: Each file that a rotation of the root puts into its place.
ROTATION_POINTS: tuple[Point, ...] = _around("pathlib:Path", "replace", 1, 2, 3, 4)
_DELIVERY, _OUTBOX = "silo_client.uplink:_Delivery", "silo_client.outbox:Outbox"
SILO_POINTS: tuple[Point, ...] = (
    *_around(_OUTBOX, "put"),
    *_around("silo_client.outbox", "write_atomically", 1, 2, 3, 4, 5, 6, 7),
    *_around(_DELIVERY, "_seal"),
    *_around(_OUTBOX, "next_counter"),
    *_around("llamdex_fl.envelope.stream", "encrypt_chunk", 1, 2, 3),
    *_around("silo_client.uplink", "start_sealing"),
    *_around("llamdex_fl.envelope.sealed_file:Sealing", "finish"),
    *_around(_OUTBOX, "persist"),
    *_around(_DELIVERY, "_call", 1, 2, 3),
    *_around("llamdex_fl.wire.convert", "header_request"),
    *_around("llamdex_fl.wire.convert", "chunk_request_bytes", 1, 2, 3),
    *_around("silo_client.uplink", "verify_receipt"),
    *_around(_OUTBOX, "remember"),
    *_around(_OUTBOX, "finish"),
    *_around("pathlib:Path", "unlink", 1, 2, 3, 4),
)


def main() -> None:
    """``mortal provider|rotation TRAP ARGUMENTS...`` or ``mortal silo TRAP JOB``: run it, with the traps laid."""
    program, trap, *arguments = sys.argv[1:]
    for point in {"provider": PROVIDER_POINTS, "rotation": ROTATION_POINTS, "silo": SILO_POINTS}[program]:
        _lay(point, Path(trap))
    if program != "silo":
        from provider_server.cli import main as serve  # noqa: PLC0415 - only where it is needed

        sys.argv = ["llamdex-provider", *arguments]
        serve()
    else:
        from simulations.review.crash_cases import send  # noqa: PLC0415 - only where it is needed

        send(Path(arguments[0]))


def _lay(point: Point, trap: Path) -> None:
    module, _, name = point.owner.partition(":")
    owner: Any = importlib.import_module(module)
    owner = getattr(owner, name) if name else owner
    wrapped, passed = getattr(owner, point.attribute), 0

    def armed() -> bool:
        nonlocal passed
        try:
            wanted = trap.read_text(encoding="utf-8") == point.name
        except FileNotFoundError:
            return False
        passed += wanted
        return wanted and passed == point.count

    @functools.wraps(wrapped)
    def mortal(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - whatever is wrapped
        if not point.after and armed():
            _die(trap)
        result = wrapped(*arguments, **keywords)
        if point.after and armed():
            _die(trap)
        return result

    setattr(owner, point.attribute, mortal)


def _die(trap: Path) -> None:
    os.unlink(trap)  # noqa: PTH108 - Path.unlink is one of the points
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
