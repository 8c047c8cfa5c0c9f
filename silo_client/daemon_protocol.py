"""How a local process asks the silo's daemon: one request and one reply a connection, over a unix socket.

A frame is four bytes of length, big-endian, then that many bytes of UTF-8 JSON: one object, no duplicate key, no
number that is not an integer. A request is ``{"protocol", "operation", "offer"}`` (``status`` has no offer), a
reply ``{"protocol", "answer", "facts"}``. Whatever else arrives ends the connection.

This module is all that the Flower bundle shares with the daemon, so it is small and imports no trainer.
"""

import json
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

from llamdex_fl.errors import ChannelError, ConfigError, InputError
from llamdex_fl.rounds import Answer, check_facts, check_offer

__all__ = [
    "PROTOCOL",
    "Operation",
    "Reply",
    "Request",
    "ask",
    "find_socket",
    "read_reply",
    "read_request",
    "socket_path",
    "write_reply",
    "write_request",
]

PROTOCOL = "llamdex-silo/1"
#: Bytes; an offer has about 600, a guarantee at most 8192.
MAX_FRAME = 32_768
#: Seconds that a whole frame may take to arrive, so that a stalled caller holds no place.
FRAME_TIMEOUT_S = 10.0
#: Bytes of a unix socket's address (sun_path on Linux has 108 with the final zero, on macOS 104).
MAX_SOCKET_PATH = 100
#: File in the home that names the socket where the home's own path is too long for one.
_POINTER = "silo.sock.path"


class Operation(StrEnum):
    """What a daemon can be asked. A word may be added; none may change its meaning."""

    STATUS = "status"
    OFFER = "offer"
    TRAIN_AND_UPLOAD = "train_and_upload"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A question to the daemon; ``offer``, its fields as texts, is None for ``status`` only."""

    operation: Operation
    offer: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """The daemon's answer; ``facts`` is empty unless ``answer`` is DONE."""

    answer: Answer
    facts: Mapping[str, str] = field(default_factory=dict)


def ask(path: Path, request: Request, *, timeout_s: float) -> Reply:
    """Ask the daemon behind the socket ``path`` and wait for its reply.

    Raises:
        ChannelError: nobody answers, the answer does not come in time, or it is not well formed.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            write_request(connection, request)
            return read_reply(connection)
    except (OSError, EOFError, InputError) as error:
        raise ChannelError(
            "The silo's daemon does not answer.",
            expected="a reply on the daemon's socket",
            got=type(error).__name__,
            next_step="start it: llamdex-silo serve HOME",
        ) from error


def write_request(connection: socket.socket, request: Request) -> None:
    """Send the one request of a connection."""
    document: dict[str, Any] = {"protocol": PROTOCOL, "operation": request.operation.value}
    if request.offer is not None:
        document["offer"] = dict(request.offer)
    _send(connection, document)


def read_reply(connection: socket.socket) -> Reply:
    """Read the one reply of a connection.

    Raises:
        InputError: it is not well formed.
        OSError: it did not come in time, or the daemon left.
        EOFError: the daemon left in the middle of it.
    """
    return _parse_reply(_receive(connection))


def read_request(connection: socket.socket) -> Request:
    """Read the one request of a connection.

    Raises:
        InputError: it is not well formed.
        OSError: it did not come in time, or the caller left.
        EOFError: the caller left in the middle of it.
    """
    connection.settimeout(FRAME_TIMEOUT_S)
    document = _receive(connection)
    operation = document.get("operation")
    if operation not in list(Operation):
        raise _malformed("a known operation")
    wanted = {"protocol", "operation"} if operation == Operation.STATUS else {"protocol", "operation", "offer"}
    if set(document) != wanted or document["protocol"] != PROTOCOL:
        raise _malformed(f"the keys {', '.join(sorted(wanted))} and the protocol {PROTOCOL}")
    if operation == Operation.STATUS:
        return Request(operation=Operation.STATUS)
    if not isinstance(document["offer"], dict):
        raise _malformed("an offer")
    return Request(operation=Operation(operation), offer=check_offer(document["offer"]))


def write_reply(connection: socket.socket, reply: Reply) -> None:
    """Send the one reply of a connection."""
    connection.settimeout(FRAME_TIMEOUT_S)
    _send(connection, {"protocol": PROTOCOL, "answer": reply.answer.value, "facts": dict(reply.facts)})


def socket_path(home: Path) -> Path:
    """Where the daemon of ``home`` listens: in the home, or in the user's runtime directory when that is too long."""
    inside = home / "silo.sock"
    if len(os.fsencode(inside)) <= MAX_SOCKET_PATH:
        return inside
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and len(os.fsencode(runtime)) < MAX_SOCKET_PATH // 2:
        base = Path(runtime)
    else:
        base = Path(tempfile.gettempdir()) / f"llamdex-{os.getuid()}"
    return base / f"silo-{sha256(os.fsencode(home)).hexdigest()[:16]}.sock"


def find_socket(home: Path) -> Path:
    """The socket of a daemon that serves ``home``, as a caller finds it.

    Raises:
        ConfigError: the home names a socket that is not the daemon's to name.
    """
    pointer = home / _POINTER
    try:
        named = Path(pointer.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return home / "silo.sock"
    if not named.is_absolute():
        raise ConfigError(
            f"{pointer} does not name a socket.",
            expected="an absolute path",
            got="something else",
            next_step="start the daemon again: it writes the file",
        )
    return named


def record_socket(home: Path, path: Path) -> None:
    """Leave word in ``home`` of a socket that lies elsewhere, and remove an old word of one."""
    pointer = home / _POINTER
    if path.parent == home:
        pointer.unlink(missing_ok=True)
        return
    private_directory(path.parent)
    pointer.write_text(f"{path}\n", encoding="utf-8")


def private_directory(directory: Path) -> None:
    """Make ``directory`` for this user alone.

    Raises:
        ConfigError: it is there and belongs to somebody else, or others may write in it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ConfigError(
            f"{directory} is not a private directory.",
            expected="a directory of this user that nobody else may write in",
            got=f"mode {stat.S_IMODE(found.st_mode):o}, owner {found.st_uid}",
            next_step="remove it, or set XDG_RUNTIME_DIR to a private directory",
        )


def _send(connection: socket.socket, document: Mapping[str, Any]) -> None:
    body = json.dumps(document, sort_keys=True, allow_nan=False).encode()
    connection.sendall(struct.pack(">I", len(body)) + body)


def _receive(connection: socket.socket) -> dict[str, Any]:
    (length,) = struct.unpack(">I", _exactly(connection, 4))
    if not 2 <= length <= MAX_FRAME:  # noqa: PLR2004 - an empty object has two bytes
        raise _malformed(f"a frame of 2 to {MAX_FRAME} bytes")
    try:
        document = json.loads(
            _exactly(connection, length).decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise _malformed("UTF-8 JSON") from error
    if not isinstance(document, dict):
        raise _malformed("a JSON object")
    return document


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = connection.recv(count)
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _parse_reply(document: Mapping[str, Any]) -> Reply:
    if set(document) != {"protocol", "answer", "facts"} or document["protocol"] != PROTOCOL:
        raise _malformed("the keys answer, facts, protocol")
    if document["answer"] not in list(Answer) or not isinstance(document["facts"], dict):
        raise _malformed("a known answer and its facts")
    answer = Answer(document["answer"])
    if answer is Answer.DONE:
        return Reply(answer=answer, facts=check_facts(document["facts"]))
    if document["facts"]:
        raise _malformed("no facts beside a refusal")
    return Reply(answer=answer)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise _malformed("each key once")
    return document


def _refuse_number(_text: str) -> NoReturn:
    raise _malformed("no number but integers")


def _malformed(expected: str) -> InputError:
    return InputError(
        "This frame is not well formed.",
        expected=expected,
        got="something else",
        next_step="use the same version of Llamdex FL at both ends",
    )
