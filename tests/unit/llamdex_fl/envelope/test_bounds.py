"""Each limit of a document from both sides: what is just allowed, and what is just not."""

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rfc8785

from llamdex_fl.envelope import (
    Answer,
    Receipt,
    RefusedError,
    SealedFile,
    SignedEnvelope,
    Statement,
    VerifyKey,
    sign,
    verify_statement,
)
from llamdex_fl.envelope.refusal import DocumentError
from llamdex_fl.envelope.statement import STATEMENT_LIMIT, STATEMENT_TYPE
from llamdex_fl.envelope.suite import KeyContext
from llamdex_fl.errors import ReceiptError

VECTORS = Path(__file__).parents[3] / "vectors" / "ldx1"


def statement(sealed: SealedFile) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(sealed.header.statement.payload)
    return document


def read(document: dict[str, Any]) -> Statement:
    return Statement.from_payload(rfc8785.dumps(document))


GAUSSIAN = {
    "kind": "sampled_gaussian",
    "samplingRate": "0.5",
    "noiseMultiplier": "8.0",
    "steps": 50,
    "maxGradNorm": "1.0",
}
BOUNDS: list[tuple[str, list[Any], list[Any]]] = [
    ("samplingRate", ["1.0", "1e-09"], ["0.0", "1.0000000000000002", "-0.5"]),
    ("noiseMultiplier", ["999999999.0", "1e-09"], ["0.0", "1000000000.0"]),
    ("maxGradNorm", ["999999999.0", "1e-09"], ["0.0", "1000000000.0"]),
    ("steps", [1, 10**7], [0, 10**7 + 1]),
]


@pytest.mark.parametrize(("name", "good", "bad"), BOUNDS, ids=[bound[0] for bound in BOUNDS])
def test_mechanisms(name: str, good: list[Any], bad: list[Any], sealed: SealedFile):
    document = statement(sealed)
    for value in good:
        document["predicate"]["guarantee"]["mechanisms"] = [{**GAUSSIAN, name: value}]
        assert len(read(document).guarantee.mechanisms) == 1
    for value in bad:
        document["predicate"]["guarantee"]["mechanisms"] = [{**GAUSSIAN, name: value}]
        with pytest.raises(DocumentError):
            read(document)


def test_the_claim(sealed: SealedFile):
    document = statement(sealed)
    guarantee = document["predicate"]["guarantee"]
    for name, good, bad in (
        ("epsilon", ["1e-09", "1e+16"], ["0.0", "-1.0"]),
        ("delta", ["0.0", "0.9999"], ["1.0", "-0.1"]),
        ("accountant", ["x" * 128, ""], ["x" * 129]),
        ("accountantVersion", ["x" * 128], ["x" * 129]),
        ("mechanisms", [[{"kind": "laplace_counts", "epsilon": "0.1"}] * 64], [[GAUSSIAN] * 65, []]),
    ):
        for value in good:
            document["predicate"]["guarantee"] = {**guarantee, name: value}
            read(document)
        for value in bad:
            document["predicate"]["guarantee"] = {**guarantee, name: value}
            with pytest.raises(DocumentError):
                read(document)


def test_counts(sealed: SealedFile):
    document = statement(sealed)
    predicate = document["predicate"]
    for length, count in ((1, 1), (1 << 18, 1), ((1 << 18) + 1, 2)):
        document["predicate"] = {**predicate, "plaintextLength": length, "chunkCount": count, "counter": 1}
        assert read(document).chunk_count == count
        document["predicate"]["chunkCount"] = count + 1
        with pytest.raises(DocumentError):
            read(document)


def test_size_of_a_statement(world: SimpleNamespace):
    """The largest one is parsed, and only refused as a document; one byte more is too large."""
    for size, answer in ((STATEMENT_LIMIT, Answer.INVALID_ARGUMENT), (STATEMENT_LIMIT + 1, Answer.RESOURCE_EXHAUSTED)):
        with pytest.raises(RefusedError) as caught:
            verify_statement(sign(STATEMENT_TYPE, b"{" + b" " * (size - 1), world.silo), world.silo.public)
        assert caught.value.answer is answer


def test_bounds_of_dsse():
    good: dict[str, Any] = {"payload": "", "payloadType": "t" * 256, "signatures": []}
    signature = {"keyid": "k" * 256, "sig": base64.b64encode(b"x" * 12_288).decode()}
    assert len(SignedEnvelope.from_document({**good, "signatures": [signature] * 32}).signatures) == 32
    for bad in (
        {**good, "payloadType": "t" * 257},
        {**good, "signatures": [signature] * 33},
        {**good, "signatures": [{**signature, "keyid": "k" * 257}]},
        {**good, "signatures": [{**signature, "sig": base64.b64encode(b"x" * 12_289).decode()}]},
        {**good, "signatures": [{**signature, "note": 1}]},
        {**good, "payload": "AA=A"},
        {**good, "payload": "é"},
    ):
        with pytest.raises(DocumentError):
            SignedEnvelope.from_document(bad)


@pytest.mark.parametrize("name", ["root.json", "keyring.json"])
def test_the_file_of_an_envelope(name: str):
    text = (VECTORS / name).read_text()
    assert SignedEnvelope.from_json(text).to_json() + "\n" == text


def test_the_file_of_a_receipt():
    text = (VECTORS / "receipt.json").read_text()
    entry = json.loads((VECTORS / "keys.json").read_text())["signers"]["provider"]
    key = VerifyKey(bytes.fromhex(entry["ed25519"]), bytes.fromhex(entry["mldsa65"]))
    receipt = Receipt.from_json(text, key)
    document = json.loads(text)
    order = ("receipt", "inclusionProof", "treeHead")
    assert receipt.to_json() == json.dumps({name: document[name] for name in order}, indent=1)
    assert Receipt.from_json(receipt.to_json(), key) == receipt
    body = json.loads(base64.b64decode(document["receipt"]["payload"]))
    assert receipt.as_dict() == {"receiptId": receipt.receipt_id, **body}
    proof = [bytes(32)] * 65
    with pytest.raises(ReceiptError) as caught:
        Receipt.verified(receipt.envelope, proof, receipt.tree_head.envelope, key)
    assert "64" in caught.value.expected


def test_a_content_key_has_one_size(world: SimpleNamespace):
    context = KeyContext(
        silo="a", provider="p", recipient_keyid="k", upload_id="u", challenge="c", purpose="p", schema_digest="s"
    )
    public = world.recipient.public
    assert world.recipient.unwrap(public.wrap(bytes(32), context), context) == bytes(32)
    for size in (0, 31, 33):
        with pytest.raises(RefusedError) as caught:
            world.recipient.unwrap(public.wrap(bytes(size), context), context)
        assert caught.value.answer is Answer.DATA_LOSS
