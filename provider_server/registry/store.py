"""The registry as other parts of the provider use it."""

from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from llamdex_fl import weights
from llamdex_fl.envelope import Receipt, SignedEnvelope, Statement
from llamdex_fl.envelope.merkle import leaf_hash
from llamdex_fl.errors import ArtefactError, InputError
from llamdex_fl.release import Offer, Release
from provider_server.registry.database import Database
from provider_server.registry.releases import Log, ReleaseRecord, Releases, Status
from provider_server.registry.rounds import RoundRecord, Rounds
from provider_server.registry.sightings import Sightings
from provider_server.registry.uploads import Uploads

__all__ = ["Registry"]


class Registry:
    """Rounds, uploads, releases, the log, and which certificates were seen, of one provider.

    Args:
        path: the database file; weights lie beside it, under ``artefacts/``.
    """

    def __init__(self, path: Path) -> None:
        """Open the registry; it is made if it is not there."""
        self.database = Database(path)
        self.rounds = Rounds(self.database)
        self.uploads = Uploads(self.database)
        self.accepted = Releases(self.database)
        self.log = Log(self.database)
        self.sightings = Sightings(self.database)
        self._artefacts = path.parent / "artefacts"

    def __enter__(self) -> Self:
        """Use the registry in a with statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def open_round(self, offer: Offer, *, closes_at: datetime | None = None) -> None:
        """Let silos answer an offer; a provider process that is already running sees it at once.

        Raises:
            InputError: the challenge was used before.
        """
        self.rounds.open(offer, now=datetime.now(UTC), closes_at=closes_at)

    def close_round(self, challenge: str) -> None:
        """Take no further answers to a round."""
        self.rounds.close(challenge)

    def round(self, challenge: str) -> RoundRecord | None:
        """The round of this challenge."""
        return self.rounds.find(challenge)

    def releases(
        self, schema_digest: str | None = None, *, status: Status | None = None, challenge: str | None = None
    ) -> list[ReleaseRecord]:
        """Accepted releases in the order of the log.

        Args:
            schema_digest: of this schema only.
            status: of this status only; ``active`` are those that may speak.
            challenge: answers to this round only.
        """
        return self.accepted.select(schema_digest, status, challenge)

    def load_release(self, release_id: str) -> tuple[Release, ReleaseRecord]:
        """A release with its weights.

        Raises:
            InputError: there is none of this id.
            ArtefactError: its weights are missing or are not those that were accepted.
        """
        record = self._record(release_id)
        path = self.artefact(record)
        if not path.is_file():
            raise _damaged(path, "nothing")
        data = path.read_bytes()
        if weights.digest(data) != record.artefact_digest:
            raise _damaged(path, "other bytes")
        release = Release(
            schema_digest=record.schema_digest,
            architecture=record.architecture,
            tensors=weights.decode(data),
            guarantee=record.guarantee,
        )
        return release, record

    def artefact(self, record: ReleaseRecord) -> Path:
        """Where a release's weights lie."""
        return self._artefacts / f"{record.artefact_digest}.safetensors"

    def withdraw(self, release_id: str, reason: str) -> None:
        """Let a release speak no more, for good."""
        self._record(release_id)
        self.accepted.mark(release_id, "withdrawn", reason)

    def accept(self, statement: Statement, signed: SignedEnvelope, receipt: Receipt) -> None:
        """Enter a release, its receipt and the log's leaf: all of it or nothing, and only once.

        The caller holds the transaction in which it read the leaves that the receipt was made from.
        """
        if not self.uploads.mark_committed(statement.upload_id):
            raise AssertionError(f"upload {statement.upload_id} is not bound")
        self.accepted.add(statement, signed, receipt)
        payload = receipt.envelope.payload
        self.log.append(receipt.body.leaf_index, leaf_hash(payload), payload, receipt.tree_head.envelope)

    def _record(self, release_id: str) -> ReleaseRecord:
        record = self.accepted.find(release_id)
        if record is None:
            raise InputError(
                f"There is no release {release_id}.",
                expected="an id from: llamdex-provider releases",
                got=release_id,
                next_step="mend the id",
            )
        return record


def _damaged(path: Path, got: str) -> ArtefactError:
    return ArtefactError(
        f"The expert's file {path} is not what was accepted.",
        expected="the bytes of its name's digest",
        got=got,
        next_step="restore it from a backup, or withdraw the release and hold a new round",
    )
