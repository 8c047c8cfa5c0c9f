"""Enrolment: what a silo asks for, and what it gets back, each as one file.

The request is signed by the keys that it asks to be enrolled, so whoever made it holds them. That they are the
silo's is shown by the MAC of an invitation, or, where they replace enrolled keys, by a signature of those; or people
check it by another way. The reply is believed because of the root's fingerprint only, which an invitation holds too.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from llamdex_fl.envelope.canonical import Fields, dumps, parse
from llamdex_fl.envelope.dsse import SignedEnvelope, sign
from llamdex_fl.envelope.invitation import InvitationProof
from llamdex_fl.envelope.refusal import DocumentError, RefusedError
from llamdex_fl.envelope.signing import ED25519_SIZE, MLDSA65_SIZE, SigningKey, VerifyKey

__all__ = ["EnrolmentReply", "EnrolmentRequest"]

_REQUEST_TYPE = "application/vnd.llamdex.enrolment.v1+json"
_LIMIT = 1 << 18
_ROOTS_LIMIT = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class EnrolmentRequest:
    """A silo's id, its public signing key and its certificate signing request (PEM).

    Attributes:
        proof: that the silo was invited; None where people vouch for the request, or its former keys do.
        envelope: what it was read from.
    """

    silo: str
    key: VerifyKey
    csr: bytes
    proof: InvitationProof | None = None
    envelope: SignedEnvelope | None = field(default=None, repr=False, compare=False)

    def signed(self, key: SigningKey, *, former: SigningKey | None = None, invitation_key: bytes | None = None) -> str:
        """The request's file.

        Args:
            key: the key that is to be enrolled.
            former: the key that is enrolled now, if ``key`` is to replace it.
            invitation_key: of the invitation that the silo has, if it has one.
        """
        document = self._document()
        if invitation_key is not None:
            proof = InvitationProof.make(invitation_key, self.message)
            document["invitation"] = {"id": proof.invitation_id, "mac": proof.mac}
        signers = [key] if former is None else [key, former]
        return sign(_REQUEST_TYPE, dumps(document), *signers).to_json()

    @property
    def message(self) -> bytes:
        """What an invitation's MAC covers: the request without it."""
        return dumps(self._document())

    @property
    def digest(self) -> str:
        """Hex SHA-256 that names what is asked for, however it was signed."""
        return hashlib.sha256(self.message).hexdigest()

    def is_signed_by(self, former: VerifyKey) -> bool:
        """Whether the key that is enrolled now signed the request too, with both halves."""
        if self.envelope is None:
            return False
        try:
            self.envelope.verified_by(_REQUEST_TYPE, [former], 1)
        except RefusedError:
            return False
        return True

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
        proof = None
        if fields.has("invitation"):
            inner = fields.child("invitation")
            proof = InvitationProof(
                invitation_id=inner.hexadecimal("id", size=32), mac=inner.hexadecimal("mac", size=32)
            )
            inner.done()
        request = cls(silo=fields.word("silo"), key=key, csr=csr.encode("ascii"), proof=proof, envelope=envelope)
        fields.done()
        envelope.verified_by(_REQUEST_TYPE, [key], 1)
        return request

    def _document(self) -> dict[str, Any]:
        return {
            "silo": self.silo,
            "ed25519": self.key.ed25519.hex(),
            "mldsa65": self.key.mldsa65.hex(),
            "csr": self.csr.decode("ascii"),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class EnrolmentReply:
    """The root, the keyring that has the silo, and the silo's certificate (PEM); none of it is secret.

    Attributes:
        certificate: empty where the silo keeps the one it has.
        former_roots: the roots before ``root``, the oldest first, for a silo that pinned one of them.
    """

    root: SignedEnvelope
    keyring: SignedEnvelope
    certificate: bytes
    former_roots: tuple[SignedEnvelope, ...] = ()

    def to_json(self) -> str:
        """The reply's file."""
        document: dict[str, Any] = {
            "root": self.root.to_document(),
            "keyring": self.keyring.to_document(),
            "certificate": self.certificate.decode("ascii"),
        }
        if self.former_roots:
            document["formerRoots"] = [root.to_document() for root in self.former_roots]
        return json.dumps(document, indent=1)

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
        former = fields.documents("formerRoots", limit=_ROOTS_LIMIT) if fields.has("formerRoots") else []
        reply = cls(
            root=SignedEnvelope.from_document(fields.document("root")),
            keyring=SignedEnvelope.from_document(fields.document("keyring")),
            certificate=fields.text("certificate", limit=1 << 16).encode("ascii", "replace"),
            former_roots=tuple(SignedEnvelope.from_document(document) for document in former),
        )
        fields.done()
        return reply
