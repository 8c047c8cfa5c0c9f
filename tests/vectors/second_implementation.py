"""LDX1 once more, from docs/envelope.md and without ``llamdex_fl``: what makes the vectors, so that they test the code.

Only primitives come from a library: AES-GCM, Ed25519, ML-DSA-65, ML-KEM-768, X25519, HPKE's single shot. Private keys
are made from labels and protect nothing. What is random by its nature (ML-DSA signatures, HPKE encapsulations) is made
once and kept in ``frozen.json``.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PublicKey,
    Suite,
)

CHUNK = 256 * 1024
_FROZEN = Path(__file__).parent / "frozen.json"


class Frozen:
    """Random values by what they belong to; made when they are asked for the first time."""

    def __init__(self) -> None:
        """Read what is there."""
        self.values: dict[str, str] = json.loads(_FROZEN.read_text()) if _FROZEN.exists() else {}
        self._used: dict[str, str] = {}

    def get(self, name: str, make: Any) -> bytes:  # noqa: ANN401 - a callable
        if name not in self.values:
            self.values[name] = make().hex()
        self._used[name] = self.values[name]
        return bytes.fromhex(self.values[name])

    def save(self) -> None:
        """Keep what was asked for, and forget the rest."""
        _FROZEN.write_text(json.dumps(self._used, indent=1, sort_keys=True) + "\n")


def seed(label: str, size: int = 32) -> bytes:
    """Bytes that everybody can make again: HMAC-SHA256 in a counter."""
    blocks = (hmac.digest(b"llamdex test vectors", f"{label}/{number}".encode(), "sha256") for number in range(size))
    return b"".join(next(blocks) for _ in range(-(-size // 32)))[:size]


def canonical(document: Any) -> bytes:  # noqa: ANN401 - JSON
    """RFC 8785 for what the protocol uses: ASCII keys, texts, whole numbers, lists, objects."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def pae(payload_type: str, payload: bytes) -> bytes:
    kind = payload_type.encode()
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])


class Signer:
    """A hybrid signing key from a label."""

    def __init__(self, label: str, frozen: Frozen) -> None:
        """Make it."""
        self.seeds = (seed(f"{label}/ed25519"), seed(f"{label}/mldsa65"))
        self._ed25519 = Ed25519PrivateKey.from_private_bytes(self.seeds[0])
        self._mldsa65 = MLDSA65PrivateKey.from_seed_bytes(self.seeds[1])
        self._frozen = frozen
        self.ed25519 = self._ed25519.public_key().public_bytes_raw()
        self.mldsa65 = self._mldsa65.public_key().public_bytes_raw()
        self.keyid = hashlib.sha256(b"llamdex/signer/v1" + self.ed25519 + self.mldsa65).hexdigest()

    def public(self) -> dict[str, str]:
        return {"ed25519": self.ed25519.hex(), "mldsa65": self.mldsa65.hex()}

    def sign(self, message: bytes) -> list[dict[str, str]]:
        name = f"mldsa65 {self.keyid[:16]} {hashlib.sha256(message).hexdigest()}"
        second = self._frozen.get(name, lambda: self._mldsa65.sign(message))
        self._mldsa65.public_key().verify(second, message)
        halves = (("ed25519", self._ed25519.sign(message)), ("mldsa65", second))
        return [{"keyid": f"{self.keyid}/{half}", "sig": base64.b64encode(sig).decode()} for half, sig in halves]


def dsse(payload_type: str, payload: bytes, *signers: Signer) -> dict[str, Any]:
    """The JSON form."""
    message = pae(payload_type, payload)
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [signature for signer in signers for signature in signer.sign(message)],
    }


class Recipient:
    """A key for content keys, from a label."""

    def __init__(self, label: str) -> None:
        """Make it."""
        self.seeds = (seed(f"{label}/mlkem768", 64), seed(f"{label}/x25519"))
        mlkem = MLKEM768PrivateKey.from_seed_bytes(self.seeds[0]).public_key()
        x25519 = X25519PrivateKey.from_private_bytes(self.seeds[1]).public_key()
        self._key = MLKEM768X25519PublicKey(mlkem, x25519)
        self.mlkem768, self.x25519 = mlkem.public_bytes_raw(), x25519.public_bytes_raw()
        self.keyid = hashlib.sha256(b"llamdex/recipient/v1" + self.mlkem768 + self.x25519).hexdigest()

    def public(self) -> dict[str, str]:
        return {"mlkem768": self.mlkem768.hex(), "x25519": self.x25519.hex()}

    def wrap(self, content_key: bytes, info: bytes, frozen: Frozen, name: str) -> bytes:
        suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
        return frozen.get(f"wrapped {name}", lambda: suite.encrypt(content_key, self._key, info))


def key_info(parts: Sequence[str]) -> bytes:
    """HPKE's info."""
    framed = b"".join(len(part.encode()).to_bytes(8, "big") + part.encode() for part in parts)
    return b"llamdex/upload/v1/kem" + hashlib.sha256(framed).digest()


def stream_key(content_key: bytes, statement_digest: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869), one block."""
    extracted = hmac.digest(statement_digest, content_key, "sha256")
    return hmac.digest(extracted, b"llamdex/upload/v1/stream" + b"\x01", "sha256")


def stream(key: bytes, chunk_size: int, aad: bytes, text: bytes) -> list[bytes]:
    parts = [text[start : start + chunk_size] for start in range(0, len(text), chunk_size)] or [b""]
    cipher = AESGCM(key)
    return [
        cipher.encrypt(index.to_bytes(11, "big") + (b"\1" if index == len(parts) - 1 else b"\0"), part, aad)
        for index, part in enumerate(parts)
    ]


def safetensors(tensors: Mapping[str, tuple[Sequence[int], bytes]]) -> bytes:
    """The one accepted encoding of float32 tensors."""
    entries, offset = {}, 0
    for name in sorted(tensors):
        shape, data = tensors[name]
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(tensors[name][1] for name in sorted(tensors))


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def tree(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = max(power for power in (1 << n for n in range(64)) if power < len(leaves))
    return hashlib.sha256(b"\1" + tree(leaves[:k]) + tree(leaves[k:])).digest()


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = max(power for power in (1 << n for n in range(64)) if power < len(leaves))
    if index < k:
        return [*path(index, leaves[:k]), tree(leaves[k:])]
    return [*path(index - k, leaves[k:]), tree(leaves[:k])]


def consistency(old: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.2."""
    return list(_subproof(old, leaves, whole=True)) if 0 < old < len(leaves) else []


def _subproof(old: int, leaves: Sequence[bytes], *, whole: bool) -> Iterator[bytes]:
    if old == len(leaves):
        if not whole:
            yield tree(leaves)
        return
    k = max(power for power in (1 << n for n in range(64)) if power < len(leaves))
    if old <= k:
        yield from _subproof(old, leaves[:k], whole=whole)
        yield tree(leaves[k:])
    else:
        yield from _subproof(old - k, leaves[k:], whole=False)
        yield tree(leaves[:k])
