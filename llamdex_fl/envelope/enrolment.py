"""Enrolment, offline: what a silo asks for, and what it gets back, each as one file.

The request is signed by the keys that it asks to be enrolled, so whoever made it holds them; that they are the
silo's, people check by another way. The reply is believed because of the root's fingerprint only.
"""

import json
from dataclasses import dataclass

from llamdex_fl.envelope.canonical import Fields, dumps, parse
from llamdex_fl.envelope.dsse import SignedEnvelope, sign
from llamdex_fl.envelope.refusal import DocumentError
from llamdex_fl.envelope.signing import ED25519_SIZE, MLDSA65_SIZE, SigningKey, VerifyKey

__all__ = ["EnrolmentReply", "EnrolmentRequest"]

_REQUEST_TYPE = "application/vnd.llamdex.enrolment.v1+json"
_LIMIT = 1 << 18


@dataclass(frozen=True, kw_only=True, slots=True)
class EnrolmentRequest:
    """A silo's id, its public signing key and its certificate signing request (PEM)."""

    silo: str
    key: VerifyKey
    csr: bytes

    def signed(self, key: SigningKey) -> str:
        """The request's file."""
        payload = dumps(
            {
                "silo": self.silo,
                "ed25519": self.key.ed25519.hex(),
                "mldsa65": self.key.mldsa65.hex(),
                "csr": self.csr.decode("ascii"),
            }
        )
        return sign(_REQUEST_TYPE, payload, key).to_json()

    @classmethod
    def verified(cls, text: str) -> "EnrolmentRequest":
        """Read a request, and verify that it was signed by the keys in it.

        Raises:
            RefusedError: it is malformed, has a weak key, or is not signed by its own keys.
        """
        envelope = SignedEnvelope.from_json(text)
        # Parsed before it is verified, since the key is inside.
        fields = parse(envelope.payload, limit=_LIMIT)
        key = VerifyKey(fields.octets("ed25519", size=ED25519_SIZE), fields.octets("mldsa65", size=MLDSA65_SIZE))
        csr = fields.text("csr", limit=1 << 16)
        if not csr.isascii():
            raise DocumentError("An enrolment request is wrong.", expected="csr in PEM", got="other characters")
        request = cls(silo=fields.word("silo"), key=key, csr=csr.encode("ascii"))
        fields.done()
        envelope.verified(_REQUEST_TYPE, key)
        return request


@dataclass(frozen=True, kw_only=True, slots=True)
class EnrolmentReply:
    """The root, the keyring that has the silo, and the silo's certificate (PEM); none of it is secret."""

    root: SignedEnvelope
    keyring: SignedEnvelope
    certificate: bytes

    def to_json(self) -> str:
        """The reply's file."""
        return json.dumps(
            {
                "root": self.root.to_document(),
                "keyring": self.keyring.to_document(),
                "certificate": self.certificate.decode("ascii"),
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> "EnrolmentReply":
        """Read a reply; what it says is not believed yet.

        Raises:
            DocumentError: it is malformed.
        """
        try:
            fields = Fields(json.loads(text), "reply")
        except (ValueError, RecursionError) as error:
            raise DocumentError("This is no enrolment reply.", expected="JSON", got=type(error).__name__) from error
        reply = cls(
            root=SignedEnvelope.from_document(fields.document("root")),
            keyring=SignedEnvelope.from_document(fields.document("keyring")),
            certificate=fields.text("certificate", limit=1 << 16).encode("ascii", "replace"),
        )
        fields.done()
        return reply
