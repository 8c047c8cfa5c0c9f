"""Uploads: sessions with single-use challenges, from ``open`` over ``bound`` to ``committed`` or ``burned``."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from llamdex_fl.envelope import SignedEnvelope
from provider_server.registry.database import Database, from_seconds, to_seconds

__all__ = ["UploadRecord", "Uploads"]

_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadRecord:
    """One session.

    Attributes:
        release_id: hex digest of the statement that the session is bound to; None while it is open.
        statement: the signed statement itself.
    """

    upload_id: str
    silo: str
    round_challenge: str
    challenge: str
    recipient_keyid: str
    plaintext_length: int
    begun_at: datetime
    expires_at: datetime
    status: str
    release_id: str | None = None
    statement: SignedEnvelope | None = None


class Uploads:
    """The table of uploads."""

    def __init__(self, database: Database) -> None:
        """Use a database."""
        self._database = database

    def add(self, upload: UploadRecord) -> None:
        """Remember a new session."""
        self._database.execute(
            "INSERT INTO uploads (upload_id, silo, round_challenge, challenge, recipient_keyid, plaintext_length,"
            " begun_at, expires_at, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'open')",
            (
                upload.upload_id,
                upload.silo,
                upload.round_challenge,
                upload.challenge,
                upload.recipient_keyid,
                upload.plaintext_length,
                to_seconds(upload.begun_at),
                to_seconds(upload.expires_at),
            ),
        )

    def find(self, upload_id: str) -> UploadRecord | None:
        """The session of this id."""
        row = self._database.row("SELECT * FROM uploads WHERE upload_id = ?", (upload_id,))
        return None if row is None else _record(row)

    def reusable(self, silo: str, round_challenge: str, plaintext_length: int, now: datetime) -> UploadRecord | None:
        """A session that the silo began for the same thing and to which no statement is bound yet."""
        row = self._database.row(
            "SELECT * FROM uploads WHERE silo = ? AND round_challenge = ? AND plaintext_length = ?"
            " AND status = 'open' AND expires_at > ? ORDER BY begun_at DESC, upload_id LIMIT 1",
            (silo, round_challenge, plaintext_length, to_seconds(now)),
        )
        return None if row is None else _record(row)

    def count_under_way(self, silo: str, now: datetime) -> int:
        """Sessions of a silo that are neither done nor expired."""
        return self._count("silo = ? AND status IN ('open', 'bound') AND expires_at > ?", (silo, to_seconds(now)))

    def count_of_a_day(self, silo: str, now: datetime) -> int:
        """Sessions that a silo began in the last 24 hours."""
        return self._count("silo = ? AND begun_at > ?", (silo, to_seconds(now - _DAY)))

    def count_for(self, recipient_keyids: tuple[str, ...], now: datetime) -> int:
        """Sessions under way whose content key is, or will be, wrapped for one of these keys."""
        return sum(
            self._count("recipient_keyid = ? AND status = 'bound' AND expires_at > ?", (keyid, to_seconds(now)))
            for keyid in recipient_keyids
        )

    def bind(self, upload_id: str, release_id: str, statement: SignedEnvelope) -> bool:
        """Bind an open session to a statement; False if it was not open."""
        changed = self._database.execute(
            "UPDATE uploads SET status = 'bound', release_id = ?, statement = ?"
            " WHERE upload_id = ? AND status = 'open'",
            (release_id, statement.to_json(), upload_id),
        )
        return changed == 1

    def burn(self, upload_id: str) -> None:
        """Refuse a session for good, unless it was committed."""
        self._database.execute(
            "UPDATE uploads SET status = 'burned' WHERE upload_id = ? AND status IN ('open', 'bound')", (upload_id,)
        )

    def mark_committed(self, upload_id: str) -> bool:
        """Finish a bound session; False if it was not bound."""
        changed = self._database.execute(
            "UPDATE uploads SET status = 'committed' WHERE upload_id = ? AND status = 'bound'", (upload_id,)
        )
        return changed == 1

    def ids_under_way(self, now: datetime) -> set[str]:
        """Sessions whose spool files are still needed."""
        rows = self._database.rows(
            "SELECT upload_id FROM uploads WHERE status IN ('open', 'bound') AND expires_at > ?", (to_seconds(now),)
        )
        return {row["upload_id"] for row in rows}

    def _count(self, condition: str, values: tuple[str | int, ...]) -> int:
        # The condition is one of the texts above, never from outside.
        row = self._database.row(f"SELECT COUNT(*) AS n FROM uploads WHERE {condition}", values)  # noqa: S608  # nosec B608 - see above
        return 0 if row is None else int(row["n"])


def _record(row: sqlite3.Row) -> UploadRecord:
    return UploadRecord(
        upload_id=row["upload_id"],
        silo=row["silo"],
        round_challenge=row["round_challenge"],
        challenge=row["challenge"],
        recipient_keyid=row["recipient_keyid"],
        plaintext_length=row["plaintext_length"],
        begun_at=from_seconds(row["begun_at"]),
        expires_at=from_seconds(row["expires_at"]),
        status=row["status"],
        release_id=row["release_id"],
        statement=None if row["statement"] is None else SignedEnvelope.from_json(row["statement"]),
    )
