"""The SQLite file: WAL, every commit on the disk before it is answered, one writer at a time."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llamdex_fl.errors import ArtefactError

__all__ = ["Database", "from_seconds", "to_seconds"]

_VERSION = 3
_TABLES = """
CREATE TABLE rounds (
    challenge TEXT PRIMARY KEY,
    offer TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    closes_at INTEGER,
    closed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE uploads (
    upload_id TEXT PRIMARY KEY,
    silo TEXT NOT NULL,
    round_challenge TEXT NOT NULL REFERENCES rounds,
    challenge TEXT NOT NULL UNIQUE,
    recipient_keyid TEXT NOT NULL,
    plaintext_length INTEGER NOT NULL,
    begun_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'bound', 'committed', 'burned')),
    release_id TEXT,
    statement TEXT,
    CHECK ((status = 'open') = (statement IS NULL) OR status = 'burned')
) STRICT;
CREATE INDEX uploads_by_silo ON uploads (silo, begun_at);
CREATE TABLE releases (
    release_id TEXT PRIMARY KEY,
    upload_id TEXT NOT NULL UNIQUE REFERENCES uploads,
    silo TEXT NOT NULL,
    round_challenge TEXT NOT NULL REFERENCES rounds,
    schema_digest TEXT NOT NULL,
    architecture TEXT NOT NULL,
    purpose TEXT NOT NULL,
    base_model_digest TEXT NOT NULL,
    artefact_digest TEXT NOT NULL,
    statement TEXT NOT NULL,
    counter INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('quarantined', 'active', 'withdrawn')),
    reason TEXT NOT NULL DEFAULT '',
    receipt_id TEXT NOT NULL,
    receipt TEXT NOT NULL,
    UNIQUE (silo, round_challenge),
    UNIQUE (silo, counter)
) STRICT;
CREATE TABLE leaves (
    leaf_index INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE TABLE tree_heads (
    size INTEGER PRIMARY KEY,
    envelope TEXT NOT NULL
) STRICT;
"""


#: What each later version added, by the version that lacks it.
_ADDED = {
    1: """
CREATE TABLE noted (
    what TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT
""",
    2: """
CREATE TABLE sightings (
    silo TEXT PRIMARY KEY,
    ca TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT
""",
}


class Database:
    """One connection, shared by the threads of a process."""

    def __init__(self, path: Path) -> None:
        """Open the file, and make its tables if it is new."""
        self._lock = threading.RLock()
        # Python's own transaction handling is off (isolation_level None): each transaction below says what it is.
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
        except sqlite3.Error as error:
            raise _damaged(path) from error
        self._connection.row_factory = sqlite3.Row
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise _damaged(path) from error
        with self.transaction():
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _TABLES.split(";"):
                    self._connection.execute(statement)
            if 0 <= version < _VERSION:
                for lacking, statement in _ADDED.items():
                    if version <= lacking:
                        self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise ArtefactError(
                    f"The registry {path} was written by another version.",
                    expected=f"version {_VERSION}",
                    got=f"version {version}",
                    next_step="use the version of Llamdex FL that wrote it",
                )

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and on the disk afterwards; others who write wait."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; the number of rows it changed."""
        with self._lock:
            return self._connection.execute(sql, values).rowcount

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """The first row of a query."""
        rows = self.rows(sql, values)
        return rows[0] if rows else None


def _damaged(path: Path) -> ArtefactError:
    return ArtefactError(
        f"The registry {path} cannot be used.",
        expected="the SQLite database of this provider, which this user may read and write",
        got="something else",
        next_step="restore it from a backup: silos hold receipts of what stands in it",
    )


def to_seconds(moment: datetime) -> int:
    """A moment as whole seconds since 1970, as the tables hold it."""
    return int(moment.timestamp())


def from_seconds(seconds: int) -> datetime:
    """The moment of a table's value."""
    return datetime.fromtimestamp(seconds, UTC)
