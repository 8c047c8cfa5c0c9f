"""DSSE: a payload, its type, and signatures over both (github.com/secure-systems-lab/dsse, v1.0.2).

The signatures cover the exact bytes, so nothing is parsed before it is verified. Written here, in the few lines
that it takes, because securesystemslib 1.6 signs ``"tuf" || 1 || SHA-512(PAE)`` with ML-DSA (TUF's TAP 21) where
this protocol signs the PAE itself with both keys; the tests compare our PAE with that library's.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llamdex_fl.envelope.canonical import Fields
from llamdex_fl.envelope.refusal import Answer, DocumentError, RefusedError
from llamdex_fl.envelope.signing import Signature, SigningKey, VerifyKey

__all__ = ["SignedEnvelope", "sign"]

_SIGNATURES_LIMIT = 32


@dataclass(frozen=True, slots=True)
class SignedEnvelope:
    """Bytes of a type, with signatures; nothing in it is true before ``verified`` gave the payload."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def pae(self) -> bytes:
        """The pre-authentication encoding: what is signed."""
        payload_type = self.payload_type.encode()
        return b"DSSEv1 %d %b %d %b" % (len(payload_type), payload_type, len(self.payload), self.payload)

    def digest(self) -> bytes:
        """SHA-256 of the PAE: the envelope's name, and the salt of its stream key."""
        return hashlib.sha256(self.pae()).digest()

    def verified(self, payload_type: str, key: VerifyKey) -> bytes:
        """The payload, once both signatures of ``key``, and no others, are there and verify.

        Raises:
            RefusedError: FAILED_PRECONDITION for another payload type, UNAUTHENTICATED for the signatures.
        """
        self._require_type(payload_type)
        if len(self.signatures) != 2:  # noqa: PLR2004 - Ed25519 and ML-DSA-65
            raise _too_few(1, 0)
        key.verify(self.pae(), self.signatures)
        return self.payload

    def verified_by(self, payload_type: str, keys: Iterable[VerifyKey], threshold: int) -> bytes:
        """The payload, once at least ``threshold`` of ``keys`` signed it with both halves.

        Signatures of other keys do not count, since a successor is signed by old and new keys together.

        Raises:
            RefusedError: FAILED_PRECONDITION for another payload type, UNAUTHENTICATED for the signatures.
        """
        self._require_type(payload_type)
        pae, good = self.pae(), set()
        for key in keys:
            try:
                key.verify(pae, self.signatures)
            except RefusedError:
                continue
            good.add(key.keyid)
        if threshold < 1 or len(good) < threshold:
            raise _too_few(threshold, len(good))
        return self.payload

    def to_json(self) -> str:
        """DSSE's JSON form."""
        return json.dumps(
            {
                "payload": base64.b64encode(self.payload).decode("ascii"),
                "payloadType": self.payload_type,
                "signatures": [
                    {"keyid": signature.keyid, "sig": base64.b64encode(signature.sig).decode("ascii")}
                    for signature in self.signatures
                ],
            },
            indent=1,
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> "SignedEnvelope":
        """Read DSSE's JSON form.

        Raises:
            DocumentError: it is anything else.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DocumentError("This is no DSSE envelope.", expected="JSON", got=type(error).__name__) from error
        return cls.from_document(document)

    @classmethod
    def from_document(cls, document: object) -> "SignedEnvelope":
        """Read DSSE's JSON form once it is parsed; see ``from_json``."""
        fields = Fields(document, "DSSE envelope")
        payload = _base64(fields.text("payload", limit=1 << 26))
        payload_type = fields.text("payloadType", limit=256)
        signatures = []
        for item in fields.children("signatures", limit=_SIGNATURES_LIMIT):
            signatures.append(Signature(item.text("keyid", limit=256), _base64(item.text("sig", limit=1 << 14))))
            item.done()
        fields.done()
        return cls(payload_type, payload, tuple(signatures))

    def to_document(self) -> dict[str, Any]:
        """The JSON form as an object, to be put into another."""
        document: dict[str, Any] = json.loads(self.to_json())
        return document

    def _require_type(self, payload_type: str) -> None:
        if self.payload_type != payload_type:
            raise RefusedError(
                Answer.FAILED_PRECONDITION,
                "The envelope is of another type.",
                expected=payload_type,
                got=repr(self.payload_type[:80]),
                next_step="use the same version of the protocol at both ends",
            )


def sign(payload_type: str, payload: bytes, *keys: SigningKey) -> SignedEnvelope:
    """Sign a payload with each of ``keys``."""
    unsigned = SignedEnvelope(payload_type, payload, ())
    signatures = tuple(signature for key in keys for signature in key.sign(unsigned.pae()))
    return SignedEnvelope(payload_type, payload, signatures)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DocumentError("This is no DSSE envelope.", expected="base64", got="another text") from error


def _too_few(threshold: int, good: int) -> RefusedError:
    return RefusedError(
        Answer.UNAUTHENTICATED,
        "The signatures do not suffice.",
        expected=f"an Ed25519 and an ML-DSA-65 signature of {threshold} known key(s), each verifying",
        got=f"{good}",
        next_step="sign with the enrolled keys",
    )
