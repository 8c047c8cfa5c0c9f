"""LDX1, the one suite: never negotiated, no knobs. A new suite is a new name and a new version of the protocol.

X-Wing (ML-KEM-768 + X25519) HPKE with HKDF-SHA256 and AES-256-GCM wraps the content key; the text is sealed by
AES-256-GCM in STREAM chunks of 256 KiB; statements are signed by Ed25519 and by ML-DSA-65, and both must verify.
"""

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from llamdex_fl.envelope.hpke import hpke_open, hpke_seal
from llamdex_fl.envelope.refusal import damaged

__all__ = [
    "CHUNK_SIZE",
    "SUITE",
    "TAG_SIZE",
    "WRAPPED_SIZE",
    "KeyContext",
    "RecipientKey",
    "RecipientPublicKey",
    "stream_cipher",
]

SUITE = "LDX1"
CHUNK_SIZE = 256 * 1024
TAG_SIZE = 16
#: X-Wing ciphertext (1088 + 32), content key (32), tag (16).
WRAPPED_SIZE = 1168
CONTENT_KEY_SIZE = 32

_KEM_LABEL = b"llamdex/upload/v1/kem"
_STREAM_LABEL = b"llamdex/upload/v1/stream"
_KEYID_LABEL = b"llamdex/recipient/v1"
_HPKE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyContext:
    """What a wrapped content key is bound to; a key of another upload does not unwrap."""

    silo: str
    provider: str
    recipient_keyid: str
    upload_id: str
    challenge: str
    purpose: str
    schema_digest: str

    def info(self) -> bytes:
        """HPKE's ``info``: a label, and the hash of the length-prefixed parts."""
        parts = (
            SUITE,
            self.silo,
            self.provider,
            self.recipient_keyid,
            self.upload_id,
            self.challenge,
            self.purpose,
            self.schema_digest,
        )
        digest = hashlib.sha256()
        for part in parts:
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return _KEM_LABEL + digest.digest()


@dataclass(frozen=True, slots=True)
class RecipientPublicKey:
    """The provider's public key for content keys."""

    mlkem768: bytes
    x25519: bytes

    @property
    def keyid(self) -> str:
        """Hex SHA-256 that names the key."""
        return hashlib.sha256(_KEYID_LABEL + self.mlkem768 + self.x25519).hexdigest()

    def wrap(self, content_key: bytes, context: KeyContext) -> bytes:
        """Seal a content key for the provider."""
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(self.mlkem768), X25519PublicKey.from_public_bytes(self.x25519)
        )
        return hpke_seal(_HPKE, content_key, key, context.info())


class RecipientKey:
    """The provider's private key for content keys; its repr shows the key's id only."""

    def __init__(self, mlkem768: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        """Join the two halves."""
        self.halves = (mlkem768, x25519)
        self.public = RecipientPublicKey(
            mlkem768.public_key().public_bytes_raw(), x25519.public_key().public_bytes_raw()
        )

    def __repr__(self) -> str:
        """Name the key."""
        return f"RecipientKey({self.public.keyid})"

    @classmethod
    def generate(cls) -> "RecipientKey":
        """Make a new key."""
        return cls(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """Open a wrapped content key.

        Raises:
            RefusedError: DATA_LOSS, it was not wrapped for this key and context.
        """
        content_key = hpke_open(_HPKE, wrapped, MLKEM768X25519PrivateKey(*self.halves), context.info())
        if len(content_key) != CONTENT_KEY_SIZE:
            raise damaged()
        return content_key


def stream_cipher(content_key: bytes, statement_digest: bytes) -> AESGCM:
    """The cipher of the chunks: its key depends on the signed statement, so neither is good without the other."""
    key = HKDF(algorithm=SHA256(), length=32, salt=statement_digest, info=_STREAM_LABEL).derive(content_key)
    return AESGCM(key)
