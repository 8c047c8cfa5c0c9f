"""An upload as an eavesdropper sees it, searched for what must not be in it.

A silo trains an expert on records under differential privacy and sends it through a relay that keeps every byte. The
bytes on the wire, the sealed envelope (what a proxy would see that ends TLS) and the statement in it are searched for
the weights, for private keys, and for the records in the forms in which a program holds them. The same search must
find all of them in the files where they are at home, or it proves nothing.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llamdex_fl import weights
from llamdex_fl.envelope import SealedFile
from llamdex_fl.experts import ARCHITECTURES, encode
from llamdex_fl.privacy import Ledger
from llamdex_fl.release import Offer, Release
from llamdex_fl.schema import load_library_schema
from silo_client import uplink
from silo_client.config import load_silo_config
from silo_client.data import SiloData, read_records
from silo_client.outbox import Outbox
from silo_client.policy import Policy, authorise
from simulations.datasets import synthetic_silos, write_silo_csv
from simulations.review.attacker import Attacker, messages, relay
from simulations.review.case import Arena
from simulations.review.consortium import PROVIDER_ID, Consortium

__all__ = ["Capture", "capture", "found", "windows"]

#: What is searched for is cut into pieces of this many bytes: by chance none of them is found.
_PIECE = 8
#: A piece of fewer different bytes than this says nothing: zeros are everywhere.
_VARIETY = 5
_PEM = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.*?)-----END", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Capture:
    """What was searched, and what was found.

    Attributes:
        wire_bytes: of both directions, on the wire.
        envelope_bytes: sealed.
        pieces: kind of secret -> how many pieces were searched for.
        found: kind of secret -> how many of them were found; all must be 0.
        control: kind of secret -> how many were found where they are at home; all must be positive.
    """

    wire_bytes: int
    envelope_bytes: int
    pieces: Mapping[str, int]
    found: Mapping[str, int]
    control: Mapping[str, int]

    @property
    def clean(self) -> bool:
        """Whether nothing was found by a search that finds."""
        return not any(self.found.values()) and all(self.control.values()) and self.wire_bytes > self.envelope_bytes


def windows(data: bytes, *, stride: int = 1) -> NDArray[np.uint64]:
    """The different pieces of some bytes, every ``stride`` bytes, without those that say nothing."""
    if len(data) < _PIECE:
        return np.empty(0, np.uint64)
    cut = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), _PIECE)[::stride]
    ordered = np.sort(cut, axis=1)
    variety = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)
    telling: NDArray[np.uint64] = np.ascontiguousarray(cut[variety >= _VARIETY]).view(np.uint64).reshape(-1)
    pieces: NDArray[np.uint64] = np.unique(telling)
    return pieces


def found(needles: NDArray[np.uint64], haystack: Iterable[bytes]) -> int:
    """How many of the needles occur anywhere in the haystack, at any offset."""
    hit = np.zeros(needles.shape, bool)
    for part in haystack:
        if len(part) >= _PIECE:
            cut = np.lib.stride_tricks.sliding_window_view(np.frombuffer(part, np.uint8), _PIECE)
            hit |= np.isin(needles, np.ascontiguousarray(cut).view(np.uint64).reshape(-1))
    return int(hit.sum())


def capture(arena: Arena) -> Capture:
    """Train, seal and send an expert through a relay, and search what was heard."""
    schema = load_library_schema("heart")
    with arena.own(schema=schema) as own:
        table = own.directory / "records.csv"
        write_silo_csv(table, schema, next(iter(synthetic_silos(schema, 0).values())))
        data, offer = read_records(table, schema), own.offer()
        release = _trained(own, data, offer)
        heard: list[bytes] = []
        with relay(own, heard=heard) as address:
            sealed_bytes, parts = _sent(own, release, offer, address)
        wire = b"".join(heard)
        keys = sorted(own.directory.rglob("*.pem"))
        secrets = {
            "weights": windows(weights.encode(release.tensors), stride=4),
            "private keys": _key_pieces(keys),
            "records": _record_pieces(table, data, own),
        }
        codes = encode(schema, data.records)
        homes: dict[str, Sequence[bytes]] = {
            "weights": [path.read_bytes() for path in (own.home / "artefacts").iterdir()],
            "private keys": [base64.b64decode(block) for path in keys for block in _PEM.findall(path.read_bytes())],
            "records": [table.read_bytes(), codes.astype(np.float64).tobytes()],
        }
        haystack = [wire, sealed_bytes, *parts]
        return Capture(
            wire_bytes=len(wire),
            envelope_bytes=len(sealed_bytes),
            pieces={kind: int(needles.size) for kind, needles in secrets.items()},
            found={kind: found(needles, haystack) for kind, needles in secrets.items()},
            control={kind: found(needles, homes[kind]) for kind, needles in secrets.items()},
        )


def _trained(own: Consortium, data: SiloData, offer: Offer) -> Release:
    from silo_client.training import train  # noqa: PLC0415 - takes seconds to import

    policy = Policy(
        data_set="review",
        schemas=(own.schema.digest(),),
        providers=(PROVIDER_ID,),
        purposes=(offer.purpose,),
        architectures=tuple(ARCHITECTURES),
        record_bound=10_000,
        release_epsilon=offer.epsilon,
        lifetime_epsilon=offer.epsilon,
        delta=offer.delta,
    )
    return train(own.schema, data, authorise(offer, policy, own.schema), Ledger(own.directory / "ledger.sqlite"))


def _sent(own: Consortium, release: Release, offer: Offer, address: str) -> tuple[bytes, list[bytes]]:
    """Send through the relay; the envelope's file, and its messages and statement."""
    config = own.silos["a"]
    path = config.home / "silo.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(own.address, address), encoding="utf-8")
    own.silos["a"] = config = load_silo_config(config.home)
    uplink.keep(release, offer, config)
    outbox = Outbox(config)
    with Attacker.connected(own) as silo:
        # Sealed here, where it can be kept: the outbox removes it once the receipt is there.
        drafted = silo.seal(outbox.plaintext(offer.challenge).read_bytes(), offer, guarantee=release.guarantee)
    drafted.path.rename(outbox.sealed_path(offer.challenge))
    sealed = SealedFile.open(outbox.sealed_path(offer.challenge))
    file = sealed.path.read_bytes()
    parts = [sealed.header.statement.payload, *(message.SerializeToString() for message in messages(sealed))]
    uplink.resume(config, offer.challenge, deadline_s=30)
    return file, parts


def _key_pieces(paths: Iterable[Path]) -> NDArray[np.uint64]:
    """Pieces of all private keys, as bytes and as the base64 that files have, without what two keys share."""
    pieces = []
    for path in paths:
        for block in _PEM.findall(path.read_bytes()):
            pieces += [windows(base64.b64decode(block)), windows(block)]
    if not pieces:
        return np.empty(0, np.uint64)
    values, counts = np.unique(np.concatenate(pieces), return_counts=True)
    # What occurs in more than one key is the format's.
    once: NDArray[np.uint64] = values[counts == 1]
    return once


def _record_pieces(table: Path, data: SiloData, own: Consortium) -> NDArray[np.uint64]:
    """Pieces of the records: as text, and as the numbers that the trainer holds."""
    _, _, body = table.read_bytes().partition(b"\n")
    codes = encode(own.schema, data.records)
    forms = [windows(body)]
    forms += [windows(codes.astype(kind).tobytes(), stride=4) for kind in (np.float32, np.float64)]
    pieces: NDArray[np.uint64] = np.unique(np.concatenate(forms))
    return pieces
