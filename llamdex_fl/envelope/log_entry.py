"""What stands in the log beside releases: notes of revocations and of changes of the provider's policy.

A leaf of a release is its receipt's payload, which has no field ``kind``; a note has one. Neither parses as the
other. Which notes there must be, docs/envelope.md says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from llamdex_fl.envelope.canonical import dumps, parse, timestamp
from llamdex_fl.envelope.receipt import ReceiptBody
from llamdex_fl.envelope.refusal import DocumentError, RefusedError
from llamdex_fl.errors import ReceiptError

__all__ = ["LogNote", "read_log_entry"]

_LIMIT = 1 << 18
_MANY = 1 << 12
Kind = Literal["revocation", "policy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LogNote:
    """One note.

    Attributes:
        leaf_index: the note's own place in the log.
        noted_at: when the provider entered it.
        keyring_version: of the keyring that was in force then.
        revoked: ids of keys and SPKI digests that are good no more.
        silos: those whose present keys these are.
        releases: ids of releases that were withdrawn.
        policy: what the provider does from now on.
    """

    kind: Kind
    provider: str
    leaf_index: int
    noted_at: datetime
    keyring_version: int
    revoked: tuple[str, ...] = ()
    silos: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    policy: Mapping[str, Any] = field(default_factory=dict)

    def to_payload(self) -> bytes:
        """The canonical bytes: the log's leaf."""
        content: dict[str, Any] = (
            {"policy": dict(self.policy)}
            if self.kind == "policy"
            else {
                "revoked": list(self.revoked),
                "silos": {silo: {} for silo in self.silos},
                "releases": list(self.releases),
            }
        )
        return dumps(
            {
                "kind": self.kind,
                "provider": self.provider,
                "leafIndex": self.leaf_index,
                "notedAt": timestamp(self.noted_at),
                "keyringVersion": self.keyring_version,
                **content,
            }
        )


def read_log_entry(payload: bytes) -> ReceiptBody | LogNote:
    """A leaf of the log.

    Raises:
        ReceiptError: it is neither a receipt's payload nor a note.
    """
    try:
        fields = parse(payload, limit=_LIMIT)
        if not fields.has("kind"):
            return ReceiptBody.from_payload(payload)
        word = fields.word("kind")
        if word not in {"revocation", "policy"}:
            raise DocumentError("A log entry is wrong.", expected="a revocation or a policy", got="another kind")
        kind: Kind = "policy" if word == "policy" else "revocation"
        content: dict[str, Any] = (
            {"policy": fields.document("policy")}
            if kind == "policy"
            else {
                "revoked": fields.digests("revoked", limit=_MANY),
                "silos": tuple(sorted(fields.named_children("silos", limit=_MANY))),
                "releases": fields.digests("releases", limit=_MANY),
            }
        )
        note = LogNote(
            kind=kind,
            provider=fields.word("provider"),
            leaf_index=fields.integer("leafIndex"),
            noted_at=fields.moment("notedAt"),
            keyring_version=fields.integer("keyringVersion", low=1),
            **content,
        )
        fields.done()
    except RefusedError as error:
        raise ReceiptError(
            "An entry of the provider's log cannot be read.",
            expected=error.expected,
            got=error.got,
            next_step="keep your receipts and ask the consortium; or the provider runs a newer version",
        ) from error
    return note
