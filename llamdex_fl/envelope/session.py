"""What the two ends tell each other during an upload, as plain values; ``llamdex_fl.wire`` puts them into messages."""

from dataclasses import dataclass
from datetime import datetime

from llamdex_fl.envelope.dsse import SignedEnvelope
from llamdex_fl.envelope.receipt import Receipt

__all__ = ["Chunk", "Committed", "Header", "Progress", "Session", "Status", "Wish"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """A silo asks for an upload: which round it answers, how much will come, and how much of the log it has seen."""

    round_challenge: str
    plaintext_length: int
    known_tree_size: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """The provider's answer; it is persisted there before it is given.

    Attributes:
        upload_id: hex, 16 bytes.
        challenge: hex, 32 bytes, good for one upload.
        recipient_keyid: which key of the keyring to wrap for; the key itself is never taken from here.
        tree_head: the log's head now.
        consistency: that it extends the head of ``Wish.known_tree_size``.
    """

    upload_id: str
    challenge: str
    expires_at: datetime
    suite: str
    recipient_keyid: str
    max_plaintext_bytes: int
    tree_head: SignedEnvelope
    consistency: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The first message of a stream: the signed statement and the wrapped content key."""

    upload_id: str
    statement: SignedEnvelope
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """A sealed chunk and its place."""

    index: int
    ciphertext: bytes | memoryview


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """The provider's answer to a commit.

    Attributes:
        consistency: between the receipt's tree head and the tree of the size that the silo said it knows; the
            smaller of the two is the older one.
    """

    receipt: Receipt
    consistency: tuple[bytes, ...]


Status = str
#: Words for ``Progress.status``; the same stand in the registry.
OPEN, BOUND, COMMITTED, BURNED = "open", "bound", "committed", "burned"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where an upload stands: ``open`` (no statement yet), ``bound`` (to a statement), ``committed``, ``burned``."""

    status: Status
    next_index: int
