"""``llamdex-silo inspect``: everything of a release that is about to leave or has left, to the last byte.

Before sealing: the safetensors file, its header and each tensor. After: each part of the envelope, and the messages
that carry it. Every sum is compared with the size of the file, so nothing is left out. When a release has left, its
files are removed and what ``record`` wrote of it stays: sizes and the signed statement, no weights.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llamdex_fl import weights
from llamdex_fl.envelope import CHUNK_SIZE, TAG_SIZE, Chunk, SealedFile, SignedEnvelope, guarantee_document
from llamdex_fl.errors import InputError
from llamdex_fl.privacy.guarantee import Guarantee
from llamdex_fl.release import Offer
from llamdex_fl.wire import convert

__all__ = ["Inspection", "describe_plaintext", "describe_sealed", "describe_statement", "inspect_files"]

_LENGTH_FIELD = 8
_FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What was found of one release.

    Attributes:
        state: ``waiting`` (not sealed yet), ``sealed`` (on its way) or ``left`` (the provider has confirmed it).
        offer: what it answers; None once it has left.
        plaintext: the file before sealing; see ``describe_plaintext``.
        statement: every field that is signed; None while it is not sealed.
        sealed: the parts of the envelope; None while it is not sealed.
        receipt: what the provider confirmed; None until then.
    """

    challenge: str
    state: str
    offer: Mapping[str, Any] | None
    plaintext: Mapping[str, Any]
    guarantee: Mapping[str, Any]
    statement: Mapping[str, Any] | None
    sealed: Mapping[str, Any] | None
    receipt: Mapping[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """For a program, and for the record of what has left."""
        return {name: getattr(self, name) for name in self.__slots__}


def describe_plaintext(path: Path, digest: str | None = None) -> dict[str, Any]:
    """The safetensors file: its size and digest, its header, and each tensor's type, shape and bytes.

    Args:
        path: the file.
        digest: its hex SHA-256, if it is known already.

    Raises:
        InputError: the bytes do not add up to the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = int.from_bytes(file.read(_LENGTH_FIELD), "little")
        file.seek(0)
        digest = digest or hashlib.file_digest(file, "sha256").hexdigest()
    tensors: list[dict[str, Any]] = []
    for name, shape in weights.read_shapes(path).items():
        tensors.append(
            {"name": name, "type": "float32", "shape": list(shape), "bytes": _FLOAT_BYTES * math.prod(shape)}
        )
    total = _LENGTH_FIELD + header + sum(tensor["bytes"] for tensor in tensors)
    _require_sum(path, total, size)
    return {
        "bytes": size,
        "sha256": digest,
        "length_field_bytes": _LENGTH_FIELD,
        "header_bytes": header,
        "tensors": tensors,
        "tensor_bytes": size - _LENGTH_FIELD - header,
    }


def describe_statement(signed: SignedEnvelope) -> dict[str, Any]:
    """Every field of the signed statement, as it is signed."""
    document: dict[str, Any] = json.loads(signed.payload)
    return document


def describe_sealed(sealed: SealedFile) -> dict[str, Any]:
    """The sealed file's parts and the messages that carry it, in bytes.

    Raises:
        InputError: the bytes do not add up to the file.
    """
    statement, header = sealed.statement, sealed.header
    size = sealed.path.stat().st_size
    ciphertext = statement.plaintext_length
    tags = TAG_SIZE * statement.chunk_count
    last = statement.plaintext_length - CHUNK_SIZE * (statement.chunk_count - 1) + TAG_SIZE
    _require_sum(sealed.path, sealed.offset + ciphertext + tags, size)
    first = convert.header_request(header).ByteSize()
    return {
        "release_id": header.statement.digest().hex(),
        "bytes": size,
        "head": {
            "bytes": sealed.offset,
            "length_field_bytes": _LENGTH_FIELD,
            "statement_payload_bytes": len(header.statement.payload),
            "signature_bytes": {
                signature.keyid.rsplit("/", 1)[-1]: len(signature.sig) for signature in header.statement.signatures
            },
            "wrapped_key_bytes": len(header.wrapped),
            "json_overhead_bytes": sealed.offset
            - _LENGTH_FIELD
            - len(header.statement.payload)
            - sum(len(signature.sig) for signature in header.statement.signatures)
            - len(header.wrapped),
        },
        "chunks": {
            "count": statement.chunk_count,
            "plaintext_bytes_each": CHUNK_SIZE,
            "last_sealed_bytes": last,
            "ciphertext_bytes": ciphertext,
            "tag_bytes": tags,
        },
        "added_by_sealing_bytes": size - statement.plaintext_length,
        "messages": {
            "count": 1 + statement.chunk_count,
            "header_bytes": first,
            "bytes": first + _chunk_messages(statement.chunk_count, last),
        },
    }


def _chunk_messages(count: int, last: int) -> int:
    """Bytes of the messages that carry the chunks; protobuf writes an index in as many bytes as it needs."""
    full = CHUNK_SIZE + TAG_SIZE
    like = Counter((len(f"{index:b}") + 6) // 7 if index else 0 for index in range(count - 1))
    total = sum(
        times * convert.chunk_request(Chunk((1 << 7 * (width - 1)) if width else 0, bytes(full))).ByteSize()
        for width, times in like.items()
    )
    return int(total + convert.chunk_request(Chunk(count - 1, bytes(last))).ByteSize())


def inspect_files(
    challenge: str, offer: Offer, guarantee: Guarantee, plaintext: Path, sealed: SealedFile | None
) -> Inspection:
    """A release whose files are still in the spool."""
    return Inspection(
        challenge=challenge,
        state="waiting" if sealed is None else "sealed",
        offer=asdict(offer),
        plaintext=describe_plaintext(plaintext, None if sealed is None else sealed.statement.artefact_digest),
        guarantee=guarantee_document(guarantee),
        statement=None if sealed is None else describe_statement(sealed.header.statement),
        sealed=None if sealed is None else describe_sealed(sealed),
        receipt=None,
    )


def _require_sum(path: Path, expected: int, got: int) -> None:
    if expected != got:
        raise InputError(
            f"The parts of {path} are not the whole file.",
            expected=f"{expected} bytes",
            got=f"{got} bytes",
            next_step="do not send it: remove the files of this release from the spool, and hold the round again",
        )
