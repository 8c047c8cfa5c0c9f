"""Seal a release once, into a spool file of the silo's; open it chunk by chunk at the provider."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from llamdex_fl.envelope.dsse import SignedEnvelope, sign
from llamdex_fl.envelope.refusal import Answer, RefusedError, damaged
from llamdex_fl.envelope.sealed_file import SealedFile, Sealing
from llamdex_fl.envelope.session import Chunk, Header, Session
from llamdex_fl.envelope.signing import SigningKey, VerifyKey
from llamdex_fl.envelope.statement import STATEMENT_LIMIT, STATEMENT_TYPE, Statement
from llamdex_fl.envelope.stream import chunk_count, decrypt_chunk, stream_seal
from llamdex_fl.envelope.suite import (
    CHUNK_SIZE,
    CONTENT_KEY_SIZE,
    SUITE,
    TAG_SIZE,
    KeyContext,
    RecipientKey,
    RecipientPublicKey,
    stream_cipher,
)
from llamdex_fl.privacy.guarantee import Guarantee
from llamdex_fl.release import Offer

__all__ = ["ChunkOpener", "SealOrder", "seal", "start_sealing", "verify_statement"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SealOrder:
    """What a statement says besides what follows from the bytes.

    ``digest`` is the hex SHA-256 of the bytes where it is known already; the provider refuses a wrong one. None: it is
    computed.
    """

    silo: str
    session: Session
    offer: Offer
    guarantee: Guarantee
    counter: int
    now: datetime
    digest: str | None = None


def seal(
    source: BinaryIO, spool: Path, order: SealOrder, *, signer: SigningKey, recipient: RecipientPublicKey
) -> SealedFile:
    """Seal the safetensors bytes of ``source`` into the file ``spool``, whole or not at all; see ``start_sealing``."""
    return start_sealing(source, spool, order, signer=signer, recipient=recipient).finish()


def start_sealing(
    source: BinaryIO, spool: Path, order: SealOrder, *, signer: SigningKey, recipient: RecipientPublicKey
) -> Sealing:
    """Sign the statement, and begin to seal the safetensors bytes of ``source`` into the file ``spool``.

    Args:
        source: seekable; closed at the end, or if this raises.
        spool: where the sealed envelope goes; replaced if there is one.
        order: what the statement says.
        signer: the silo's key.
        recipient: the provider's key, from the signed keyring and not from the session.

    Raises:
        RefusedError: the session speaks another suite or names another key, or is over; or the order does not make
            a statement that the provider would read.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(source)
        header, statement, chunks = _prepared(source, order, signer, recipient)
        sealing = Sealing(spool, header, statement, _closing(chunks, source))
        stack.pop_all()
    return sealing


def _prepared(
    source: BinaryIO, order: SealOrder, signer: SigningKey, recipient: RecipientPublicKey
) -> tuple[Header, Statement, Iterator[bytes]]:
    _check_session(order, recipient)
    artefact = order.digest or _digest(source)
    length = source.seek(0, os.SEEK_END)
    source.seek(0)
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
    header = Header(upload_id=order.session.upload_id, statement=envelope, wrapped=wrapped)
    chunks = stream_seal(
        lambda key: stream_cipher(key, envelope.digest()), content_key, CHUNK_SIZE, envelope.digest(), source
    )
    return header, statement, chunks


def _closing(chunks: Iterator[bytes], source: BinaryIO) -> Iterator[bytes]:
    with source:
        yield from chunks


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


def _digest(source: BinaryIO) -> str:
    return hashlib.file_digest(source, "sha256").hexdigest()  # type: ignore[arg-type]  # every BinaryIO can do it
