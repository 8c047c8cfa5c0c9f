"""What a silo holds in its hand after an upload: a signed receipt, its place in the log, and the log's head.

The receipt's payload is itself the log's leaf. A silo verifies, in this order: both signatures of the provider,
that the receipt speaks of the silo's own statement, that the leaf is in the tree, and that the tree extends the
last one that the silo saw.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llamdex_fl.envelope import merkle
from llamdex_fl.envelope.canonical import Fields, dumps, parse, timestamp
from llamdex_fl.envelope.dsse import SignedEnvelope, sign
from llamdex_fl.envelope.refusal import DocumentError, RefusedError
from llamdex_fl.envelope.signing import SigningKey, VerifyKey
from llamdex_fl.envelope.statement import Statement
from llamdex_fl.errors import ReceiptError

__all__ = ["Receipt", "ReceiptBody", "TreeHead", "verify_receipt", "verify_successor"]

_RECEIPT_TYPE = "application/vnd.llamdex.receipt.v1+json"
_TREE_HEAD_TYPE = "application/vnd.llamdex.treehead.v1+json"
_LIMIT = 16 * 1024
_PROOF_LIMIT = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeHead:
    """The log's size and root at a moment, signed by the provider."""

    provider: str
    size: int
    root_hash: bytes
    issued_at: datetime
    envelope: SignedEnvelope

    @classmethod
    def make(cls, provider: str, size: int, root: bytes, now: datetime, key: SigningKey) -> "TreeHead":
        """Sign a tree head."""
        payload = dumps({"provider": provider, "size": size, "rootHash": root.hex(), "issuedAt": timestamp(now)})
        return cls.verified(sign(_TREE_HEAD_TYPE, payload, key), key.public)

    @classmethod
    def verified(cls, envelope: SignedEnvelope, key: VerifyKey | Sequence[VerifyKey]) -> "TreeHead":
        """The tree head of an envelope, once its signatures are verified, by ``key`` or by one of several.

        Raises:
            ReceiptError: it is not the provider's.
        """
        try:
            fields = parse(envelope.verified(_TREE_HEAD_TYPE, _named(envelope, key)), limit=_LIMIT)
            head = cls(
                provider=fields.word("provider"),
                size=fields.integer("size"),
                root_hash=fields.octets("rootHash", size=32),
                issued_at=fields.moment("issuedAt"),
                envelope=envelope,
            )
            fields.done()
        except RefusedError as error:
            raise _wrong("a tree head that the provider signed", error.problem) from error
        return head


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptBody:
    """What the provider confirms; all digests in hex.

    Attributes:
        release_id: SHA-256 of the statement's DSSE encoding; names the release.
        leaf_index: the receipt's own place in the log.
    """

    provider: str
    silo: str
    release_id: str
    upload_id: str
    round_challenge: str
    schema_digest: str
    artefact_digest: str
    accepted_at: datetime
    leaf_index: int

    def to_payload(self) -> bytes:
        """The canonical bytes: what is signed, and the log's leaf."""
        return dumps(
            {
                "provider": self.provider,
                "silo": self.silo,
                "releaseId": self.release_id,
                "uploadId": self.upload_id,
                "roundChallenge": self.round_challenge,
                "schemaDigest": self.schema_digest,
                "artefactDigest": self.artefact_digest,
                "acceptedAt": timestamp(self.accepted_at),
                "leafIndex": self.leaf_index,
            }
        )

    @classmethod
    def from_payload(cls, payload: bytes) -> "ReceiptBody":
        """Parse bytes whose signatures were verified."""
        fields = parse(payload, limit=_LIMIT)
        body = cls(
            provider=fields.word("provider"),
            silo=fields.word("silo"),
            release_id=fields.hexadecimal("releaseId", size=32),
            upload_id=fields.hexadecimal("uploadId", size=16),
            round_challenge=fields.hexadecimal("roundChallenge", size=32),
            schema_digest=fields.hexadecimal("schemaDigest", size=32),
            artefact_digest=fields.hexadecimal("artefactDigest", size=32),
            accepted_at=fields.moment("acceptedAt"),
            leaf_index=fields.integer("leafIndex"),
        )
        fields.done()
        return body


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """A signed receipt with its inclusion proof and the tree head that the proof leads to."""

    body: ReceiptBody
    envelope: SignedEnvelope
    proof: tuple[bytes, ...]
    tree_head: TreeHead

    @property
    def receipt_id(self) -> str:
        """Hex hash of the log's leaf."""
        return merkle.leaf_hash(self.envelope.payload).hex()

    @property
    def keyid(self) -> str:
        """Id of the provider's key that signed it."""
        return self.envelope.signatures[0].keyid.split("/")[0]

    @property
    def release_id(self) -> str:
        """Hex; names the release that was accepted."""
        return self.body.release_id

    @property
    def artefact_digest(self) -> str:
        """Hex SHA-256 of the safetensors file that was accepted."""
        return self.body.artefact_digest

    @classmethod
    def make(cls, body: ReceiptBody, leaves: Sequence[bytes], now: datetime, key: SigningKey) -> "Receipt":
        """Sign a receipt, and the head of the log that it is the last leaf of.

        Args:
            body: what is confirmed; its index is ``len(leaves)``.
            leaves: the leaf hashes before this one.
            now: the time of the tree head.
            key: the provider's.
        """
        return cls.again(body, [*leaves, merkle.leaf_hash(body.to_payload())], now, key)

    @classmethod
    def again(cls, body: ReceiptBody, leaves: Sequence[bytes], now: datetime, key: SigningKey) -> "Receipt":
        """Sign a receipt that is in the log, and the log's head: the same receipt by another key.

        Args:
            body: what is confirmed.
            leaves: the hashes of all leaves of the log, this one's among them.
            now: the time of the tree head.
            key: the provider's.
        """
        return cls(
            body=body,
            envelope=sign(_RECEIPT_TYPE, body.to_payload(), key),
            proof=tuple(merkle.inclusion_proof(leaves, body.leaf_index)),
            tree_head=TreeHead.make(body.provider, len(leaves), merkle.root_hash(leaves), now, key),
        )

    @classmethod
    def verified(
        cls,
        envelope: SignedEnvelope,
        proof: Sequence[bytes],
        head: SignedEnvelope,
        key: VerifyKey | Sequence[VerifyKey],
    ) -> "Receipt":
        """The receipt in an envelope, once its signatures and its inclusion proof are verified.

        Args:
            envelope: the signed receipt.
            proof: its inclusion proof, from the leaf upwards.
            head: the signed tree head that the proof leads to.
            key: the provider's key, or those that it has had; see ``Keyring.log_keys``.

        Raises:
            ReceiptError: one of them does not verify.
        """
        tree_head = TreeHead.verified(head, key)
        try:
            body = ReceiptBody.from_payload(envelope.verified(_RECEIPT_TYPE, _named(envelope, key)))
        except RefusedError as error:
            raise _wrong("a receipt that the provider signed", error.problem) from error
        if len(proof) > _PROOF_LIMIT:
            raise _wrong(f"at most {_PROOF_LIMIT} hashes in a proof", str(len(proof)))
        merkle.verify_inclusion(
            merkle.leaf_hash(envelope.payload), body.leaf_index, tree_head.size, proof, tree_head.root_hash
        )
        return cls(body=body, envelope=envelope, proof=tuple(proof), tree_head=tree_head)

    def to_json(self) -> str:
        """The receipt as a file."""
        return json.dumps(
            {
                "receipt": self.envelope.to_document(),
                "inclusionProof": [node.hex() for node in self.proof],
                "treeHead": self.tree_head.envelope.to_document(),
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str, key: VerifyKey | Sequence[VerifyKey]) -> "Receipt":
        """Read a receipt's file and verify it as ``verified`` does.

        Raises:
            ReceiptError: it is damaged or does not verify.
        """
        try:
            fields = Fields(json.loads(text), "receipt")
            proof = [bytes.fromhex(node) for node in fields.digests("inclusionProof", limit=_PROOF_LIMIT)]
            receipt = SignedEnvelope.from_document(fields.document("receipt"))
            head = SignedEnvelope.from_document(fields.document("treeHead"))
            fields.done()
        except (ValueError, DocumentError) as error:
            raise _wrong("a receipt's file", type(error).__name__) from error
        return cls.verified(receipt, proof, head, key)

    def as_dict(self) -> dict[str, Any]:
        """The receipt's content for reports."""
        return {"receiptId": self.receipt_id, **json.loads(self.envelope.payload)}


def verify_receipt(receipt: Receipt, statement: Statement, release_id: str) -> None:
    """Verify that a receipt speaks of this statement and of nothing else.

    Raises:
        ReceiptError: it is for another upload.
    """
    body = receipt.body
    expected = (
        statement.provider,
        statement.silo,
        release_id,
        statement.upload_id,
        statement.round_challenge,
        statement.schema_digest,
        statement.artefact_digest,
    )
    got = (
        body.provider,
        body.silo,
        body.release_id,
        body.upload_id,
        body.round_challenge,
        body.schema_digest,
        body.artefact_digest,
    )
    if expected != got or receipt.tree_head.provider != statement.provider:
        raise _wrong("a receipt for this upload", "a receipt for another one")


def verify_successor(one: TreeHead, other: TreeHead, proof: Sequence[bytes]) -> TreeHead:
    """The larger of two tree heads, once the proof shows that it extends the smaller one.

    Raises:
        ReceiptError: the log was altered or forked, or the heads are of two providers.
    """
    old, new = sorted((one, other), key=lambda head: head.size)
    if old.provider != new.provider or len(proof) > _PROOF_LIMIT * 2:
        raise _wrong("two tree heads of one log", "something else")
    merkle.verify_consistency(old.size, new.size, proof, old.root_hash, new.root_hash)
    return new


def _named(envelope: SignedEnvelope, keys: VerifyKey | Iterable[VerifyKey]) -> VerifyKey:
    """The key that the signatures name, which must then verify; the first one if they name none of them."""
    if isinstance(keys, VerifyKey):
        return keys
    several = list(keys)
    hints = {signature.keyid.split("/")[0] for signature in envelope.signatures}
    found = [key for key in several if key.keyid in hints] or several
    if not found:
        raise _wrong("a key of the provider that is not revoked", "none")
    return found[0]


def _wrong(expected: str, got: str) -> ReceiptError:
    return ReceiptError(
        "The receipt does not verify.",
        expected=expected,
        got=got,
        next_step="keep it and ask the consortium; the spooled envelope stays where it is",
    )
