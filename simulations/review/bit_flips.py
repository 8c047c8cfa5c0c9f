"""Random bit flips over a real sealed upload: header, statement, signatures, wrapped key and chunks.

In this process the bytes go through the provider's own code from the message on: parsing, intake, opening, spool and
commit, with a real home, keyring and registry. Over the wire the same is done against a provider process. Nothing
with a flipped bit may be accepted.
"""

import random
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from llamdex_fl.envelope import Chunk, Header, RefusedError, SealedFile
from llamdex_fl.experts import tensor_shapes
from llamdex_fl.privacy import certify
from llamdex_fl.wire import convert
from provider_server.config import load_provider_config
from provider_server.desk import Checks, Desk
from provider_server.keys import load_provider_keys
from provider_server.registry import Registry
from silo_client.enrolment import load_identity
from simulations.review.attacker import Attacker, messages
from simulations.review.case import Arena

__all__ = ["BitFlips", "flip_in_process", "flip_over_the_wire"]

#: Told after each flip: flips done, flips planned.
Told = Callable[[int, int], None]
_CHUNKS = "chunks"


@dataclass(frozen=True, kw_only=True, slots=True)
class BitFlips:
    """How many were tried, and how many of those were accepted.

    Attributes:
        by_part: tried, by the part of the messages in which a bit was flipped.
        seed: of the places.
    """

    tried: int
    accepted: int
    by_part: Mapping[str, int]
    seed: int


class _Places:
    """Draws a message, and a place in it, part by part: a header is small beside its chunks."""

    def __init__(self, sealed: SealedFile, parts: list[bytes], seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - places, no secrets
        self._header, *self.chunks = parts
        signed = sealed.header.statement
        self._ranges = {"header": (0, len(self._header))}
        for name, text in {
            "statement": signed.payload,
            "Ed25519": signed.signatures[0].sig,
            "ML-DSA-65": signed.signatures[1].sig,
            "wrapped key": sealed.header.wrapped,
        }.items():
            start = self._header.index(text)
            self._ranges[name] = (start, start + len(text))

    def draw(self) -> tuple[str, int, bytes]:
        """A part's name, the number of its chunk (-1 for the header), and its message with one bit flipped."""
        part = self._random.choice([*self._ranges, _CHUNKS])
        if part == _CHUNKS:
            index = self._random.randrange(len(self.chunks))
            message, (low, high) = self.chunks[index], (0, len(self.chunks[index]))
        else:
            index, message, (low, high) = -1, self._header, self._ranges[part]
        flipped = bytearray(message)
        flipped[self._random.randrange(low, high)] ^= 1 << self._random.randrange(8)
        return part, index, bytes(flipped)


class _Desk:
    """Stands where the generated stub stands, and asks a desk in this process."""

    def __init__(self, desk: Desk, silo: str) -> None:
        self.desk = desk
        self._silo = silo

    def BeginUpload(self, message: Any, **_: object) -> Any:  # noqa: ANN401, N802 - as the stub has it
        return convert.begin_response(self.desk.begin(self._silo, convert.read_begin_request(message)))


def flip_in_process(arena: Arena, count: int, *, seed: int | None = None, told: Told | None = None) -> BitFlips:
    """Flip bits, and give the messages to a desk in this process.

    A flip counts as accepted as soon as a header binds a session or a chunk is spooled, which is less than a commit.

    Args:
        arena: where a home is founded; no process is started.
        count: how many flips.
        seed: of the places; a new one if None.
        told: shows how far it is.

    Raises:
        Exception: whatever else than a refusal a flip causes: a bug.
    """
    seed = secrets.randbits(32) if seed is None else seed
    with arena.own(start=False) as own:
        config = load_provider_config(own.home)
        with Registry(config.registry) as registry:
            checks = Checks(
                tensor_shapes=tensor_shapes,
                certify_epsilon=lambda mechanisms, delta: certify(mechanisms, delta).epsilon,
            )
            desk = Desk(config, registry, load_provider_keys(config), checks)
            identity = load_identity(own.silos["a"])
            attacker = Attacker(consortium=own, silo="a", identity=identity, stub=_Desk(desk, "a"))
            return _flip(desk, attacker, count, seed, told or (lambda _done, _of: None))


def _flip(desk: Desk, attacker: Attacker, count: int, seed: int, told: Told) -> BitFlips:
    sealed = attacker.seal()
    parts = [message.SerializeToString() for message in messages(sealed)]
    parse = type(convert.header_request(sealed.header)).FromString
    places, tried, accepted = _Places(sealed, parts, seed), Counter[str](), 0
    # One upload for each chunk, which has all chunks before it; the header's flips find an open session.
    streams = []
    for index in range(len(parts) - 1):
        one = attacker.seal()
        stream = desk.receive("a", one.header)
        chunks = list(one.chunks(0))
        for chunk in chunks[:index]:
            stream.write(chunk)
        streams.append((stream, convert.chunk_request(chunks[index]).SerializeToString()))
    places.chunks = [message for _, message in streams]
    for done in range(count):
        part, index, message = places.draw()
        tried[part] += 1
        try:
            read = convert.read_upload_request(parse(message))
            if index >= 0 and isinstance(read, Chunk):
                streams[index][0].write(read)
                accepted += 1
            elif index < 0 and isinstance(read, Header):
                desk.receive("a", read).close()
                accepted += 1
        except (RefusedError, DecodeError):
            pass
        told(done + 1, count)
    for stream, _ in streams:
        stream.close()
    return BitFlips(tried=count, accepted=accepted, by_part=dict(tried), seed=seed)


def flip_over_the_wire(arena: Arena, count: int, *, seed: int | None = None) -> BitFlips:
    """Flip bits, and send whole uploads to the shared provider process; raises for a status that no refusal has."""
    seed = secrets.randbits(32) if seed is None else seed
    tried, accepted = Counter[str](), 0
    with arena.attacker() as attacker:
        sealed = attacker.seal()
        for number in range(count):
            if attacker.status(sealed) != "open":
                sealed = attacker.seal()
            parts = [message.SerializeToString() for message in messages(sealed)]
            part, index, message = _Places(sealed, parts, seed + number).draw()
            tried[part] += 1
            parts[index + 1] = message
            accepted += _accepts(attacker, sealed, parts)
    return BitFlips(tried=count, accepted=accepted, by_part=dict(tried), seed=seed)


def _accepts(attacker: Attacker, sealed: SealedFile, parts: list[bytes]) -> bool:
    try:
        attacker.upload_bytes(parts)
        attacker.commit(sealed)
    except grpc.RpcError as error:
        if error.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}:
            raise
        return False
    return True
