"""Other people's vectors through this project's own seal, open and verify.

HPKE: ``cryptography-vectors`` (RFC 9180 and draft-ietf-hpke-pq). STREAM: age's test vectors (C2SP CCTV), whose
payload is this construction with ChaCha20-Poly1305. Merkle: the cases of transparency-dev/merkle. See README.md.
"""

import base64
import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM1024P384PrivateKey, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from llamdex_fl.envelope import Answer, RefusedError
from llamdex_fl.envelope.hpke import hpke_open, hpke_seal
from llamdex_fl.envelope.merkle import verify_consistency, verify_inclusion
from llamdex_fl.envelope.stream import chunk_nonce, stream_open, stream_seal
from llamdex_fl.errors import ReceiptError

FOREIGN = Path(__file__).parent / "foreign"
KEMS = {
    0x0010: (KEM.P256, 65),
    0x0011: (KEM.P384, 97),
    0x0012: (KEM.P521, 133),
    0x0020: (KEM.X25519, 32),
    0x0041: (KEM.MLKEM768, 1088),
    0x0042: (KEM.MLKEM1024, 1568),
    0x0051: (KEM.MLKEM1024_P384, 1568 + 97),
    0x647A: (KEM.MLKEM768_X25519, 1088 + 32),
}
KDFS = {1: KDF.HKDF_SHA256, 2: KDF.HKDF_SHA384, 3: KDF.HKDF_SHA512, 16: KDF.SHAKE128, 17: KDF.SHAKE256}
AEADS = {1: AEAD.AES_128_GCM, 2: AEAD.AES_256_GCM, 3: AEAD.CHACHA20_POLY1305}
CURVES: dict[int, ec.EllipticCurve] = {0x10: ec.SECP256R1(), 0x11: ec.SECP384R1(), 0x12: ec.SECP521R1()}


def hpke_vectors(name: str) -> list[dict[str, Any]]:
    """Those whose mode and algorithms the library has: base mode, no export-only, no X448, no TurboSHAKE."""
    with cryptography_vectors.open_vector_file(f"HPKE/{name}", "r") as file:
        vectors = json.load(file)
    return [
        v for v in vectors if v["mode"] == 0 and v["kem_id"] in KEMS and v["kdf_id"] in KDFS and v["aead_id"] in AEADS
    ]


def private_key(vector: dict[str, Any]) -> Any:  # noqa: ANN401 - of the suite
    kem, raw = vector["kem_id"], bytes.fromhex(vector["skRm"])
    if kem in CURVES:
        return ec.derive_private_key(int.from_bytes(raw, "big"), CURVES[kem])
    if kem == 0x20:
        return x25519.X25519PrivateKey.from_private_bytes(raw)
    if kem == 0x41:
        return mlkem.MLKEM768PrivateKey.from_seed_bytes(raw)
    if kem == 0x42:
        return mlkem.MLKEM1024PrivateKey.from_seed_bytes(raw)
    # A hybrid's private key is a seed of 32 bytes that SHAKE256 expands.
    if kem == 0x647A:
        wide = hashlib.shake_256(raw).digest(96)
        halves = (
            mlkem.MLKEM768PrivateKey.from_seed_bytes(wide[:64]),
            x25519.X25519PrivateKey.from_private_bytes(wide[64:]),
        )
        return MLKEM768X25519PrivateKey(*halves)
    wide = hashlib.shake_256(raw).digest(64 + 48)
    scalar = ec.derive_private_key(int.from_bytes(wide[64:], "big"), ec.SECP384R1())
    return MLKEM1024P384PrivateKey(mlkem.MLKEM1024PrivateKey.from_seed_bytes(wide[:64]), scalar)


def ids(vector: dict[str, Any]) -> str:
    return f"{vector['kem_id']:#06x}-{vector['kdf_id']}-{vector['aead_id']}"


VECTORS = hpke_vectors("test-vectors.json") + hpke_vectors("hpke-pq-test-vectors.json")


def test_how_many_hpke_vectors_apply():
    assert len(hpke_vectors("test-vectors.json")) == 18
    assert {v["kem_id"] for v in hpke_vectors("hpke-pq-test-vectors.json")} >= {0x41, 0x42, 0x51, 0x647A}


@pytest.mark.parametrize("vector", VECTORS, ids=ids)
def test_hpke(vector: dict[str, Any]):
    kem, size = KEMS[vector["kem_id"]]
    suite = Suite(kem, KDFS[vector["kdf_id"]], AEADS[vector["aead_id"]])
    key, info, enc = private_key(vector), bytes.fromhex(vector["info"]), bytes.fromhex(vector["enc"])
    assert len(enc) == size
    # Single shot is the first message of a context.
    first = vector["encryptions"][0]
    aad, text, sealed = bytes.fromhex(first["aad"]), bytes.fromhex(first["pt"]), enc + bytes.fromhex(first["ct"])
    assert hpke_open(suite, sealed, key, info, aad) == text
    for bad in (
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), info, aad),
        (sealed, info + b"x", aad),
        (sealed, info, aad + b"x"),
        (sealed[:size], info, aad),
        (sealed[: size - 1], info, aad),
        (b"", info, aad),
    ):
        with pytest.raises(RefusedError) as caught:
            hpke_open(suite, bad[0], key, bad[1], bad[2])
        assert caught.value.answer is Answer.DATA_LOSS
    for data in (aad, b""):
        again = hpke_seal(suite, text, key.public_key(), info, data)
        assert again != sealed
        assert hpke_open(suite, again, key, info, data) == text


def age_vectors() -> Iterator[Any]:
    for name, text in sorted(json.loads((FOREIGN / "age-stream.json").read_text())["files"].items()):
        yield pytest.param(base64.b64decode(text), id=name)


def as_age_releases(key: bytes, payload: bytes) -> bytes:
    cipher, released, size = ChaCha20Poly1305(key), b"", 64 * 1024 + 16
    for index, start in enumerate(range(0, len(payload), size)):
        chunk = payload[start : start + size]
        for last in (False, True):
            try:
                text = cipher.decrypt(chunk_nonce(index, last=last), chunk, b"")
            except InvalidTag:
                continue
            if (len(chunk) < size and not last) or (index and not text):
                return released
            released += text
            if last:
                return released
            break
        else:
            return released
    return released


@pytest.mark.parametrize("data", list(age_vectors()))
def test_age_payloads(data: bytes):
    """Only what STREAM decides is decided here: the file key is given, and the header's own checks are age's."""
    fields, _, body = data.partition(b"\n\n")
    header = dict(line.split(": ", 1) for line in fields.decode().splitlines())
    if header.get("compressed") == "zlib":
        body = zlib.decompress(body)
    # The payload follows the line of the header's MAC.
    start = body.index(b"\n", body.index(b"\n---") + 1) + 1
    nonce, payload = body[start : start + 16], body[start + 16 :]
    derive = HKDF(algorithm=SHA256(), length=32, salt=nonce, info=b"payload")
    key, given, refused = derive.derive(bytes.fromhex(header["file key"])), b"", len(nonce) < 16
    try:
        if not refused:
            for part in stream_open(ChaCha20Poly1305, key, 64 * 1024, b"", io.BytesIO(payload)):
                given += part
    except RefusedError:
        refused = True
    assert refused == (header["expect"] != "success")
    if "payload" in header:
        # age guesses from a chunk itself whether it is the last, and so gives more before some refusals than this
        # code does, which looks whether anything follows. It never gives what age would not.
        released = as_age_releases(key, payload)
        assert hashlib.sha256(released).hexdigest() == header["payload"]
        assert released.startswith(given)
        assert refused or given == released
    if not refused:
        again = b"".join(stream_seal(ChaCha20Poly1305, key, 64 * 1024, b"", io.BytesIO(given)))
        assert again == payload


def merkle_cases(kind: str) -> list[Any]:
    document = json.loads((FOREIGN / "merkle.json").read_text())
    return [pytest.param(case, id=f"{number}-{case['desc']}") for number, case in enumerate(document[kind])]


def test_how_many_merkle_cases_there_are():
    assert (len(merkle_cases("inclusion")), len(merkle_cases("consistency"))) == (98, 97)


@pytest.mark.parametrize("case", merkle_cases("inclusion"))
def test_inclusion(case: dict[str, Any]):
    leaf, root, *proof = (bytes.fromhex(text) for text in (case["leafHash"], case["root"], *case["proof"]))
    if case["wantErr"]:
        with pytest.raises(ReceiptError):
            verify_inclusion(leaf, case["leafIndex"], case["treeSize"], proof, root)
    else:
        verify_inclusion(leaf, case["leafIndex"], case["treeSize"], proof, root)


@pytest.mark.parametrize("case", merkle_cases("consistency"))
def test_consistency(case: dict[str, Any]):
    old, new, *proof = (bytes.fromhex(text) for text in (case["root1"], case["root2"], *case["proof"]))
    if case["wantErr"]:
        with pytest.raises(ReceiptError):
            verify_consistency(case["size1"], case["size2"], proof, old, new)
    else:
        verify_consistency(case["size1"], case["size2"], proof, old, new)
