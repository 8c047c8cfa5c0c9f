"""The one place that turns messages into domain values and back.

Messages come from elsewhere: sizes of ids, digests and keys are checked here, meaning and signatures later.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from llamdex_fl.envelope import (
    CHUNK_SIZE,
    TAG_SIZE,
    Chunk,
    Committed,
    DocumentError,
    Header,
    Progress,
    Receipt,
    Session,
    Signature,
    SignedEnvelope,
    VerifyKey,
    Wish,
)
from llamdex_fl.wire.v1 import consortium_service_pb2, envelope_pb2, upload_service_pb2

__all__ = [
    "MAX_MESSAGE_BYTES",
    "RETRY_AFTER",
    "UPLOAD_EXPERT",
    "begin_request",
    "begin_response",
    "chunk_request",
    "chunk_request_bytes",
    "commit_request",
    "commit_response",
    "enrolment_request",
    "enrolment_responses",
    "header_request",
    "log_entry_response",
    "log_head_response",
    "log_request",
    "parse_upload_request",
    "read_begin_request",
    "read_begin_response",
    "read_commit_request",
    "read_commit_response",
    "read_log_entry_response",
    "read_log_head_response",
    "read_status_request",
    "read_status_response",
    "read_upload_request",
    "read_upload_response",
    "serialized",
    "status_request",
    "status_response",
    "upload_response",
]

#: No message is larger; both ends set it as gRPC's limit.
MAX_MESSAGE_BYTES = 512 * 1024
#: The method whose messages ``chunk_request_bytes`` writes.
UPLOAD_EXPERT = "/llamdex_fl.wire.v1.UploadService/UploadExpert"

#: Trailing metadata of a RESOURCE_EXHAUSTED that passes by itself: whole seconds to wait.
RETRY_AFTER = "retry-after"

_UPLOAD_ID_BYTES = 16
_DIGEST_BYTES = 32
_SIGNATURES_LIMIT = 8
_PROOF_LIMIT = 128
_WRAPPED_LIMIT = 4096
#: Two tags with a length of at most four bytes each, a tag with an index of at most ten.
_CHUNK_PREFIX_LIMIT = 5 + 11 + 5
_TREE_SIZE_LIMIT = 2**53 - 1
_STATUS = {
    "open": upload_service_pb2.UPLOAD_STATUS_OPEN,
    "bound": upload_service_pb2.UPLOAD_STATUS_BOUND,
    "committed": upload_service_pb2.UPLOAD_STATUS_COMMITTED,
    "burned": upload_service_pb2.UPLOAD_STATUS_BURNED,
}


def begin_request(wish: Wish) -> upload_service_pb2.BeginUploadRequest:
    """Write a wish."""
    return upload_service_pb2.BeginUploadRequest(
        round_challenge=bytes.fromhex(wish.round_challenge),
        plaintext_length=wish.plaintext_length,
        known_tree_size=wish.known_tree_size,
    )


def read_begin_request(message: upload_service_pb2.BeginUploadRequest) -> Wish:
    """Read a wish."""
    return Wish(
        round_challenge=_hex(message.round_challenge, _DIGEST_BYTES, "round_challenge"),
        plaintext_length=message.plaintext_length,
        known_tree_size=_tree_size(message.known_tree_size),
    )


def begin_response(session: Session) -> upload_service_pb2.BeginUploadResponse:
    """Write a session."""
    message = upload_service_pb2.BeginUploadResponse(
        upload_id=bytes.fromhex(session.upload_id),
        challenge=bytes.fromhex(session.challenge),
        suite=session.suite,
        recipient_keyid=session.recipient_keyid,
        max_plaintext_bytes=session.max_plaintext_bytes,
        tree_head=_envelope(session.tree_head),
        consistency_proof=session.consistency,
    )
    message.expires_at.FromDatetime(session.expires_at)
    return message


def read_begin_response(message: upload_service_pb2.BeginUploadResponse) -> Session:
    """Read a session."""
    try:
        expires_at = message.expires_at.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise _wrong("expires_at", "a time") from error
    return Session(
        upload_id=_hex(message.upload_id, _UPLOAD_ID_BYTES, "upload_id"),
        challenge=_hex(message.challenge, _DIGEST_BYTES, "challenge"),
        expires_at=_whole_seconds(expires_at),
        suite=message.suite,
        recipient_keyid=message.recipient_keyid,
        max_plaintext_bytes=message.max_plaintext_bytes,
        tree_head=_read_envelope(message.tree_head),
        consistency=_proof(message.consistency_proof),
    )


def header_request(header: Header) -> upload_service_pb2.UploadExpertRequest:
    """Write a stream's header."""
    return upload_service_pb2.UploadExpertRequest(
        header=upload_service_pb2.UploadHeader(
            upload_id=bytes.fromhex(header.upload_id),
            statement=_envelope(header.statement),
            wrapped_key=header.wrapped,
        )
    )


def chunk_request(chunk: Chunk) -> upload_service_pb2.UploadExpertRequest:
    """Write a chunk."""
    return upload_service_pb2.UploadExpertRequest(
        chunk=upload_service_pb2.UploadChunk(index=chunk.index, ciphertext=bytes(chunk.ciphertext))
    )


def chunk_request_bytes(chunk: Chunk) -> bytes:
    """The serialized form of ``chunk_request``, with one copy of the ciphertext where protobuf makes three."""
    return _chunk_prefix(chunk.index, len(chunk.ciphertext)) + chunk.ciphertext


def parse_upload_request(data: bytes) -> upload_service_pb2.UploadExpertRequest | Chunk:
    """A message of a stream from its bytes; a chunk is a view of them, where protobuf makes two copies.

    Only the very bytes that ``chunk_request_bytes`` writes are taken for a chunk; all others are protobuf's to read,
    with the same result.

    Raises:
        google.protobuf.message.DecodeError: it is no message.
    """
    # Whatever numbers are read here, they count only if they give it again.
    head = data[:_CHUNK_PREFIX_LIMIT]
    if head.startswith(b"\x12"):
        _, start = _read_varint(head, 1)
        index, start = _read_varint(head, start + 1) if head.startswith(b"\x08", start) else (0, start)
        length, start = _read_varint(head, start + 1)
        if length == len(data) - start and _chunk_prefix(index, length) == head[:start]:
            return Chunk(index, memoryview(data)[start:])
    message: upload_service_pb2.UploadExpertRequest = upload_service_pb2.UploadExpertRequest.FromString(data)
    return message


def _chunk_prefix(index: int, length: int) -> bytes:
    """What stands before the ciphertext in the serialized form of a chunk."""
    inner = (b"\x08" + _varint(index) if index else b"") + b"\x12" + _varint(length)
    return b"\x12" + _varint(len(inner) + length) + inner


def serialized(message: bytes | upload_service_pb2.UploadExpertRequest) -> bytes:
    """A message of a stream as bytes, whether or not it is bytes already."""
    return message if isinstance(message, bytes) else message.SerializeToString()


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    """A number and where it ends; of data that ends too early, whatever is there."""
    number, shift = 0, 0
    for place in range(start, len(data)):
        number |= (data[place] & 0x7F) << shift
        shift += 7
        if data[place] <= 0x7F:  # noqa: PLR2004 - seven bits a byte
            return number, place + 1
    return number, len(data)


def read_upload_request(message: upload_service_pb2.UploadExpertRequest | Chunk) -> Header | Chunk:
    """Read a part of a stream."""
    if isinstance(message, Chunk):
        return _checked(message)
    part = message.WhichOneof("part")
    if part == "header":
        header = message.header
        if len(header.wrapped_key) > _WRAPPED_LIMIT:
            raise _wrong("wrapped_key", f"at most {_WRAPPED_LIMIT} bytes")
        return Header(
            upload_id=_hex(header.upload_id, _UPLOAD_ID_BYTES, "upload_id"),
            statement=_read_envelope(header.statement),
            wrapped=header.wrapped_key,
        )
    if part == "chunk":
        return _checked(Chunk(message.chunk.index, message.chunk.ciphertext))
    raise _wrong("part", "a header or a chunk")


def _checked(chunk: Chunk) -> Chunk:
    if len(chunk.ciphertext) > CHUNK_SIZE + TAG_SIZE:
        raise _wrong("ciphertext", f"at most {CHUNK_SIZE + TAG_SIZE} bytes")
    return chunk


def upload_response(next_index: int) -> upload_service_pb2.UploadExpertResponse:
    """Write how far a stream came."""
    return upload_service_pb2.UploadExpertResponse(next_index=next_index)


def read_upload_response(message: upload_service_pb2.UploadExpertResponse) -> int:
    """Read how far a stream came."""
    return int(message.next_index)


def commit_request(
    upload_id: str, statement_digest: bytes, known_tree_size: int
) -> upload_service_pb2.CommitUploadRequest:
    """Write a commit."""
    return upload_service_pb2.CommitUploadRequest(
        upload_id=bytes.fromhex(upload_id), statement_digest=statement_digest, known_tree_size=known_tree_size
    )


def read_commit_request(message: upload_service_pb2.CommitUploadRequest) -> tuple[str, str, int]:
    """Read a commit: upload id, statement digest (both hex), known tree size."""
    return (
        _hex(message.upload_id, _UPLOAD_ID_BYTES, "upload_id"),
        _hex(message.statement_digest, _DIGEST_BYTES, "statement_digest"),
        _tree_size(message.known_tree_size),
    )


def commit_response(committed: Committed) -> upload_service_pb2.CommitUploadResponse:
    """Write a receipt."""
    receipt = committed.receipt
    return upload_service_pb2.CommitUploadResponse(
        receipt=envelope_pb2.Receipt(
            envelope=_envelope(receipt.envelope),
            inclusion_proof=receipt.proof,
            tree_head=_envelope(receipt.tree_head.envelope),
        ),
        consistency_proof=committed.consistency,
    )


def read_commit_response(
    message: upload_service_pb2.CommitUploadResponse, key: VerifyKey | Sequence[VerifyKey]
) -> Committed:
    """Read a receipt and verify its signatures and inclusion proof with the provider's key, or one of its keys.

    Raises:
        ReceiptError: it does not verify.
    """
    receipt = Receipt.verified(
        _read_envelope(message.receipt.envelope),
        _proof(message.receipt.inclusion_proof),
        _read_envelope(message.receipt.tree_head),
        key,
    )
    return Committed(receipt=receipt, consistency=_proof(message.consistency_proof))


def status_request(upload_id: str) -> upload_service_pb2.GetUploadStatusRequest:
    """Write a question for a session's progress."""
    return upload_service_pb2.GetUploadStatusRequest(upload_id=bytes.fromhex(upload_id))


def read_status_request(message: upload_service_pb2.GetUploadStatusRequest) -> str:
    """Read whose progress is asked for."""
    return _hex(message.upload_id, _UPLOAD_ID_BYTES, "upload_id")


def status_response(progress: Progress) -> upload_service_pb2.GetUploadStatusResponse:
    """Write a session's progress."""
    return upload_service_pb2.GetUploadStatusResponse(
        status=_STATUS[progress.status],
        next_index=progress.next_index,
    )


def read_status_response(message: upload_service_pb2.GetUploadStatusResponse) -> Progress:
    """Read a session's progress."""
    for word, value in _STATUS.items():
        if value == message.status:
            return Progress(status=word, next_index=message.next_index)
    raise _wrong("status", "a known status")


def log_request(known_tree_size: int) -> consortium_service_pb2.ReadLogRequest:
    """Write a question for the log."""
    return consortium_service_pb2.ReadLogRequest(known_tree_size=known_tree_size)


def log_head_response(head: SignedEnvelope, consistency: Iterable[bytes]) -> consortium_service_pb2.ReadLogResponse:
    """Write the log's head."""
    message = consortium_service_pb2.LogHead(tree_head=_envelope(head), consistency_proof=consistency)
    return consortium_service_pb2.ReadLogResponse(head=message)


def log_entry_response(payload: bytes, statement: SignedEnvelope | None) -> consortium_service_pb2.ReadLogResponse:
    """Write an entry of the log."""
    entry = consortium_service_pb2.LogEntry(payload=payload)
    if statement is not None:
        entry.statement.CopyFrom(_envelope(statement))
    return consortium_service_pb2.ReadLogResponse(entry=entry)


def read_log_head_response(
    message: consortium_service_pb2.ReadLogResponse,
) -> tuple[SignedEnvelope, tuple[bytes, ...]]:
    """Read the log's head and its consistency proof."""
    if message.WhichOneof("part") != "head":
        raise _wrong("first part", "the log's head")
    return _read_envelope(message.head.tree_head), _proof(message.head.consistency_proof)


def read_log_entry_response(
    message: consortium_service_pb2.ReadLogResponse,
) -> tuple[bytes, SignedEnvelope | None]:
    """Read an entry of the log: its leaf, and a release's signed statement."""
    if message.WhichOneof("part") != "entry":
        raise _wrong("part", "an entry of the log")
    statement = _read_envelope(message.entry.statement) if message.entry.HasField("statement") else None
    return message.entry.payload, statement


def enrolment_request(keyring_version: int, certificate_digest: bytes) -> consortium_service_pb2.ReadEnrolmentRequest:
    """Write a question for a newer keyring or certificate."""
    return consortium_service_pb2.ReadEnrolmentRequest(
        keyring_version=keyring_version, certificate_digest=certificate_digest
    )


def enrolment_responses(reply: bytes) -> Iterator[consortium_service_pb2.ReadEnrolmentResponse]:
    """Write an enrolment reply in parts that fit into messages."""
    for start in range(0, len(reply), CHUNK_SIZE):
        yield consortium_service_pb2.ReadEnrolmentResponse(part=reply[start : start + CHUNK_SIZE])


def _envelope(envelope: SignedEnvelope) -> envelope_pb2.SignedEnvelope:
    return envelope_pb2.SignedEnvelope(
        payload_type=envelope.payload_type,
        payload=envelope.payload,
        signatures=[envelope_pb2.Signature(keyid=s.keyid, sig=s.sig) for s in envelope.signatures],
    )


def _read_envelope(message: envelope_pb2.SignedEnvelope) -> SignedEnvelope:
    if len(message.signatures) > _SIGNATURES_LIMIT:
        raise _wrong("signatures", f"at most {_SIGNATURES_LIMIT}")
    return SignedEnvelope(
        message.payload_type, message.payload, tuple(Signature(s.keyid, s.sig) for s in message.signatures)
    )


def _proof(nodes: Iterable[bytes]) -> tuple[bytes, ...]:
    proof = tuple(nodes)
    if len(proof) > _PROOF_LIMIT or any(len(node) != _DIGEST_BYTES for node in proof):
        raise _wrong("a proof", f"at most {_PROOF_LIMIT} hashes of {_DIGEST_BYTES} bytes")
    return proof


def _hex(value: bytes, size: int, name: str) -> str:
    if len(value) != size:
        raise _wrong(name, f"{size} bytes")
    return value.hex()


def _tree_size(value: int) -> int:
    # What signed tree heads can say, since they are JSON.
    if value > _TREE_SIZE_LIMIT:
        raise _wrong("known_tree_size", f"at most {_TREE_SIZE_LIMIT}")
    return value


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _wrong(name: str, expected: str) -> DocumentError:
    return DocumentError(f"The message's {name} is wrong.", expected=expected, got="something else")
