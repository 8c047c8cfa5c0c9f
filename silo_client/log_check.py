"""``llamdex-silo log verify``: is the provider's log whole, and does it hold what this silo saw and sent?

Order: the head's signatures; that it extends the head that was seen last; that every entry is in the tree, by
computing the root from all of them; that each statement is the one that its release is named after; that every
receipt of this silo is in the log where it says. Only then the new head is remembered.

A provider's signing key may be revoked after it signed receipts. Then its signature alone proves nothing any more, for
whoever got the key can sign and date what he likes; but the receipt is a leaf of a tree whose head a good key signed,
and stands before the leaf that notes the revocation. That is what counts: such a receipt is as good as before, and
reported as what it is. One that stands behind the revocation, or nowhere, is refused.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llamdex_fl.envelope import (
    Keyring,
    LogNote,
    Passphrase,
    Receipt,
    RefusedError,
    SignedEnvelope,
    Statement,
    TreeHead,
    guarantee_document,
    read_log_entry,
    verify_statement,
    verify_successor,
)
from llamdex_fl.envelope.merkle import leaf_hash, root_hash
from llamdex_fl.envelope.receipt import ReceiptBody
from llamdex_fl.errors import ReceiptError
from silo_client.config import SiloConfig
from silo_client.connection import TransientError, unreachable
from silo_client.enrolment import load_identity
from silo_client.membership import read_log, renewed
from silo_client.outbox import Outbox

__all__ = ["LogReport", "ReleaseEntry", "check_log", "verify_log"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseEntry:
    """A release in the log.

    Attributes:
        statement: what its silo signed; the release's id is its digest.
        signature: ``verified`` with a key of the present keyring, or ``former key``: its key is not in there any more.
        signer_revoked: whether that key was revoked since.
        receipt: of this silo's receipt: ``verified``, or ``revoked key``: the key that signed it was revoked since, and
            the log proves it; empty where this silo holds none.
    """

    body: ReceiptBody
    statement: Statement
    signature: str
    signer_revoked: bool
    receipt: str

    @property
    def own(self) -> bool:
        """Whether this silo holds the receipt."""
        return bool(self.receipt)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogReport:
    """A log that was verified.

    Attributes:
        seen_before: the size of the tree that this silo had seen before; 0 for none.
        receipts: how many receipts of this silo are in the log.
        proven_by_log: how many of them were signed by a key that was revoked since.
    """

    head: TreeHead
    seen_before: int
    receipts: int
    proven_by_log: int
    entries: tuple[ReleaseEntry | LogNote, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report for a program."""
        return {
            "provider": self.head.provider,
            "tree_size": self.head.size,
            "root_hash": self.head.root_hash.hex(),
            "issued_at": self.head.issued_at.isoformat(),
            "seen_before": self.seen_before,
            "consistent": True,
            "own_receipts": self.receipts,
            "own_receipts_of_revoked_keys": self.proven_by_log,
            "entries": [_entry_document(entry) for entry in self.entries],
        }


def verify_log(config: SiloConfig, passphrase: Passphrase | None = None) -> LogReport:
    """Read the provider's log and verify all of it.

    Raises:
        ReceiptError: the log was altered, forked or rolled back, or lacks a release that this silo has a receipt for.
        ProviderUnreachableError, ProviderIdentityError, RefusedError: the log cannot be read.
    """
    identity = load_identity(config, passphrase, expired=True)
    outbox = Outbox(config)
    with outbox.locked():
        try:
            identity = renewed(identity, config, passphrase)
            keyring = identity.keyring
            known = outbox.tree_head(keyring.known_log_keys)
            head, proof, entries = read_log(identity, config, 0 if known is None else known.size)
        except TransientError as error:
            raise (error.final or unreachable(config, str(error))) from error
        receipts = outbox.receipts(keyring.known_log_keys)
        report = check_log(head, proof, entries, keyring, known=known, receipts=receipts)
        outbox.remember(report.head)
    return report


def check_log(  # noqa: PLR0913 - what was read, and what is known
    head: SignedEnvelope,
    proof: Sequence[bytes],
    entries: Sequence[tuple[bytes, SignedEnvelope | None]],
    keyring: Keyring,
    *,
    known: TreeHead | None,
    receipts: Sequence[Receipt],
) -> LogReport:
    """Verify a log that was read, without any IO.

    Args:
        head: the signed tree head.
        proof: that it extends ``known``.
        entries: the leaves' payloads, with releases' signed statements.
        keyring: the present one.
        known: the head that this silo verified last.
        receipts: all that this silo holds, verified with ``Keyring.known_log_keys``.

    Raises:
        ReceiptError: something does not verify.
    """
    tree_head = TreeHead.verified(head, keyring.log_keys)
    leaves = [leaf_hash(payload) for payload, _ in entries]
    if known is not None and verify_successor(known, tree_head, proof).size > tree_head.size:
        raise _wrong(f"a log of at least {known.size} entries, as this silo saw before", f"{tree_head.size}")
    if len(leaves) != tree_head.size or root_hash(leaves) != tree_head.root_hash:
        raise _wrong("the entries that the signed tree head stands for", "others")
    if known is not None and root_hash(leaves[: known.size]) != known.root_hash:
        raise _wrong("the entries that this silo saw before", "others")
    own: dict[int, str] = {}
    for receipt in receipts:
        index, revoked = receipt.body.leaf_index, receipt.keyid in keyring.revoked
        if index >= len(entries) or entries[index][0] != receipt.envelope.payload:
            got = "another entry, or none" + ("; a key that was revoked since signed the receipt" if revoked else "")
            raise _wrong(f"this silo's receipt at place {index} of the log", got)
        own[index] = "revoked key" if revoked else "verified"
    report = LogReport(
        head=tree_head,
        seen_before=0 if known is None else known.size,
        receipts=len(own),
        proven_by_log=sum(state == "revoked key" for state in own.values()),
        entries=tuple(
            _check_entry(index, payload, statement, keyring, receipt=own.get(index, ""))
            for index, (payload, statement) in enumerate(entries)
        ),
    )
    for receipt in receipts:
        if receipt.keyid in keyring.revoked:
            _require_before_revocation(receipt, report.entries)
    return report


def _require_before_revocation(receipt: Receipt, entries: Sequence[ReleaseEntry | LogNote]) -> None:
    noted = [entry.leaf_index for entry in entries if isinstance(entry, LogNote) and receipt.keyid in entry.revoked]
    if not noted:
        raise _wrong("a note of the revocation of the key that signed this silo's receipt", "none")
    if noted[0] < receipt.body.leaf_index:
        raise _wrong(
            f"this silo's receipt before place {noted[0]} of the log, where its key's revocation is noted",
            f"place {receipt.body.leaf_index}",
        )


def _check_entry(
    index: int, payload: bytes, signed: SignedEnvelope | None, keyring: Keyring, *, receipt: str
) -> ReleaseEntry | LogNote:
    entry = read_log_entry(payload)
    if entry.leaf_index != index or entry.provider != keyring.provider.provider:
        raise _wrong(f"an entry of this provider for place {index}", "one for another place or provider")
    if isinstance(entry, LogNote):
        return entry
    if signed is None or signed.digest().hex() != entry.release_id:
        raise _wrong("the statement that the release is named after", "another one, or none")
    signature = "former key"
    try:
        # Its digest is in the tree, so it is what was accepted; the signature says that the silo made it.
        statement = Statement.from_payload(signed.payload)
        for key in keyring.silos[entry.silo].keys if entry.silo in keyring.silos else ():
            if any(hint.keyid.startswith(key.keyid) for hint in signed.signatures):
                statement = verify_statement(signed, key)
                signature = "verified"
    except RefusedError as error:
        raise _wrong("a statement that its silo signed", error.problem) from error
    said = (statement.silo, statement.upload_id, statement.round_challenge, statement.artefact_digest)
    if said != (entry.silo, entry.upload_id, entry.round_challenge, entry.artefact_digest):
        raise _wrong("a statement that says what the log says", "one that says something else")
    signers = {hint.keyid.split("/")[0] for hint in signed.signatures}
    return ReleaseEntry(
        body=entry,
        statement=statement,
        signature=signature,
        signer_revoked=bool(signers & set(keyring.revoked)),
        receipt=receipt,
    )


def _entry_document(entry: ReleaseEntry | LogNote) -> dict[str, Any]:
    if isinstance(entry, LogNote):
        return {"index": entry.leaf_index, **json.loads(entry.to_payload())}
    return {
        "index": entry.body.leaf_index,
        "kind": "release",
        "silo": entry.body.silo,
        "accepted_at": _iso(entry.body.accepted_at),
        "release_id": entry.body.release_id,
        "schema_digest": entry.body.schema_digest,
        "artefact_digest": entry.body.artefact_digest,
        "architecture": entry.statement.architecture,
        "purpose": entry.statement.purpose,
        "bytes": entry.statement.plaintext_length,
        "guarantee": guarantee_document(entry.statement.guarantee),
        "signature": entry.signature,
        "signer_revoked": entry.signer_revoked,
        "own": entry.own,
        "receipt": entry.receipt or None,
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat()


def _wrong(expected: str, got: str) -> ReceiptError:
    return ReceiptError(
        "The provider's log does not verify.",
        expected=expected,
        got=got,
        next_step="keep your receipts and uplink.json, and ask the consortium: the log may have been altered or forked",
    )
