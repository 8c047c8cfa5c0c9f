"""Rounds: what was offered, and until when it may be answered."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from llamdex_fl.errors import InputError
from llamdex_fl.release import Offer
from provider_server.registry.database import Database, from_seconds, to_seconds

__all__ = ["RoundRecord", "Rounds"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundRecord:
    """An offer and the time in which it may be answered."""

    offer: Offer
    opened_at: datetime
    closes_at: datetime | None
    closed: bool

    def is_open(self, now: datetime) -> bool:
        """Whether an answer may still begin."""
        return not self.closed and (self.closes_at is None or now < self.closes_at)


class Rounds:
    """The table of rounds."""

    def __init__(self, database: Database) -> None:
        """Use a database."""
        self._database = database

    def open(self, offer: Offer, *, now: datetime, closes_at: datetime | None) -> None:
        """Remember an offer; raises ``InputError`` if its challenge was used before."""
        with self._database.transaction():
            if self.find(offer.challenge) is not None:
                raise InputError(
                    "This round's challenge was used before.",
                    expected="32 fresh random bytes",
                    got=offer.challenge,
                    next_step="draw a new challenge for each round",
                )
            self._database.execute(
                "INSERT INTO rounds (challenge, offer, opened_at, closes_at) VALUES (?, ?, ?, ?)",
                (
                    offer.challenge,
                    json.dumps(asdict(offer), sort_keys=True),
                    to_seconds(now),
                    None if closes_at is None else to_seconds(closes_at),
                ),
            )

    def close(self, challenge: str) -> None:
        """Take no further answers."""
        self._database.execute("UPDATE rounds SET closed = 1 WHERE challenge = ?", (challenge,))

    def find(self, challenge: str) -> RoundRecord | None:
        """The round of this challenge."""
        row = self._database.row("SELECT * FROM rounds WHERE challenge = ?", (challenge,))
        if row is None:
            return None
        return RoundRecord(
            offer=Offer(**json.loads(row["offer"])),
            opened_at=from_seconds(row["opened_at"]),
            closes_at=None if row["closes_at"] is None else from_seconds(row["closes_at"]),
            closed=bool(row["closed"]),
        )
