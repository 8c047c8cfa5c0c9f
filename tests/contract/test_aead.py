"""What a cipher must keep that STREAM is built on: the suite's own, and the one of foreign vectors."""

import io
import secrets

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from llamdex_fl.envelope import RefusedError
from llamdex_fl.envelope.stream import TAG_BYTES, Aead, stream_open, stream_seal

_NONCE = bytes(12)
_CHUNK = 64


class AeadContract:
    """Opens what it sealed under the same key, nonce and associated data, and nothing else; so does STREAM over it."""

    def cipher(self, key: bytes) -> Aead:
        raise NotImplementedError

    @pytest.mark.parametrize("size", [0, 1, 4096])
    def test_it_opens_what_it_sealed(self, size: int) -> None:
        cipher, text = self.cipher(secrets.token_bytes(32)), secrets.token_bytes(size)
        sealed = cipher.encrypt(_NONCE, text, b"with")
        assert len(sealed) == size + TAG_BYTES
        assert cipher.decrypt(_NONCE, sealed, b"with") == text

    def test_it_opens_nothing_else(self) -> None:
        key = secrets.token_bytes(32)
        cipher = self.cipher(key)
        sealed = cipher.encrypt(_NONCE, b"text", b"with")
        flipped = bytes([sealed[0] ^ 1]) + sealed[1:]
        other = self.cipher(secrets.token_bytes(32))
        for opener, nonce, data, aad in (
            (other, _NONCE, sealed, b"with"),
            (cipher, bytes(11) + b"\1", sealed, b"with"),
            (cipher, _NONCE, flipped, b"with"),
            (cipher, _NONCE, sealed[:-1], b"with"),
            (cipher, _NONCE, sealed, b"without"),
        ):
            with pytest.raises(InvalidTag):
                opener.decrypt(nonce, data, aad)

    @pytest.mark.parametrize("size", [0, 1, _CHUNK - 1, _CHUNK, _CHUNK + 1, 3 * _CHUNK])
    def test_stream_over_it_opens_the_whole_and_no_part(self, size: int) -> None:
        key, text = secrets.token_bytes(32), secrets.token_bytes(size)
        sealed = list(stream_seal(self.cipher, key, _CHUNK, b"aad", io.BytesIO(text)))
        whole = b"".join(sealed)
        assert b"".join(stream_open(self.cipher, key, _CHUNK, b"aad", io.BytesIO(whole))) == text
        cut = b"".join(sealed[:-1])
        with pytest.raises(RefusedError):
            list(stream_open(self.cipher, key, _CHUNK, b"aad", io.BytesIO(cut)))


class TestAesGcm(AeadContract):
    """The suite's."""

    def cipher(self, key: bytes) -> Aead:
        return AESGCM(key)


class TestChaCha20Poly1305(AeadContract):
    """Of age's vectors."""

    def cipher(self, key: bytes) -> Aead:
        return ChaCha20Poly1305(key)
