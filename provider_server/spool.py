"""Spool files of uploads under way: the plaintext of a release so far, whole chunks only.

The file's length says which chunks are there, so a process that is killed needs no other record to go on. What is
in it was decrypted and authenticated, but not yet checked as a whole.
"""

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llamdex_fl import weights
from llamdex_fl.envelope import CHUNK_SIZE, Answer, Chunk, ChunkOpener, RefusedError, Statement

__all__ = ["Seen", "SeenFiles", "Stream", "next_index", "place"]

_WRITEBACK_CHUNKS = 32
_SEEN_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a spool file's bytes.

    Attributes:
        digest: SHA-256 (hex).
        finite: whether no four bytes in step, read as a float32, are NaN or an infinity. Of a file of weights in the
            accepted encoding that is the finiteness of its numbers: they lie in step, and neither the length field
            nor ASCII text reads as anything but finite.
    """

    digest: str
    finite: bool


class SeenFiles:
    """What was seen of spool files as their bytes came in, so that a commit need not read them again.

    It is good only while the file is the one that was written: same inode, size and time of change. Held in memory;
    after a restart, or a resumed stream, the file is read.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._known: dict[tuple[int, int, int], Seen] = {}

    def keep(self, descriptor: int, seen: Seen) -> None:
        """Remember what was seen of an open file that is complete; it may have lost its name by now."""
        if len(self._known) >= _SEEN_LIMIT:
            self._known.pop(next(iter(self._known)))
        self._known[_identity(os.fstat(descriptor))] = seen

    def of(self, path: Path) -> Seen:
        """What was kept of a file; or its digest, computed, and nothing about its numbers."""
        return self._known.pop(_identity(path.stat()), None) or Seen(weights.file_digest(path), finite=False)


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_ctime_ns


class Stream:
    """The chunks of one upload on their way to the spool; ``opener`` is None where all of them are there."""

    def __init__(
        self,
        opener: ChunkOpener | None,
        path: Path | None,
        *,
        next_index: int,
        burn: Callable[[], None],
        seen: SeenFiles | None = None,
    ) -> None:
        """Open the spool file at the first chunk that is missing."""
        self._opener = opener
        self._burn = burn
        self._seen = seen
        # Only a stream that brings the whole of it sees every byte while it is at hand.
        self._digest = hashlib.sha256() if next_index == 0 and seen is not None else None
        self._finite = True
        self.next_index = next_index
        self._file = None
        if path is not None:
            # Cut to whole chunks: a process that was killed may have left part of one.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            if next_index * CHUNK_SIZE < os.fstat(descriptor).st_size:
                os.ftruncate(descriptor, min(os.fstat(descriptor).st_size, next_index * CHUNK_SIZE))
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
            self._file.seek(0, os.SEEK_END)

    def write(self, chunk: Chunk) -> None:
        """Open one chunk and spool it; one that does not open ends the upload for good."""
        if self._opener is None or self._file is None:
            raise RefusedError(
                Answer.OUT_OF_RANGE,
                "This is not the next chunk.",
                expected="no chunk, all of them are there",
                got=f"chunk {chunk.index}",
                next_step="commit",
            )
        try:
            plaintext = self._opener.open(chunk)
        except RefusedError as error:
            if error.answer is Answer.DATA_LOSS:
                self._burn()
            raise
        if self._file.write(plaintext) != len(plaintext):
            # What a disk that is full takes is less than it was given, and no error yet.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._digest is not None:
            self._digest.update(plaintext)
            words = np.frombuffer(plaintext, "<f4", len(plaintext) // 4)
            self._finite = self._finite and bool(np.isfinite(words).all())
        self.next_index = self._opener.next_index
        if not self.next_index % _WRITEBACK_CHUNKS:
            # Starts to write, without waiting, what was put into the cache, so that the sync at the end is short.
            size = _WRITEBACK_CHUNKS * CHUNK_SIZE
            os.posix_fadvise(self._file.fileno(), self._file.tell() - size, size, os.POSIX_FADV_DONTNEED)

    def finish(self) -> int:
        """The first chunk that is not there, once the sender has nothing more to say.

        Raises:
            RefusedError: DATA_LOSS, the last chunk did not come; the upload can be resumed.
        """
        if self._opener is not None and not self._opener.complete:
            raise RefusedError(
                Answer.DATA_LOSS,
                "The stream ended before its last chunk.",
                expected="all chunks",
                got=f"{self.next_index} of them",
                next_step="ask for the upload's status and go on from there",
            )
        if self._file is not None:
            os.fsync(self._file.fileno())
            if self._digest is not None and self._seen is not None:
                self._seen.keep(self._file.fileno(), Seen(self._digest.hexdigest(), self._finite))
        return self.next_index

    def close(self) -> None:
        """Close the spool file; what is there stays for a resume."""
        if self._file is not None:
            self._file.close()
            self._file = None


def next_index(path: Path, statement: Statement) -> int:
    """The first chunk that is not in a spool file; the chunk count where all are."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    return (
        statement.chunk_count
        if size == statement.plaintext_length
        else min(size // CHUNK_SIZE, statement.chunk_count - 1)
    )


def place(spool: Path, artefact: Path) -> None:
    """Give a spool file its final name, durably; it keeps the old one until the release is entered."""
    if not artefact.exists():
        descriptor = os.open(spool, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        artefact.hardlink_to(spool)
    directory = os.open(artefact.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
