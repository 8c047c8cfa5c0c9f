"""Sealed envelopes on the silo's own disk: written once by ``Sealing``, sent as often as it takes by ``SealedFile``.

A spool file is a whole sealed envelope or does not exist. A resume sends the same bytes again and never encrypts:
two texts under one nonce would give both away. Only the head must survive a power failure, in a file of its own that
``Outbox.persist`` writes before the commit: it fetches the receipt. Chunks that are lost with the power are sealed
again for a new session, with new keys, so nothing waits until a large file has reached the disk.

::

    8 bytes   length of the head, big-endian
    head      canonical JSON: magic, upload id, DSSE statement, wrapped content key
    chunks    256 KiB + 16 bytes each, the last one shorter
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from llamdex_fl.envelope.canonical import dumps, parse
from llamdex_fl.envelope.dsse import SignedEnvelope
from llamdex_fl.envelope.refusal import RefusedError
from llamdex_fl.envelope.session import Chunk, Header
from llamdex_fl.envelope.statement import STATEMENT_LIMIT, Statement
from llamdex_fl.envelope.suite import CHUNK_SIZE, SUITE, TAG_SIZE, WRAPPED_SIZE
from llamdex_fl.errors import EnvelopeError

__all__ = ["SealedFile", "Sealing"]

_HEAD_LIMIT = 2 * STATEMENT_LIMIT + (1 << 14)
_SEALED_CHUNK = CHUNK_SIZE + TAG_SIZE


class Sealing:
    """An envelope that is being written; a chunk is sealed and written when it is about to be sent.

    In the sender's own thread: to hand each chunk from one thread to another costs more than the other end, which is
    the slower one, ever waits. ``finish`` must be called, whatever becomes of the sending; it seals the rest.
    """

    def __init__(self, spool: Path, header: Header, statement: Statement, sealed: Iterator[bytes]) -> None:
        """Begin.

        Args:
            spool: where the whole envelope goes; replaced if there is one.
            header: the stream's first message.
            statement: what its envelope says.
            sealed: the sealed chunks in order.
        """
        self.header = header
        self.statement = statement
        self._spool = spool
        self._part = spool.with_name(f".{spool.name}.{os.getpid()}.part")
        self._sealed = sealed
        head = dumps(
            {
                "magic": SUITE,
                "uploadId": header.upload_id,
                "statement": header.statement.to_document(),
                "wrapped": header.wrapped.hex(),
            }
        )
        self._head = len(head).to_bytes(8, "big") + head
        self._error: BaseException | None = None
        # gRPC takes the chunks in a thread of its own, which may be here still when the call has ended.
        self._turn = threading.Lock()
        self._finishing = False
        # A file object: a disk that is full takes less than it is given, which only this one notices.
        self._file = os.fdopen(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")

    def chunks(self) -> Iterator[Chunk]:
        """The sealed chunks, each once it is written; can be taken once. Ends early after ``finish``.

        Raises:
            EnvelopeError: sealing failed; ``finish`` says why.
        """
        for index in range(self.statement.chunk_count):
            chunk = self._next(sending=True)
            if chunk is None:
                break
            yield Chunk(index, chunk)
        if self._error is not None:
            raise _damaged_spool(self._spool, "a part of it")

    def finish(self) -> "SealedFile":
        """Seal what was not asked for, and give the whole its name.

        Raises:
            OSError: the disk did not take it; nothing is left of it.
        """
        with self._turn:
            self._finishing = True
        while self._next() is not None:
            pass
        try:
            if self._error is not None:
                raise self._error
            self._part.replace(self._spool)
        finally:
            self._part.unlink(missing_ok=True)
        return SealedFile(path=self._spool, header=self.header, statement=self.statement, offset=len(self._head))

    def _next(self, *, sending: bool = False) -> bytes | None:
        """The next chunk, written; None after the last one, where sealing has failed, or for a sender once it ends."""
        with self._turn:
            if self._file.closed or (sending and self._finishing):
                return None
            try:
                if not self._file.tell():
                    self._file.write(self._head)
                chunk = next(self._sealed, None)
                if chunk is None:
                    self._file.close()
                else:
                    self._file.write(chunk)
                    self._file.flush()
            except BaseException as error:  # noqa: BLE001 - raised again by ``finish``
                self._error = error
                with contextlib.suppress(OSError):
                    self._file.close()
                return None
            return chunk


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedFile:
    """A sealed envelope on this side's own disk, or what is left of one: ``whole`` is False where only the head is."""

    path: Path
    header: Header
    statement: Statement
    offset: int
    whole: bool = True

    @classmethod
    def open(cls, path: Path, *, whole: bool = True) -> Self:
        """Read the head of a spool file.

        Args:
            path: the file.
            whole: False for a file that holds a head and nothing else, see ``head``.

        Raises:
            EnvelopeError: it is damaged.
        """
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "big")
                # One byte over the limit is enough to be refused, whatever the length field says.
                fields = parse(file.read(min(length, _HEAD_LIMIT + 1)), limit=_HEAD_LIMIT)
                size = os.fstat(file.fileno()).st_size
            fields.constant("magic", SUITE)
            header = Header(
                upload_id=fields.hexadecimal("uploadId", size=16),
                statement=SignedEnvelope.from_document(fields.document("statement")),
                wrapped=fields.octets("wrapped", size=WRAPPED_SIZE),
            )
            fields.done()
            # Our own file: the signature is the provider's to verify, this is for sending only.
            statement = Statement.from_payload(header.statement.payload)
        except (OSError, RefusedError) as error:
            raise _damaged_spool(path, type(error).__name__) from error
        chunks = statement.plaintext_length + TAG_SIZE * statement.chunk_count if whole else 0
        if size != 8 + length + chunks:
            raise _damaged_spool(path, f"{size} bytes")
        return cls(path=path, header=header, statement=statement, offset=8 + length, whole=whole)

    def head(self) -> bytes:
        """The file's first bytes, up to its chunks."""
        with self.path.open("rb") as file:
            return file.read(self.offset)

    def chunks(self, start: int) -> Iterator[Chunk]:
        """The sealed chunks from ``start`` on."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset + start * _SEALED_CHUNK)
            for index in range(start, self.statement.chunk_count):
                yield Chunk(index, file.read(_SEALED_CHUNK))


def _damaged_spool(path: Path, got: str) -> EnvelopeError:
    return EnvelopeError(
        f"The spooled envelope {path} is damaged.",
        expected="a whole sealed envelope",
        got=got,
        next_step="remove it and make the release again",
    )
