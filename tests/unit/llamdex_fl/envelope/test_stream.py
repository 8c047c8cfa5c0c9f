"""STREAM over two ciphers, any chunk size, any tampering with whole chunks."""

import io
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from llamdex_fl.envelope.refusal import Answer, RefusedError
from llamdex_fl.envelope.stream import Aead, chunk_count, chunk_nonce, stream_open, stream_seal

KEY = bytes(range(32))
CIPHERS: list[Callable[[bytes], Aead]] = [AESGCM, ChaCha20Poly1305]
TEXTS = st.binary(max_size=100)
SIZES = st.integers(1, 40)


def seal(text: bytes, size: int, cipher: Callable[[bytes], Aead] = AESGCM, aad: bytes = b"T") -> list[bytes]:
    return list(stream_seal(cipher, KEY, size, aad, io.BytesIO(text)))


def unseal(chunks: list[bytes], size: int, cipher: Callable[[bytes], Aead] = AESGCM, aad: bytes = b"T") -> bytes:
    return b"".join(stream_open(cipher, KEY, size, aad, io.BytesIO(b"".join(chunks))))


@pytest.mark.parametrize("cipher", CIPHERS)
@given(text=TEXTS, size=SIZES)
def test_round_trip(cipher: Callable[[bytes], Aead], text: bytes, size: int):
    chunks = seal(text, size, cipher)
    assert len(chunks) == chunk_count(len(text), size)
    assert sum(map(len, chunks)) == len(text) + 16 * len(chunks)
    assert unseal(chunks, size, cipher) == text


@given(text=st.binary(min_size=1, max_size=100), size=SIZES, data=st.data())
def test_any_change_is_refused(text: bytes, size: int, data: st.DataObject):
    chunks = seal(text, size)
    kind = data.draw(st.sampled_from(["flip", "drop", "repeat", "swap", "cut", "append", "aad"]))
    place = data.draw(st.integers(0, len(chunks) - 1))
    changed, aad = list(chunks), b"T"
    if kind == "flip":
        changed[place] = bytes([changed[place][0] ^ 1]) + changed[place][1:]
    elif kind == "drop":
        del changed[place]
    elif kind == "repeat":
        changed.insert(place, changed[place])
    elif kind == "swap":
        changed[place], changed[-1] = changed[-1], changed[place]
    elif kind == "cut":
        changed[-1] = changed[-1][:-1]
    elif kind == "append":
        changed.append(seal(b"more", size)[-1])
    else:
        aad = b"another"
    if changed == chunks and aad == b"T":
        return
    with pytest.raises(RefusedError) as caught:
        unseal(changed, size, aad=aad)
    assert caught.value.answer is Answer.DATA_LOSS


def test_an_empty_last_chunk_after_others_is_refused():
    cipher = AESGCM(KEY)
    chunks = [
        cipher.encrypt(chunk_nonce(0, last=False), b"abcd", b"T"),
        cipher.encrypt(chunk_nonce(1, last=True), b"", b"T"),
    ]
    with pytest.raises(RefusedError):
        unseal(chunks, 4)


def test_nonce_layout():
    assert chunk_nonce(0, last=False) == bytes(12)
    assert chunk_nonce(258, last=True) == bytes(9) + b"\x01\x02\x01"
    with pytest.raises(OverflowError):
        chunk_nonce(1 << 88, last=False)


def test_all_refusals_read_the_same():
    chunks = seal(b"abcdefgh", 4)
    texts = set()
    for bad in (chunks[:1], chunks[::-1], [b"\0" * 20, chunks[1]], [b""]):
        with pytest.raises(RefusedError) as caught:
            unseal(bad, 4)
        texts.add(str(caught.value))
    assert len(texts) == 1
