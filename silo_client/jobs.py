"""What the daemon remembers of each round, so that a round that is asked twice trains once.

A job goes ``accepted`` -> ``trained`` -> ``done`` and never back, each step on disk before the next begins:

- ``accepted``: the offer was authorised. Nothing has left. After a crash the training starts again and is charged
  again: the ledger may count too much, never too little.
- ``trained``: the guarantee is known and the sealed envelope may be on its way. After a crash the envelope in the
  spool goes on; if none was spooled yet, nothing has left and it is as before.
- ``done``: the provider's receipt is here. The same round gets the same receipt for ever.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from llamdex_fl.errors import ArtefactError, InputError
from llamdex_fl.release import Offer
from llamdex_fl.rounds import check_facts, offer_to_text

__all__ = ["Job", "JobState", "JobStore"]

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    challenge TEXT PRIMARY KEY,
    offer TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'trained', 'done')),
    guarantee TEXT,
    facts TEXT,
    changed_at REAL NOT NULL
) STRICT
"""


class JobState(StrEnum):
    """How far a job has come."""

    ACCEPTED = "accepted"
    TRAINED = "trained"
    DONE = "done"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One round at this silo."""

    challenge: str
    state: JobState
    guarantee: str | None
    facts: Mapping[str, str] | None


class JobStore:
    """The jobs in one SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it."""
        self._path = path
        with self._transaction() as database:
            database.execute(_TABLE)
        path.chmod(0o600)

    def find(self, offer: Offer) -> Job | None:
        """The job of this offer's round, if there is one.

        Raises:
            InputError: the round is known with another offer.
        """
        with self._transaction() as database:
            row = database.execute(
                "SELECT offer, state, guarantee, facts FROM jobs WHERE challenge = ?", (offer.challenge,)
            ).fetchone()
        if row is None:
            return None
        if row[0] != _canonical(offer):
            raise InputError(
                "This round was offered before with other terms.",
                expected="the same offer, or a fresh challenge",
                got="other terms under the same challenge",
                next_step="open a new round",
            )
        facts = check_facts(json.loads(row[3])) if row[3] is not None else None
        return Job(challenge=offer.challenge, state=JobState(row[1]), guarantee=row[2], facts=facts)

    def accept(self, offer: Offer) -> None:
        """Remember an authorised offer; one that is known stays as it is."""
        with self._transaction() as database:
            database.execute(
                "INSERT OR IGNORE INTO jobs (challenge, offer, state, changed_at) VALUES (?, ?, 'accepted', ?)",
                (offer.challenge, _canonical(offer), time.time()),
            )

    def trained(self, challenge: str, guarantee: str) -> None:
        """The expert is trained; its guarantee stands."""
        self._step(challenge, "state = 'trained', guarantee = ?", guarantee, "state IN ('accepted', 'trained')")

    def done(self, challenge: str, facts: Mapping[str, str]) -> None:
        """The receipt is here."""
        text = json.dumps(check_facts(facts), sort_keys=True)
        self._step(challenge, "state = 'done', facts = ?", text, "state = 'trained'")

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        with self._transaction() as database:
            return dict(database.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())

    def _step(self, challenge: str, change: str, value: str, allowed: str) -> None:
        with self._transaction() as database:
            changed = database.execute(
                f"UPDATE jobs SET {change}, changed_at = ? WHERE challenge = ? AND {allowed}",  # noqa: S608  # nosec B608 - constants of this module
                (value, time.time(), challenge),
            ).rowcount
        if changed != 1:
            raise ArtefactError(
                "A job took a step that it may not take.",
                expected=allowed,
                got="another state",
                next_step="look at the daemon's log; the round can be opened again",
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # A connection a transaction: the daemon's threads share nothing, and a kill leaves no half step.
        database = sqlite3.connect(self._path, timeout=30.0)
        try:
            database.execute("PRAGMA synchronous = FULL")
            with database:
                yield database
        finally:
            database.close()


def _canonical(offer: Offer) -> str:
    return json.dumps(offer_to_text(offer), sort_keys=True)
