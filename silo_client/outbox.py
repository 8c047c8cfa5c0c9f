"""What a silo keeps on disk about its uploads, so that a crash at any point loses nothing and sends nothing twice.

::

    HOME/spool/<challenge>.json          the offer and the guarantee that belong to ...
    HOME/spool/<challenge>.safetensors   ... a release on its way out, written before anything is sent
    HOME/spool/<challenge>.ldx           the same, sealed; sent again as it is
    HOME/receipts/<challenge>.json       what the provider confirmed; then the three above are removed
    HOME/sent/<challenge>.json           what has left: sizes and the signed statement, no weights
    HOME/uplink.json                     the statement counter, and the last tree head seen
"""

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
        order = self._order(offer.challenge)
        if order.exists():
            if weights.digest(self.plaintext(offer.challenge).read_bytes()) != weights.digest(data):
                raise RefusedError(
                    Answer.ALREADY_EXISTS,
                    "Another release is on its way as the answer to this offer.",
                    expected="one release an offer",
                    got="a second one",
                    next_step="let the first one arrive, with resume",
                )
            return
        write_atomically(self.plaintext(offer.challenge), data, mode=0o600)
        document = {"offer": asdict(offer), "guarantee": guarantee_document(release.guarantee)}
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
            raise EnvelopeError(
                f"The spooled order {path} is damaged.",
                expected="what llamdex wrote there",
                got=type(error).__name__,
                next_step="remove the files of this challenge from the spool; the round must be held again",
            ) from error
        return offer, guarantee

    def plaintext(self, challenge: str) -> Path:
        """The release's safetensors file."""
        return self._spool / f"{challenge}.safetensors"

    def sealed_path(self, challenge: str) -> Path:
        """Where the sealed envelope goes."""
        return self._spool / f"{challenge}.ldx"

    def sealed(self, challenge: str) -> SealedFile | None:
        """The sealed envelope; None if there is none, or not a whole one."""
        path = self.sealed_path(challenge)
        if not path.exists():
            return None
        try:
            return SealedFile.open(path)
        except EnvelopeError:
            self.unseal(challenge)
            return None

    def unseal(self, challenge: str) -> None:
        """Forget a sealed envelope that will not be sent again."""
        self.sealed_path(challenge).unlink(missing_ok=True)

    def inspect(self, challenge: str) -> Inspection | None:
        """All that is about to leave, or has left, as the answer to the offer of this challenge."""
        order, record = self.get(challenge), self._sent / f"{challenge}.json"
        if order is not None and self.plaintext(challenge).exists():
            return inspect_files(challenge, *order, self.plaintext(challenge), self.sealed(challenge))
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
                for path in (self.plaintext(challenge), self.sealed_path(challenge))
            ]
        for removal in removals:
            removal.result()

    def next_counter(self) -> int:
        """A number that is larger than any before, on the disk before it is used."""
        state = self._read()
        counter = int(state.get("counter", 0)) + 1
        self._write({**state, "counter": counter})
        return counter

    def tree_head(self, key: VerifyKey | Sequence[VerifyKey]) -> TreeHead | None:
        """The largest tree head that was verified."""
        document = self._read().get("treeHead")
        return None if document is None else TreeHead.verified(SignedEnvelope.from_document(document), key)

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
