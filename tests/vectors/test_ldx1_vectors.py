"""LDX1's own vectors, which a second implementation made, through this project's code; then every tampered file."""

import base64
import hashlib
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from llamdex_fl import weights
from llamdex_fl.envelope import (
    Answer,
    Chunk,
    ChunkOpener,
    EnrolmentReply,
    EnrolmentRequest,
    Header,
    Receipt,
    RecipientKey,
    RefusedError,
    Root,
    SealedFile,
    SignedEnvelope,
    SigningKey,
    Statement,
    TreeHead,
    load_keyring,
    load_root,
    read_root,
    verify_receipt,
    verify_statement,
)
from llamdex_fl.envelope.canonical import decimal, dumps, parse
from llamdex_fl.envelope.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from llamdex_fl.envelope.stream import chunk_nonce, stream_open, stream_seal
from llamdex_fl.envelope.suite import CHUNK_SIZE, stream_cipher
from llamdex_fl.errors import EnvelopeError, KeyringError, LlamdexError, ReceiptError, WeightsError, WeightsLimitError

HERE = Path(__file__).parent
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
SHAPES = {"linear.weight": (2, 3), "linear.bias": (2,)}


def read(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads((HERE / "ldx1" / name).read_text())


def signer(name: str) -> SigningKey:
    entry = read("keys.json")["signers"][name]
    return SigningKey(
        Ed25519PrivateKey.from_private_bytes(bytes.fromhex(entry["ed25519_seed"])),
        MLDSA65PrivateKey.from_seed_bytes(bytes.fromhex(entry["mldsa65_seed"])),
    )


def recipient() -> RecipientKey:
    entry = read("keys.json")["recipient"]
    return RecipientKey(
        MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(entry["mlkem768_seed"])),
        X25519PrivateKey.from_private_bytes(bytes.fromhex(entry["x25519_private"])),
    )


def root() -> Root:
    return load_root(HERE / "ldx1" / "root.json", now=NOW)


def refused(action: Callable[[], object]) -> Answer | None:
    """The answer of a refusal; None where there was none."""
    try:
        action()
    except RefusedError as error:
        return error.answer
    return None


def test_keys():
    keys = read("keys.json")
    for name, entry in keys["signers"].items():
        public = signer(name).public
        assert (public.ed25519.hex(), public.mldsa65.hex(), public.keyid) == (
            entry["ed25519"],
            entry["mldsa65"],
            entry["keyid"],
        )
    assert recipient().public.keyid == keys["recipient"]["keyid"]


def test_canonical():
    cases = read("canonical.json")
    for case in cases["accepted"]:
        data = bytes.fromhex(case["bytes"])
        assert dumps(case["document"]) == data
        parse(data, limit=1000)
    for name, text in cases["refused"].items():
        data = text.encode("utf-8", "surrogatepass")
        assert refused(lambda data=data: parse(data, limit=1000)), name
    for text in cases["decimals"]["accepted"]:
        assert decimal(parse(dumps({"n": text}), limit=100).decimal("n")) == text
    for text in cases["decimals"]["refused"]:
        with pytest.raises(RefusedError):
            parse(dumps({"n": text}), limit=100).decimal("n")


def test_release():
    vector = read("release.json")
    sealed = SealedFile.open(HERE / "ldx1" / "release.ldx")
    envelope = sealed.header.statement
    assert envelope.payload.decode() == vector["statement"]
    assert envelope.pae().hex() == vector["pae"]
    assert envelope.digest().hex() == vector["T"]
    key = signer("silo")
    statement = verify_statement(envelope, key.public)
    assert statement.to_payload() == envelope.payload
    # Ed25519 is deterministic; ML-DSA is not, so its signature is only verified.
    ours = key.sign(envelope.pae())
    assert [s["keyid"] for s in vector["signatures"]] == [s.keyid for s in ours]
    assert base64.b64decode(vector["signatures"][0]["sig"]) == ours[0].sig
    key.public.verify(envelope.pae(), ours)
    assert statement.key_context().info().hex() == vector["info"]
    assert sealed.header.wrapped.hex() == vector["wrapped"]
    assert recipient().unwrap(sealed.header.wrapped, statement.key_context()).hex() == vector["contentKey"]
    again = recipient().public.wrap(bytes.fromhex(vector["contentKey"]), statement.key_context())
    assert recipient().unwrap(again, statement.key_context()).hex() == vector["contentKey"]
    chunks = list(sealed.chunks(0))
    assert [chunk.ciphertext.hex() for chunk in chunks] == vector["chunks"]
    opener = ChunkOpener(statement, sealed.header, recipient(), next_index=0)
    plaintext = b"".join(map(opener.open, chunks))
    assert plaintext == (HERE / "ldx1" / "expert.safetensors").read_bytes()
    assert hashlib.sha256(plaintext).hexdigest() == vector["P"] == statement.artefact_digest
    cipher = AESGCM(bytes.fromhex(vector["streamKey"]))
    assert cipher.decrypt(chunk_nonce(0, last=True), chunks[0].ciphertext, envelope.digest()) == plaintext
    tensors = weights.decode(plaintext, SHAPES)
    assert tensors["linear.bias"].tolist() == [1.0, -1.0]
    assert weights.encode(tensors) == plaintext


def test_long_release():
    vector = read("long-release.json")
    head = vector["head"]
    header = Header(
        upload_id=head["uploadId"],
        statement=SignedEnvelope.from_document(head["statement"]),
        wrapped=bytes.fromhex(head["wrapped"]),
    )
    statement = verify_statement(header.statement, signer("silo").public)
    digest = header.statement.digest()
    assert digest.hex() == vector["T"]
    content_key = recipient().unwrap(header.wrapped, statement.key_context())
    assert content_key.hex() == vector["contentKey"]

    text = bytes(number % 251 for number in range(vector["plaintextLength"]))
    sealed = stream_seal(lambda key: stream_cipher(key, digest), content_key, CHUNK_SIZE, digest, io.BytesIO(text))
    chunks = list(sealed)
    got = [{"length": len(c), "sha256": hashlib.sha256(c).hexdigest(), "tag": c[-16:].hex()} for c in chunks]
    assert got == vector["chunks"]
    opener = ChunkOpener(statement, header, recipient(), next_index=0)
    assert b"".join(opener.open(Chunk(index, chunk)) for index, chunk in enumerate(chunks)) == text
    assert opener.complete


def test_stream():
    vector = read("stream.json")
    key, aad, size = bytes.fromhex(vector["key"]), bytes.fromhex(vector["aad"]), vector["chunkSize"]
    for case in vector["accepted"]:
        text, chunks = bytes.fromhex(case["plaintext"]), [bytes.fromhex(chunk) for chunk in case["chunks"]]
        assert list(stream_seal(AESGCM, key, size, aad, io.BytesIO(text))) == chunks
        assert b"".join(stream_open(AESGCM, key, size, aad, io.BytesIO(b"".join(chunks)))) == text
    for name, sealed in vector["refused"].items():
        source = io.BytesIO(bytes.fromhex(sealed))
        assert refused(lambda source=source: list(stream_open(AESGCM, key, size, aad, source))) is Answer.DATA_LOSS, (
            name
        )


def test_log():
    vector = read("log.json")
    leaves = [leaf_hash(text.encode()) for text in vector["leaves"]]
    assert [leaf.hex() for leaf in leaves] == vector["leafHashes"]
    roots = [root_hash(leaves[:size]) for size in range(10)]
    assert [node.hex() for node in roots] == vector["roots"]
    for case in vector["inclusion"]:
        index, size, proof = case["index"], case["size"], [bytes.fromhex(node) for node in case["proof"]]
        assert inclusion_proof(leaves[:size], index) == proof
        verify_inclusion(leaves[index], index, size, proof, roots[size])
    for case in vector["consistency"]:
        old, new, proof = case["old"], case["new"], [bytes.fromhex(node) for node in case["proof"]]
        assert consistency_proof(leaves[:new], old) == proof
        verify_consistency(old, new, proof, roots[old], roots[new])
    head = TreeHead.verified(SignedEnvelope.from_document(vector["treeHead"]), signer("provider").public)
    assert (head.size, head.root_hash) == (9, roots[9])


def test_receipt():
    receipt = Receipt.from_json((HERE / "ldx1" / "receipt.json").read_text(), signer("provider").public)
    sealed = SealedFile.open(HERE / "ldx1" / "release.ldx")
    verify_receipt(receipt, sealed.statement, sealed.header.statement.digest().hex())


def test_trust():
    trust = read("trust.json")
    assert root().fingerprint() == trust["rootFingerprint"]
    ring = load_keyring(HERE / "ldx1" / "keyring.json", root(), now=NOW, at_least=trust["keyringVersionSeenLast"])
    assert ring.member("clinic-a").key == signer("silo").public
    assert ring.provider.key == signer("provider").public
    assert ring.provider.recipient(recipient().public.keyid) == recipient().public
    assert ring._payload() == SignedEnvelope.from_document(read("keyring.json")).payload


def test_enrolment():
    request = EnrolmentRequest.verified((HERE / "ldx1" / "enrolment-request.json").read_text())
    assert (request.silo, request.key) == ("clinic-a", signer("silo").public)
    reply = EnrolmentReply.from_json((HERE / "ldx1" / "enrolment-reply.json").read_text())
    assert reply.root.digest().hex() == read("trust.json")["rootFingerprint"]


def open_header(path: Path) -> None:
    """As the provider does: statement, content key, chunks."""
    document = json.loads(path.read_text())
    header = Header(
        upload_id=document["uploadId"],
        statement=SignedEnvelope.from_document(document["statement"]),
        wrapped=bytes.fromhex(document["wrapped"]),
    )
    statement = verify_statement(header.statement, signer("silo").public)
    opener = ChunkOpener(statement, header, recipient(), next_index=0)
    for index, chunk in enumerate(document["chunks"]):
        opener.open(Chunk(index, bytes.fromhex(chunk)))


def open_receipt(path: Path) -> None:
    sealed = SealedFile.open(HERE / "ldx1" / "release.ldx")
    receipt = Receipt.from_json(path.read_text(), signer("provider").public)
    verify_receipt(receipt, sealed.statement, sealed.header.statement.digest().hex())


def open_root(path: Path) -> None:

    envelope = SignedEnvelope.from_json(path.read_text())
    # The fingerprint that people compared is that of the good root; here it covers what else is wrong only.
    fingerprint = read("trust.json")["rootFingerprint"] if path.stem.endswith("fingerprint") else None
    read_root(envelope, now=NOW, fingerprint=fingerprint)


def open_root_chain(path: Path) -> Root:
    document = json.loads(path.read_text())
    first, *others = (SignedEnvelope.from_document(root) for root in document["roots"])
    now = datetime.fromisoformat(document["readAt"])
    return read_root(first, now=None, fingerprint=document["pinned"]).latest(others, now)


OPENERS = {
    "header": open_header,
    "receipt": open_receipt,
    "root": open_root,
    "root-chain": open_root_chain,
    "keyring": lambda path: load_keyring(path, root(), now=NOW, at_least=2),
    "request": lambda path: EnrolmentRequest.verified(path.read_text()),
    "safetensors": lambda path: weights.load(path, SHAPES),
}
KINDS = {"ReceiptError": ReceiptError, "KeyringError": KeyringError, "WeightsError": WeightsError}
KINDS["WeightsLimitError"] = WeightsLimitError
MANIFEST = json.loads((HERE / "tampered" / "manifest.json").read_text())["files"]


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: entry["file"])
def test_tampered(entry: dict[str, str]):
    with pytest.raises(LlamdexError) as caught:
        OPENERS[entry["kind"]](HERE / "tampered" / entry["file"])
    got = caught.value.answer.name if isinstance(caught.value, RefusedError) else type(caught.value).__name__
    assert got == entry["answer"]
    if entry["answer"] in KINDS:
        assert type(caught.value) is KINDS[entry["answer"]]


def test_every_tampered_file_is_listed():
    files = {path.name for path in (HERE / "tampered").iterdir()} - {"manifest.json"}
    assert files == {entry["file"] for entry in MANIFEST}


def test_the_good_ones_open():
    """What the tampered files differ from is accepted by the same functions."""
    open_receipt(HERE / "ldx1" / "receipt.json")
    open_root(HERE / "ldx1" / "root.json")
    last = open_root_chain(HERE / "ldx1" / "root-chain.json")
    assert (last.version, last.threshold) == (3, 2)
    assert {key.keyid for key in last.keys} == {signer("root-4").public.keyid, signer("root-5").public.keyid}
    OPENERS["keyring"](HERE / "ldx1" / "keyring.json")
    OPENERS["request"](HERE / "ldx1" / "enrolment-request.json")
    OPENERS["safetensors"](HERE / "ldx1" / "expert.safetensors")


def open_spool(path: Path) -> None:
    sealed = SealedFile.open(path)
    statement = verify_statement(sealed.header.statement, signer("silo").public)
    opener = ChunkOpener(statement, sealed.header, recipient(), next_index=0)
    for chunk in sealed.chunks(0):
        opener.open(chunk)


@pytest.mark.parametrize("place", [0, 8, 100, 2000, -1])
def test_a_damaged_spool_file_is_no_release(place: int, tmp_path: Path):
    data = bytearray((HERE / "ldx1" / "release.ldx").read_bytes())
    (tmp_path / "cut.ldx").write_bytes(bytes(data[:-1]))
    with pytest.raises(EnvelopeError):
        SealedFile.open(tmp_path / "cut.ldx")
    data[place] ^= 0x10
    (tmp_path / "flipped.ldx").write_bytes(bytes(data))
    with pytest.raises(EnvelopeError):
        open_spool(tmp_path / "flipped.ldx")


def test_documented_fields_are_the_fields():
    payload = json.loads(read("release.json")["statement"])
    assert Statement.from_payload(rfc8785.dumps(payload)).to_payload() == rfc8785.dumps(payload)
