"""The STREAM construction: authenticated encryption of a long text in chunks that cannot be moved.

Each chunk is sealed with the nonce ``index (11 bytes, big-endian) || last (1 byte)``, so a chunk that is dropped,
swapped or repeated, and a text that is cut short or carried on, do not open. Source: Hoang, Reyhanitabar, Rogaway
and Vizár, CRYPTO 2015 (eprint 2015/189), STREAM; the nonce is that of age (C2SP age-encryption.org/v1).

Generic in cipher, chunk size and associated data, so that foreign vectors run through the same code; the suite
fixes them (``llamdex_fl.envelope.suite``). A key must seal one text only.
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from cryptography.exceptions import InvalidTag

from llamdex_fl.envelope.refusal import damaged

__all__ = ["Aead", "chunk_count", "chunk_nonce", "decrypt_chunk", "encrypt_chunk", "stream_open", "stream_seal"]

_COUNTER_BYTES = 11
TAG_BYTES = 16


class Aead(Protocol):
    """A cipher with 12-byte nonces and 16-byte tags, already keyed."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Seal."""

    def decrypt(self, nonce: bytes, data: bytes | memoryview, associated_data: bytes | None) -> bytes:
        """Open, or raise InvalidTag."""


def chunk_nonce(index: int, *, last: bool) -> bytes:
    """The nonce of a chunk."""
    return index.to_bytes(_COUNTER_BYTES, "big") + bytes([last])


def chunk_count(length: int, chunk_size: int) -> int:
    """How many chunks a text of this many bytes has; an empty text has one, empty chunk."""
    return max(1, -(-length // chunk_size))


def encrypt_chunk(cipher: Aead, index: int, plaintext: bytes, *, last: bool, aad: bytes) -> bytes:
    """Seal one chunk."""
    return cipher.encrypt(chunk_nonce(index, last=last), plaintext, aad)


def decrypt_chunk(cipher: Aead, index: int, ciphertext: bytes | memoryview, *, last: bool, aad: bytes) -> bytes:
    """Open one chunk.

    Raises:
        RefusedError: DATA_LOSS, it does not open.
    """
    try:
        return cipher.decrypt(chunk_nonce(index, last=last), ciphertext, aad)
    except InvalidTag:
        raise damaged() from None


def stream_seal(
    aead: Callable[[bytes], Aead], key: bytes, chunk_size: int, aad: bytes, source: BinaryIO
) -> Iterator[bytes]:
    """Seal all of ``source``, chunk by chunk."""
    cipher = aead(key)
    index, chunk = 0, source.read(chunk_size)
    while following := source.read(chunk_size):
        yield encrypt_chunk(cipher, index, chunk, last=False, aad=aad)
        index, chunk = index + 1, following
    yield encrypt_chunk(cipher, index, chunk, last=True, aad=aad)


def stream_open(
    aead: Callable[[bytes], Aead], key: bytes, chunk_size: int, aad: bytes, source: BinaryIO
) -> Iterator[bytes]:
    """Open all of ``source``, chunk by chunk; what was given before a refusal is authentic, but not complete.

    Raises:
        RefusedError: DATA_LOSS, a chunk does not open, is missing, or is empty after another.
    """
    cipher = aead(key)
    sealed = chunk_size + TAG_BYTES
    index, chunk = 0, source.read(sealed)
    while following := source.read(sealed):
        yield decrypt_chunk(cipher, index, chunk, last=False, aad=aad)
        index, chunk = index + 1, following
    plaintext = decrypt_chunk(cipher, index, chunk, last=True, aad=aad)
    if index and not plaintext:
        # Two texts, with and without an empty last chunk, would mean the same.
        raise damaged()
    yield plaintext
