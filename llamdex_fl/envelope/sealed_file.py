"""Sealed envelopes on the silo's own disk: written once by ``Sealing``, sent as often as it takes by ``SealedFile``.

A spool file is a whole sealed envelope or does not exist. A resume sends the same bytes again and never encrypts:
two texts under one nonce would give both away.

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
from typing import BinaryIO, Self

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
_WRITEBACK_CHUNKS = 32


class Sealing:
    """An envelope that is being written; its first chunks can be sent while the last ones are sealed.

    A thread seals and writes, as fast as it can and whatever becomes of the sending. ``finish`` must be called.
    """

    def __init__(self, spool: Path, header: Header, statement: Statement, sealed: Iterator[bytes]) -> None:
        """Begin.

        Args:
            spool: where the whole envelope goes; replaced if there is one.
            header: the stream's first message.
            statement: what its envelope says.
            sealed: the sealed chunks in order; taken by the thread.
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
        self._written = 0
        self._error: BaseException | None = None
        self._told = threading.Condition()
        # A file object: a disk that is full takes less than it is given, which only this one notices.
        self._file = os.fdopen(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        self._thread = threading.Thread(target=self._run, name="sealing", daemon=True)
        self._thread.start()

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The sealed chunks from ``start`` on, each as soon as it is written.

        Raises:
            EnvelopeError: sealing failed; ``finish`` says why.
        """
        with self._open() as file:
            for index in range(start, self.statement.chunk_count):
                with self._told:
                    self._told.wait_for(lambda index=index: self._error or self._written > index)  # type: ignore[misc]
                if self._written <= index:
                    raise _damaged_spool(self._spool, "a part of it")
                offset = len(self._head) + index * _SEALED_CHUNK
                yield Chunk(index, os.pread(file.fileno(), _SEALED_CHUNK, offset))

    def _open(self) -> BinaryIO:
        """The file, under whichever of its two names it has now."""
        for path in (self._part, self._spool):
            with contextlib.suppress(FileNotFoundError):
                return path.open("rb", buffering=0)
        raise _damaged_spool(self._spool, "nothing")

    def finish(self) -> "SealedFile":
        """Wait until the whole is written, and give it its name; see ``SealedFile.persist`` for the disk.

        Until the commit nothing is lost if the power fails: a file that did not reach the disk is sealed again, with
        new keys, for a new session.

        Raises:
            OSError: the disk did not take it; nothing is left of it.
        """
        self._thread.join()
        try:
            if self._error is not None:
                raise self._error
            self._part.replace(self._spool)
        finally:
            self._part.unlink(missing_ok=True)
        return SealedFile.open(self._spool)

    def _run(self) -> None:
        try:
            with self._file as file:
                file.write(self._head)
                for number, chunk in enumerate(self._sealed, 1):
                    file.write(chunk)
                    file.flush()
                    if not number % _WRITEBACK_CHUNKS:
                        # Starts to write, without waiting, so that ``persist`` is short.
                        size = _WRITEBACK_CHUNKS * _SEALED_CHUNK
                        os.posix_fadvise(file.fileno(), file.tell() - size, size, os.POSIX_FADV_DONTNEED)
                    with self._told:
                        self._written = number
                        self._told.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised again by ``finish``
            with self._told:
                self._error = error
                self._told.notify_all()


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedFile:
    """A sealed envelope on this side's own disk."""

    path: Path
    header: Header
    statement: Statement
    offset: int

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the head of a spool file.

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
        if size != 8 + length + statement.plaintext_length + TAG_SIZE * statement.chunk_count:
            raise _damaged_spool(path, f"{size} bytes")
        return cls(path=path, header=header, statement=statement, offset=8 + length)

    def persist(self) -> None:
        """Wait until the file is on the disk; before the commit, since only these bytes fetch its receipt again."""
        for path, flags in ((self.path, os.O_RDONLY), (self.path.parent, os.O_RDONLY | os.O_DIRECTORY)):
            descriptor = os.open(path, flags)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

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
