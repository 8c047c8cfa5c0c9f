"""Seal and open: round trips, tampering with every part, resume, damaged spool files."""

import errno
import hashlib
import io
import os
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from llamdex_fl.envelope import (
    CHUNK_SIZE,
    Answer,
    Chunk,
    ChunkOpener,
    RecipientKey,
    RefusedError,
    SealedFile,
    seal,
    start_sealing,
    verify_statement,
)
from llamdex_fl.errors import EnvelopeError


def opener(sealed: SealedFile, world: SimpleNamespace, start: int = 0) -> ChunkOpener:
    statement = verify_statement(sealed.header.statement, world.silo.public)
    return ChunkOpener(statement, sealed.header, world.recipient, next_index=start)


def test_round_trip(sealed: SealedFile, world: SimpleNamespace, plaintext: bytes):
    opened = opener(sealed, world)
    assert b"".join(opened.open(chunk) for chunk in sealed.chunks(0)) == plaintext
    assert opened.complete
    assert sealed.statement.artefact_digest == hashlib.sha256(plaintext).hexdigest()
    assert sealed.statement.chunk_count == 3


@pytest.mark.parametrize("length", [1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE])
def test_sizes_around_a_chunk(length: int, world: SimpleNamespace, tmp_path: Path):
    text = b"x" * length
    sealed = seal(io.BytesIO(text), tmp_path / "a", world.order, signer=world.silo, recipient=world.recipient.public)
    opened = opener(sealed, world)
    assert b"".join(opened.open(chunk) for chunk in sealed.chunks(0)) == text
    assert opened.complete
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_resume_sends_the_same_bytes(sealed: SealedFile, world: SimpleNamespace, plaintext: bytes):
    assert list(sealed.chunks(1)) == list(SealedFile.open(sealed.path).chunks(0))[1:]
    opened = opener(sealed, world, start=2)
    assert b"".join(opened.open(chunk) for chunk in sealed.chunks(2)) == plaintext[2 * CHUNK_SIZE :]


def test_chunks_are_sealed_when_they_are_asked_for(world: SimpleNamespace, plaintext: bytes, tmp_path: Path):
    source, path = io.BytesIO(plaintext), tmp_path / "a"
    sealing = start_sealing(source, path, world.order, signer=world.silo, recipient=world.recipient.public)
    chunks = sealing.chunks()
    first = next(chunks)
    (part,) = tmp_path.iterdir()
    # What was given is written, so that a resume has it.
    assert part.read_bytes().endswith(first.ciphertext)
    assert not path.exists()
    sealed = sealing.finish()
    assert (sealed.header, sealed.statement) == (sealing.header, sealing.statement)
    assert sealed == SealedFile.open(path)
    assert next(sealed.chunks(0)) == first
    # gRPC may ask once more after the call has ended.
    assert list(chunks) == []
    assert list(tmp_path.iterdir()) == [path]
    assert source.closed


def test_a_sender_and_finish_share_the_chunks(world: SimpleNamespace, tmp_path: Path):
    text = os.urandom(40 * CHUNK_SIZE + 5)
    sealing = start_sealing(
        io.BytesIO(text), tmp_path / "a", world.order, signer=world.silo, recipient=world.recipient.public
    )
    got: list[Chunk] = []
    sender = threading.Thread(target=lambda: got.extend(sealing.chunks()))
    sender.start()
    sealed = sealing.finish()
    sender.join(30)
    opened = opener(sealed, world)
    assert b"".join(opened.open(chunk) for chunk in sealed.chunks(0)) == text
    assert got == list(sealed.chunks(0))[: len(got)]


def test_sealing_that_fails_leaves_nothing(world: SimpleNamespace, tmp_path: Path):
    class Torn(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > CHUNK_SIZE:
                raise OSError(errno.EIO, "torn")
            return super().read(size)

    source = Torn(bytes(4 * CHUNK_SIZE))
    sealing = start_sealing(source, tmp_path / "a", world.order, signer=world.silo, recipient=world.recipient.public)
    with pytest.raises(EnvelopeError):
        list(sealing.chunks())
    with pytest.raises(OSError, match="torn"):
        sealing.finish()
    assert list(tmp_path.iterdir()) == []


def test_sealing_twice_never_uses_a_key_twice(world: SimpleNamespace, tmp_path: Path):
    one, two = (
        seal(io.BytesIO(b"x" * 99), tmp_path / name, world.order, signer=world.silo, recipient=world.recipient.public)
        for name in "ab"
    )
    assert one.header.wrapped != two.header.wrapped
    assert next(one.chunks(0)).ciphertext != next(two.chunks(0)).ciphertext


@pytest.mark.parametrize("place", [0, 1, CHUNK_SIZE // 2, -17, -16, -1])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_flipped_bit(index: int, place: int, sealed: SealedFile, world: SimpleNamespace):
    chunks = list(sealed.chunks(0))
    opened = opener(sealed, world, start=index)
    data = bytearray(chunks[index].ciphertext)
    data[place if place < len(data) else 0] ^= 0x10
    with pytest.raises(RefusedError) as caught:
        opened.open(Chunk(index, bytes(data)))
    assert caught.value.answer is Answer.DATA_LOSS


def test_order_of_chunks(sealed: SealedFile, world: SimpleNamespace):
    chunks = list(sealed.chunks(0))
    for sequence in ([1], [0, 2], [0, 0], [0, 1, 2, 3], [0, 1, 2, 2], [0, 1, 2, 0]):
        opened = opener(sealed, world)
        for index in sequence[:-1]:
            opened.open(chunks[index])
        with pytest.raises(RefusedError) as caught:
            opened.open(Chunk(sequence[-1], chunks[min(sequence[-1], 2)].ciphertext))
        assert caught.value.answer is Answer.OUT_OF_RANGE


def test_a_chunk_under_another_index(sealed: SealedFile, world: SimpleNamespace):
    chunks = list(sealed.chunks(0))
    with pytest.raises(RefusedError) as caught:
        opener(sealed, world).open(Chunk(0, chunks[1].ciphertext))
    assert caught.value.answer is Answer.DATA_LOSS


def test_parts_of_another_upload_all_read_the_same(
    sealed: SealedFile, world: SimpleNamespace, plaintext: bytes, tmp_path: Path
):
    other = seal(
        io.BytesIO(plaintext), tmp_path / "b", world.order, signer=world.silo, recipient=world.recipient.public
    )
    statement = verify_statement(sealed.header.statement, world.silo.public)
    chunk = next(other.chunks(0))
    texts = set()
    for action in (
        lambda: opener(sealed, world).open(chunk),
        lambda: ChunkOpener(
            statement, replace(sealed.header, wrapped=other.header.wrapped), world.recipient, next_index=0
        ),
        lambda: ChunkOpener(statement, sealed.header, RecipientKey.generate(), next_index=0),
        lambda: ChunkOpener(replace(statement, challenge="00" * 32), sealed.header, world.recipient, next_index=0),
        lambda: ChunkOpener(replace(statement, silo="b"), sealed.header, world.recipient, next_index=0),
        lambda: opener(sealed, world).open(replace(chunk, ciphertext=chunk.ciphertext[:-1])),
        lambda: opener(sealed, world).open(replace(chunk, ciphertext=b"")),
    ):
        with pytest.raises(RefusedError) as caught:
            action()
        assert caught.value.answer is Answer.DATA_LOSS
        texts.add(str(caught.value))
    assert len(texts) == 1


def test_a_session_that_cannot_be_used(world: SimpleNamespace, tmp_path: Path):
    for session in (
        replace(world.session, suite="LDX2"),
        replace(world.session, recipient_keyid="00" * 32),
        replace(world.session, expires_at=world.now - timedelta(seconds=1)),
    ):
        with pytest.raises(RefusedError) as caught:
            seal(
                io.BytesIO(b"x"),
                tmp_path / "a",
                replace(world.order, session=session),
                signer=world.silo,
                recipient=world.recipient.public,
            )
        assert caught.value.answer is Answer.FAILED_PRECONDITION


def test_damaged_spool_files(sealed: SealedFile, tmp_path: Path):
    good = sealed.path.read_bytes()
    for name, data in {
        "empty": b"",
        "short": good[:100],
        "cut": good[:-1],
        "long": good + b"x",
        "length": b"\xff" * 8 + good[8:],
        "head": good[:20] + b"\0" + good[21:],
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(EnvelopeError):
            SealedFile.open(path)
    with pytest.raises(EnvelopeError):
        SealedFile.open(tmp_path / "missing")


def test_no_secret_in_a_repr(world: SimpleNamespace):
    assert repr(world.recipient) == f"RecipientKey({world.recipient.public.keyid})"


def test_the_head_alone(sealed: SealedFile, tmp_path: Path):
    path = tmp_path / "head"
    path.write_bytes(sealed.head())
    head = SealedFile.open(path, whole=False)
    assert (head.header, head.statement, head.whole) == (sealed.header, sealed.statement, False)
    for wrong, whole in ((path, True), (sealed.path, False)):
        with pytest.raises(EnvelopeError):
            SealedFile.open(wrong, whole=whole)


def test_a_session_ends_at_its_second(world: SimpleNamespace, tmp_path: Path):
    session = replace(world.session, expires_at=world.now)
    order = replace(world.order, session=session)
    with pytest.raises(RefusedError) as caught:
        seal(io.BytesIO(b"x"), tmp_path / "a", order, signer=world.silo, recipient=world.recipient.public)
    assert caught.value.answer is Answer.FAILED_PRECONDITION
    assert list(tmp_path.iterdir()) == []
