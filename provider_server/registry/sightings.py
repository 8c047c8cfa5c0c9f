"""Which CA signed the certificate that each silo showed last; a CA is not retired before all have a newer one."""

from dataclasses import dataclass
from datetime import datetime

from provider_server.registry.database import Database, from_seconds, to_seconds

__all__ = ["Sighting", "Sightings"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What a silo showed last.

    Attributes:
        ca: hex SHA-256 of the certificate of the CA that signed the silo's.
        since: when it first showed this one.
    """

    silo: str
    ca: str
    since: datetime


class Sightings:
    """The table of sightings."""

    def __init__(self, database: Database) -> None:
        """Use a database."""
        self._database = database

    def note(self, silo: str, ca: str, now: datetime) -> None:
        """A silo showed a certificate of this CA."""
        self._database.execute(
            "INSERT INTO sightings VALUES (?, ?, ?) ON CONFLICT (silo) DO UPDATE"
            " SET ca = excluded.ca, since = excluded.since WHERE ca != excluded.ca",
            (silo, ca, to_seconds(now)),
        )

    def all(self) -> dict[str, Sighting]:
        """The last sighting of each silo that was seen, by its id."""
        return {
            row["silo"]: Sighting(silo=row["silo"], ca=row["ca"], since=from_seconds(row["since"]))
            for row in self._database.rows("SELECT * FROM sightings ORDER BY silo")
        }
