"""Accepted releases, and the log that they are leaves of."""

import functools
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from llamdex_fl.envelope import Receipt, SignedEnvelope, Statement
from llamdex_fl.privacy.guarantee import Guarantee
from provider_server.registry.database import Database, from_seconds, to_seconds

__all__ = ["Log", "ReleaseRecord", "Releases", "Status"]

#: ``quarantined`` until its behaviour was checked, ``active`` while it may speak, ``withdrawn`` for good.
Status = Literal["quarantined", "active", "withdrawn"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseRecord:
    """An accepted release, without its weights; digests and ids in hex."""

    release_id: str
    silo: str
    schema_digest: str
    architecture: str
    purpose: str
    base_model_digest: str
    round_challenge: str
    guarantee: Guarantee
    artefact_digest: str
    receipt_id: str
    accepted_at: datetime
    status: Status
    reason: str


class Releases:
    """The table of releases."""

    def __init__(self, database: Database) -> None:
        """Use a database."""
        self._database = database

    def add(self, statement: Statement, signed: SignedEnvelope, receipt: Receipt) -> None:
        """Remember a release in quarantine; only within the transaction that appends to the log."""
        self._database.execute(
            "INSERT INTO releases (release_id, upload_id, silo, round_challenge, schema_digest, architecture, purpose,"
            " base_model_digest, artefact_digest, statement, counter, accepted_at, status, receipt_id, receipt)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'quarantined', ?, ?)",
            (
                receipt.release_id,
                statement.upload_id,
                statement.silo,
                statement.round_challenge,
                statement.schema_digest,
                statement.architecture,
                statement.purpose,
                statement.base_model_digest,
                statement.artefact_digest,
                signed.to_json(),
                statement.counter,
                to_seconds(receipt.body.accepted_at),
                receipt.receipt_id,
                receipt.to_json(),
            ),
        )

    def find(self, release_id: str) -> ReleaseRecord | None:
        """The release of this id."""
        row = self._database.row("SELECT * FROM releases WHERE release_id = ?", (release_id,))
        return None if row is None else _record(row)

    def of_round(self, silo: str, round_challenge: str) -> ReleaseRecord | None:
        """The release with which a silo answered a round."""
        row = self._database.row(
            "SELECT * FROM releases WHERE silo = ? AND round_challenge = ?", (silo, round_challenge)
        )
        return None if row is None else _record(row)

    def select(self, schema_digest: str | None, status: Status | None, challenge: str | None) -> list[ReleaseRecord]:
        """Releases in the order of the log; None means any."""
        rows = self._database.rows(
            "SELECT * FROM releases WHERE schema_digest = coalesce(?, schema_digest) AND status = coalesce(?, status)"
            " AND round_challenge = coalesce(?, round_challenge) ORDER BY rowid",
            (schema_digest, status, challenge),
        )
        return [_record(row) for row in rows]

    def last_counter(self, silo: str) -> int:
        """The counter of a silo's last accepted statement; 0 before the first."""
        row = self._database.row("SELECT coalesce(max(counter), 0) AS n FROM releases WHERE silo = ?", (silo,))
        return 0 if row is None else int(row["n"])

    def signers(self, release_id: str) -> set[str]:
        """Ids of the keys that signed a release's statement."""
        row = self._database.row("SELECT statement FROM releases WHERE release_id = ?", (release_id,))
        signatures = () if row is None else SignedEnvelope.from_json(row["statement"]).signatures
        return {signature.keyid.split("/")[0] for signature in signatures}

    def receipt(self, release_id: str) -> str:
        """The receipt's file of a release that is there."""
        row = self._database.row("SELECT receipt FROM releases WHERE release_id = ?", (release_id,))
        if row is None:
            raise AssertionError(f"no release {release_id}")
        return str(row["receipt"])

    def replace_receipt(self, release_id: str, receipt: str) -> None:
        """Keep a receipt that says the same, signed by another key."""
        self._database.execute("UPDATE releases SET receipt = ? WHERE release_id = ?", (receipt, release_id))

    def mark(self, release_id: str, status: Status, reason: str) -> int:
        """Change a release's status; ``withdrawn`` is for good. The number of releases changed."""
        return self._database.execute(
            "UPDATE releases SET status = ?, reason = ? WHERE release_id = ? AND status != 'withdrawn'",
            (status, reason, release_id),
        )


class Log:
    """The append-only log: leaves and signed tree heads."""

    def __init__(self, database: Database) -> None:
        """Use a database."""
        self._database = database

    def leaves(self, size: int | None = None) -> list[bytes]:
        """The hashes of the first ``size`` leaves, or of all."""
        rows = self._database.rows(
            "SELECT hash FROM leaves WHERE leaf_index < coalesce(?, leaf_index + 1) ORDER BY leaf_index", (size,)
        )
        return [row["hash"] for row in rows]

    def entries(self, size: int) -> list[tuple[bytes, str | None]]:
        """The payloads of the first ``size`` leaves, with the signed statement's JSON where one is of a release."""
        rows = self._database.rows(
            "SELECT payload, statement FROM leaves LEFT JOIN releases ON receipt_id = lower(hex(hash))"
            " WHERE leaf_index < ? ORDER BY leaf_index",
            (size,),
        )
        return [(row["payload"], row["statement"]) for row in rows]

    def noted(self, what: str) -> str | None:
        """What was noted last of a kind of thing that the log must show the changes of."""
        row = self._database.row("SELECT value FROM noted WHERE what = ?", (what,))
        return None if row is None else str(row["value"])

    def note(self, what: str, value: str) -> None:
        """Remember what was noted; only within the transaction that appends the note."""
        self._database.execute("INSERT OR REPLACE INTO noted VALUES (?, ?)", (what, value))

    def append(self, index: int, leaf: bytes, payload: bytes, head: SignedEnvelope) -> None:
        """Append a leaf and the head of the tree that it completes; only within a transaction."""
        self._database.execute("INSERT INTO leaves VALUES (?, ?, ?)", (index, leaf, payload))
        self.add_head(index + 1, head)

    def add_head(self, size: int, head: SignedEnvelope) -> None:
        """Remember the signed head of the tree of this size."""
        self._database.execute("INSERT OR REPLACE INTO tree_heads VALUES (?, ?)", (size, head.to_json()))

    def head(self) -> SignedEnvelope | None:
        """The newest signed head; None before the first was signed."""
        row = self._database.row("SELECT envelope FROM tree_heads ORDER BY size DESC LIMIT 1")
        return None if row is None else SignedEnvelope.from_json(row["envelope"])


# A registry keeps every release that ever was, and each commit looks through them: none is parsed twice.
@functools.lru_cache(maxsize=4096)
def _guarantee(statement: str) -> Guarantee:
    # Stored after its signatures were verified.
    return Statement.from_payload(SignedEnvelope.from_json(statement).payload).guarantee


def _record(row: sqlite3.Row) -> ReleaseRecord:
    values: dict[str, Any] = {
        name: row[name]
        for name in (
            "release_id",
            "silo",
            "schema_digest",
            "architecture",
            "purpose",
            "base_model_digest",
            "round_challenge",
            "artefact_digest",
            "receipt_id",
            "status",
            "reason",
        )
    }
    return ReleaseRecord(guarantee=_guarantee(row["statement"]), accepted_at=from_seconds(row["accepted_at"]), **values)
