"""What a silo keeps on disk about its uploads, so that a crash at any point loses nothing and sends nothing twice.

::

    HOME/spool/<challenge>.json          the offer and the guarantee that belong to ...
    HOME/spool/<challenge>.safetensors   ... a release on its way out, written before anything is sent
    HOME/spool/<challenge>.ldx           the same, sealed; sent again as it is
    HOME/spool/<challenge>.head          the head of the sealed file alone, durable before the commit
    HOME/receipts/<challenge>.json       what the provider confirmed; then the four above are removed
    HOME/sent/<challenge>.json           what has left: sizes and the signed statement, no weights
    HOME/uplink.json                     the statement counter, and the last tree head seen
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from llamdex_fl import weights
from llamdex_fl.envelope import (
    Answer,
    Receipt,
    RefusedError,
    SealedFile,
    SignedEnvelope,
    TreeHead,
    VerifyKey,
    guarantee_document,
    guarantee_from_document,
    write_atomically,
)
from llamdex_fl.envelope.canonical import Fields
from llamdex_fl.errors import ChannelError, EnvelopeError
from llamdex_fl.privacy.guarantee import Guarantee
from llamdex_fl.release import Offer, Release
from silo_client.config import SiloConfig
from silo_client.inspection import Inspection, inspect_files

__all__ = ["Outbox"]


class Outbox:
    """The files of one silo's uploads."""

    def __init__(self, config: SiloConfig) -> None:
        """Use a silo's directory."""
        self._home = config.home
        self._spool = config.spool
        self._receipts = config.home / "receipts"
        self._sent = config.home / "sent"
        self._state = config.home / "uplink.json"
        #: A tree head's text and the keys it was verified under, and the head.
        self._verified: tuple[tuple[str, VerifyKey | tuple[VerifyKey, ...]], TreeHead] | None = None
        for directory in (self._spool, self._receipts, self._sent):
            directory.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One upload of a silo at a time, over all processes; a process that dies lets go.

        What such a process left half-written, or sent and had no time to remove, is removed.
        """
        descriptor = os.open(self._home / "uplink.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._sweep()
            yield
        finally:
            os.close(descriptor)

    def put(self, release: Release, offer: Offer) -> None:
        """Write a release down before anything is sent; the same release again changes nothing.

        Raises:
            RefusedError: ALREADY_EXISTS, another release answers this offer.
        """
        data = weights.encode(release.tensors)
        order, digest = self._order(offer.challenge), weights.digest(data)
        if order.exists():
            if self.digest(offer.challenge) != digest:
                raise RefusedError(
                    Answer.ALREADY_EXISTS,
                    "Another release is on its way as the answer to this offer.",
                    expected="one release an offer",
                    got="a second one",
                    next_step="let the first one arrive, with resume",
                )
            return
        write_atomically(self.plaintext(offer.challenge), data, mode=0o600)
        document = {"offer": asdict(offer), "guarantee": guarantee_document(release.guarantee), "sha256": digest}
        # Last: an order without its plaintext never exists.
        write_atomically(order, json.dumps(document).encode(), mode=0o600)

    def get(self, challenge: str) -> tuple[Offer, Guarantee] | None:
        """The offer and guarantee of a release on its way; None if there is none."""
        path = self._order(challenge)
        if not path.exists():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            offer = Offer(**document["offer"])
            guarantee = guarantee_from_document(Fields(document["guarantee"], "guarantee"))
        except (OSError, ValueError, TypeError, KeyError, RefusedError) as error:
            raise _damaged(path, type(error).__name__) from error
        return offer, guarantee

    def digest(self, challenge: str) -> str:
        """Hex SHA-256 of a release on its way, taken from the bytes in memory when they were spooled."""
        path = self._order(challenge)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            # A release that an earlier version spooled has none.
            digest = document.get("sha256") or weights.file_digest(self.plaintext(challenge))
        except (OSError, ValueError, AttributeError) as error:
            raise _damaged(path, type(error).__name__) from error
        return str(digest)

    def require_intact(self, challenge: str) -> None:
        """Refuse a release whose bytes on the disk are no longer those that were spooled."""
        if weights.file_digest(self.plaintext(challenge)) != self.digest(challenge):
            raise _damaged(self.plaintext(challenge), "other bytes than were spooled")

    def plaintext(self, challenge: str) -> Path:
        """The release's safetensors file."""
        return self._spool / f"{challenge}.safetensors"

    def sealed_path(self, challenge: str) -> Path:
        """Where the sealed envelope goes."""
        return self._spool / f"{challenge}.ldx"

    def sealed(self, challenge: str) -> SealedFile | None:
        """The sealed envelope, or what a power failure left of it; None if that is nothing of use."""
        for path, whole in ((self.sealed_path(challenge), True), (self._head(challenge), False)):
            # Opened without a look whether it is there: most silos have no envelope most of the time.
            with contextlib.suppress(EnvelopeError):
                return SealedFile.open(path, whole=whole)
        self.unseal(challenge)
        return None

    def persist(self, challenge: str, sealed: SealedFile) -> None:
        """Put an envelope's head on the disk; before the commit, since only the head fetches its receipt again."""
        write_atomically(self._head(challenge), sealed.head(), mode=0o600)

    def unseal(self, challenge: str) -> None:
        """Forget a sealed envelope that will not be sent again."""
        self.sealed_path(challenge).unlink(missing_ok=True)
        self._head(challenge).unlink(missing_ok=True)

    def inspect(self, challenge: str) -> Inspection | None:
        """All that is about to leave, or has left, as the answer to the offer of this challenge."""
        order, record = self.get(challenge), self._sent / f"{challenge}.json"
        if order is not None and self.plaintext(challenge).exists():
            sealed = self.sealed(challenge)
            return inspect_files(
                challenge, *order, self.plaintext(challenge), sealed if sealed is not None and sealed.whole else None
            )
        return Inspection(**json.loads(record.read_text(encoding="utf-8"))) if record.exists() else None

    def challenges(self) -> list[str]:
        """The challenges of all releases that are on their way or have left."""
        paths = [*self._spool.glob("*.json"), *self._sent.glob("*.json")]
        return sorted({path.stem for path in paths})

    def receipts(self, key: VerifyKey | Sequence[VerifyKey]) -> list[Receipt]:
        """Every receipt that this silo holds, verified again."""
        return [
            Receipt.from_json(path.read_text(encoding="utf-8"), key) for path in sorted(self._receipts.glob("*.json"))
        ]

    def receipt(self, challenge: str, key: VerifyKey | Sequence[VerifyKey]) -> Receipt | None:
        """The receipt of an upload that arrived, verified again."""
        path = self._receipts / f"{challenge}.json"
        return Receipt.from_json(path.read_text(encoding="utf-8"), key) if path.exists() else None

    def finish(self, challenge: str, receipt: Receipt) -> None:
        """Keep the receipt and a record of what has left, then remove what was on its way."""
        seen = self.inspect(challenge)
        if seen is not None:
            left = replace(seen, state="left", receipt=receipt.as_dict())
            write_atomically(self._sent / f"{challenge}.json", json.dumps(left.as_dict()).encode(), mode=0o600)
        write_atomically(self._receipts / f"{challenge}.json", receipt.to_json().encode(), mode=0o600)
        self._order(challenge).unlink(missing_ok=True)
        # Side by side: to remove a large file a disk may have to free its blocks first.
        with ThreadPoolExecutor(2) as pool:
            removals = [
                pool.submit(path.unlink, missing_ok=True)
                for path in (self.plaintext(challenge), self.sealed_path(challenge), self._head(challenge))
            ]
        for removal in removals:
            removal.result()

    def next_counter(self, head: TreeHead | None = None) -> int:
        """A number that is larger than any before, on the disk before it is used, as is ``head``; see ``remember``."""
        state = self._read()
        if head is not None:
            state["treeHead"] = head.envelope.to_document()
        counter = int(state.get("counter", 0)) + 1
        self._write({**state, "counter": counter})
        return counter

    def tree_head(self, key: VerifyKey | Sequence[VerifyKey]) -> TreeHead | None:
        """The largest tree head that was verified."""
        document = self._read().get("treeHead")
        if document is None:
            return None
        # Asked for several times in an upload: the same text under the same keys need not be verified again.
        asked = (json.dumps(document), key if isinstance(key, VerifyKey) else tuple(key))
        if self._verified is None or self._verified[0] != asked:
            self._verified = asked, TreeHead.verified(SignedEnvelope.from_document(document), key)
        return self._verified[1]

    def remember(self, head: TreeHead) -> None:
        """Keep a tree head that extends the one before."""
        self._write({**self._read(), "treeHead": head.envelope.to_document()})

    def _sweep(self) -> None:
        # Nobody else writes while the lock is held.
        for directory in (self._spool, self._receipts):
            for path in directory.glob(".*.part"):
                path.unlink(missing_ok=True)
        for path in list(self._spool.iterdir()):
            if (self._receipts / f"{path.stem}.json").exists():
                path.unlink(missing_ok=True)

    def _head(self, challenge: str) -> Path:
        return self._spool / f"{challenge}.head"

    def _order(self, challenge: str) -> Path:
        return self._spool / f"{challenge}.json"

    def _read(self) -> dict[str, Any]:
        if not self._state.exists():
            return {}
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
        except ValueError:
            state = None
        if not isinstance(state, dict) or type(state.get("counter", 0)) is not int:
            raise ChannelError(
                f"The state {self._state} is damaged.",
                expected="what llamdex wrote there",
                got="something else",
                next_step="restore it from a backup: it holds the last tree head that was seen",
            )
        return state

    def _write(self, state: dict[str, Any]) -> None:
        write_atomically(self._state, json.dumps(state).encode(), mode=0o600)


def _damaged(path: Path, got: str) -> EnvelopeError:
    return EnvelopeError(
        f"The spooled release {path} is damaged.",
        expected="what llamdex wrote there",
        got=got,
        next_step="remove the files of this challenge from the spool; the round must be held again",
    )
