"""Seal a release once into a spool file; send that file as often as it takes; open it chunk by chunk.

A spool file is a whole sealed envelope or does not exist. A resume sends the same bytes again and never encrypts:
two texts under one nonce would give both away.

::

    8 bytes   length of the head, big-endian
    head      canonical JSON: magic, upload id, DSSE statement, wrapped content key
    chunks    256 KiB + 16 bytes each, the last one shorter
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Self

from llamdex_fl.envelope.canonical import dumps, parse
from llamdex_fl.envelope.dsse import SignedEnvelope, sign
from llamdex_fl.envelope.refusal import Answer, RefusedError, damaged
from llamdex_fl.envelope.session import Chunk, Header, Session
from llamdex_fl.envelope.signing import SigningKey, VerifyKey
from llamdex_fl.envelope.statement import STATEMENT_LIMIT, STATEMENT_TYPE, Statement
from llamdex_fl.envelope.stream import chunk_count, decrypt_chunk, stream_seal
from llamdex_fl.envelope.suite import (
    CHUNK_SIZE,
    CONTENT_KEY_SIZE,
    SUITE,
    TAG_SIZE,
    WRAPPED_SIZE,
    KeyContext,
    RecipientKey,
    RecipientPublicKey,
    stream_cipher,
)
from llamdex_fl.errors import EnvelopeError
from llamdex_fl.privacy.guarantee import Guarantee
from llamdex_fl.release import Offer

__all__ = ["ChunkOpener", "SealOrder", "SealedFile", "seal", "verify_statement"]

_HEAD_LIMIT = 2 * STATEMENT_LIMIT + (1 << 14)
_COPY = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SealOrder:
    """What a statement says besides what follows from the bytes."""

    silo: str
    session: Session
    offer: Offer
    guarantee: Guarantee
    counter: int
    now: datetime


def seal(
    source: BinaryIO, spool: Path, order: SealOrder, *, signer: SigningKey, recipient: RecipientPublicKey
) -> "SealedFile":
    """Seal the safetensors bytes of ``source`` into the file ``spool``, whole or not at all.

    Args:
        source: seekable; it is read twice.
        spool: where the sealed envelope goes; replaced if there is one.
        order: what the statement says.
        signer: the silo's key.
        recipient: the provider's key, from the signed keyring and not from the session.

    Raises:
        RefusedError: the session speaks another suite or names another key, or is over; or the order does not make
            a statement that the provider would read.
    """
    _check_session(order, recipient)
    artefact, length = _digest(source)
    content_key = os.urandom(CONTENT_KEY_SIZE)
    context = KeyContext(
        silo=order.silo,
        provider=order.offer.provider,
        recipient_keyid=recipient.keyid,
        upload_id=order.session.upload_id,
        challenge=order.session.challenge,
        purpose=order.offer.purpose,
        schema_digest=order.offer.schema_digest,
    )
    wrapped = recipient.wrap(content_key, context)
    statement = Statement(
        silo=order.silo,
        provider=order.offer.provider,
        recipient_keyid=recipient.keyid,
        upload_id=order.session.upload_id,
        challenge=order.session.challenge,
        round_challenge=order.offer.challenge,
        purpose=order.offer.purpose,
        schema_digest=order.offer.schema_digest,
        architecture=order.offer.architecture,
        base_model_digest=order.offer.base_model_digest,
        artefact_digest=artefact,
        wrapped_digest=hashlib.sha256(wrapped).hexdigest(),
        plaintext_length=length,
        chunk_size=CHUNK_SIZE,
        chunk_count=chunk_count(length, CHUNK_SIZE),
        counter=order.counter,
        issued_at=order.now,
        expires_at=order.session.expires_at,
        guarantee=order.guarantee,
    )
    # Read as the provider will read it, so that what would be refused is never signed or written.
    Statement.from_payload(statement.to_payload())
    envelope = sign(STATEMENT_TYPE, statement.to_payload(), signer)
    head = dumps(
        {
            "magic": SUITE,
            "uploadId": order.session.upload_id,
            "statement": envelope.to_document(),
            "wrapped": wrapped.hex(),
        }
    )
    chunks = stream_seal(
        lambda key: stream_cipher(key, envelope.digest()), content_key, CHUNK_SIZE, envelope.digest(), source
    )
    _write(spool, head, chunks)
    return SealedFile.open(spool)


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
        sealed = CHUNK_SIZE + TAG_SIZE
        with self.path.open("rb") as file:
            file.seek(self.offset + start * sealed)
            for index in range(start, self.statement.chunk_count):
                yield Chunk(index, file.read(sealed))


class ChunkOpener:
    """Opens the chunks of one envelope in order; the content key lives in this object only.

    Args:
        statement: verified, see ``verify_statement``.
        header: the stream's first message.
        key: the provider's, of the id that the statement names.
        next_index: the first chunk that is not there yet.

    Raises:
        RefusedError: DATA_LOSS, the wrapped key is not this statement's.
    """

    def __init__(self, statement: Statement, header: Header, key: RecipientKey, *, next_index: int) -> None:
        """Unwrap the content key."""
        if hashlib.sha256(header.wrapped).hexdigest() != statement.wrapped_digest:
            raise damaged()
        content_key = key.unwrap(header.wrapped, statement.key_context())
        self._aad = header.statement.digest()
        self._cipher = stream_cipher(content_key, self._aad)
        self._statement = statement
        self.next_index = next_index

    @property
    def complete(self) -> bool:
        """Whether the last chunk was opened."""
        return self.next_index == self._statement.chunk_count

    def open(self, chunk: Chunk) -> bytes:
        """The plaintext of the next chunk.

        Raises:
            RefusedError: OUT_OF_RANGE for a chunk that is not the next one or lies after the last; DATA_LOSS for one
                that does not open.
        """
        if chunk.index != self.next_index or self.complete:
            raise RefusedError(
                Answer.OUT_OF_RANGE,
                "This is not the next chunk.",
                expected=f"chunk {self.next_index} of {self._statement.chunk_count}",
                got=f"chunk {chunk.index}",
                next_step="ask for the upload's status and go on from there",
            )
        last = chunk.index == self._statement.chunk_count - 1
        size = self._statement.plaintext_length - chunk.index * CHUNK_SIZE if last else CHUNK_SIZE
        if len(chunk.ciphertext) != size + TAG_SIZE:
            raise damaged()
        plaintext = decrypt_chunk(self._cipher, chunk.index, chunk.ciphertext, last=last, aad=self._aad)
        self.next_index += 1
        return plaintext


def verify_statement(envelope: SignedEnvelope, key: VerifyKey) -> Statement:
    """The statement of an envelope: size first, then both signatures, and only then is it parsed.

    Raises:
        RefusedError: RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNAUTHENTICATED or INVALID_ARGUMENT, in this order.
    """
    if len(envelope.payload) > STATEMENT_LIMIT:
        raise RefusedError(
            Answer.RESOURCE_EXHAUSTED,
            "The statement is too large.",
            expected=f"at most {STATEMENT_LIMIT} bytes",
            got=f"{len(envelope.payload)} bytes",
            next_step="claim fewer mechanisms",
        )
    return Statement.from_payload(envelope.verified(STATEMENT_TYPE, key))


def _check_session(order: SealOrder, recipient: RecipientPublicKey) -> None:
    session = order.session
    if session.suite != SUITE or session.recipient_keyid != recipient.keyid or order.now >= session.expires_at:
        raise RefusedError(
            Answer.FAILED_PRECONDITION,
            "The provider's session cannot be used.",
            expected=f"suite {SUITE}, recipient key {recipient.keyid}, not expired",
            got=f"suite {session.suite[:16]!r}, recipient key {session.recipient_keyid}, until {session.expires_at}",
            next_step="get the present keyring, and set the clocks of both ends",
        )


def _digest(source: BinaryIO) -> tuple[str, int]:
    digest, length = hashlib.sha256(), 0
    while block := source.read(_COPY):
        digest.update(block)
        length += len(block)
    source.seek(0)
    return digest.hexdigest(), length


def _write(spool: Path, head: bytes, chunks: Iterator[bytes]) -> None:
    """Write a spool file; see ``persist`` for the disk.

    Until the commit nothing is lost if the power fails: a file that did not reach the disk is sealed again, with new
    keys, for a new session.
    """
    part = spool.with_name(f".{spool.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(len(head).to_bytes(8, "big") + head)
            file.writelines(chunks)
        part.replace(spool)
    finally:
        part.unlink(missing_ok=True)


def _damaged_spool(path: Path, got: str) -> EnvelopeError:
    return EnvelopeError(
        f"The spooled envelope {path} is damaged.",
        expected="a whole sealed envelope",
        got=got,
        next_step="remove it and make the release again",
    )
