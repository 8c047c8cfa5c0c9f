"""Receipts and tree heads: what a silo accepts, and what it must not."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from llamdex_fl.envelope import Receipt, ReceiptBody, SealedFile, SigningKey, TreeHead, verify_receipt, verify_successor
from llamdex_fl.envelope.merkle import consistency_proof, leaf_hash, root_hash
from llamdex_fl.errors import ReceiptError

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


LEAVES = [leaf_hash(bytes([number])) for number in range(5)]


@pytest.fixture
def receipt(sealed: SealedFile, world: SimpleNamespace) -> Receipt:
    statement = sealed.statement
    body = ReceiptBody(
        provider="prov",
        silo="a",
        release_id=sealed.header.statement.digest().hex(),
        upload_id=statement.upload_id,
        round_challenge=statement.round_challenge,
        schema_digest=statement.schema_digest,
        artefact_digest=statement.artefact_digest,
        accepted_at=NOW,
        leaf_index=5,
    )
    return Receipt.make(body, LEAVES, NOW, world.provider)


def test_a_good_receipt(receipt: Receipt, sealed: SealedFile, world: SimpleNamespace):
    read = Receipt.from_json(receipt.to_json(), world.provider.public)
    assert read == receipt
    verify_receipt(read, sealed.statement, sealed.header.statement.digest().hex())
    assert read.as_dict()["receiptId"] == receipt.receipt_id == leaf_hash(receipt.envelope.payload).hex()


def test_a_receipt_of_one_of_several_keys(receipt: Receipt, world: SimpleNamespace):
    key, others = world.provider.public, [SigningKey.generate().public for _ in range(2)]
    envelope, proof, head = receipt.envelope, receipt.proof, receipt.tree_head.envelope
    for keys in ((key,), (others[0], key), (others[0], key, others[1])):
        assert Receipt.verified(envelope, proof, head, keys) == receipt
        assert TreeHead.verified(head, iter(keys)) == receipt.tree_head
    for keys in ((), (others[0],), tuple(others)):
        with pytest.raises(ReceiptError):
            Receipt.verified(envelope, proof, head, keys)
        with pytest.raises(ReceiptError):
            TreeHead.verified(head, keys)


def test_receipt_and_head_may_be_of_different_keys(receipt: Receipt, world: SimpleNamespace):
    following = SigningKey.generate()
    head = TreeHead.make("prov", receipt.tree_head.size, receipt.tree_head.root_hash, NOW, following)
    for keys in ((world.provider.public, following.public), (following.public, world.provider.public)):
        assert Receipt.verified(receipt.envelope, receipt.proof, head.envelope, keys).body == receipt.body
    with pytest.raises(ReceiptError):
        Receipt.verified(receipt.envelope, receipt.proof, head.envelope, world.provider.public)


def test_forged_receipts(receipt: Receipt, world: SimpleNamespace):
    key, stranger = world.provider.public, SigningKey.generate()
    other_body = replace(receipt.body, silo="b")
    for envelope, proof, head in (
        (replace(receipt.envelope, payload=other_body.to_payload()), receipt.proof, receipt.tree_head.envelope),
        (
            replace(receipt.envelope, signatures=receipt.envelope.signatures[:1]),
            receipt.proof,
            receipt.tree_head.envelope,
        ),
        (Receipt.make(receipt.body, LEAVES, NOW, stranger).envelope, receipt.proof, receipt.tree_head.envelope),
        (receipt.envelope, receipt.proof[:-1], receipt.tree_head.envelope),
        (receipt.envelope, (b"\0" * 32, *receipt.proof[1:]), receipt.tree_head.envelope),
        (receipt.envelope, receipt.proof, TreeHead.make("prov", 6, root_hash(LEAVES), NOW, world.provider).envelope),
        (receipt.envelope, receipt.proof, receipt.envelope),
        (receipt.tree_head.envelope, receipt.proof, receipt.tree_head.envelope),
        (receipt.envelope, receipt.proof * 65, receipt.tree_head.envelope),
    ):
        with pytest.raises(ReceiptError):
            Receipt.verified(envelope, proof, head, key)


@pytest.mark.parametrize(
    "field", ["provider", "silo", "release_id", "upload_id", "round_challenge", "schema_digest", "artefact_digest"]
)
def test_a_receipt_for_something_else(field: str, receipt: Receipt, sealed: SealedFile, world: SimpleNamespace):
    other = "other" if field in {"provider", "silo"} else "00" * (16 if field == "upload_id" else 32)
    forged = Receipt.make(replace(receipt.body, **{field: other}), LEAVES, NOW, world.provider)
    with pytest.raises(ReceiptError):
        verify_receipt(forged, sealed.statement, sealed.header.statement.digest().hex())


def test_successors(world: SimpleNamespace):
    leaves = [leaf_hash(bytes([number])) for number in range(9)]
    heads = {n: TreeHead.make("prov", n, root_hash(leaves[:n]), NOW, world.provider) for n in range(10)}
    for old in range(10):
        for new in range(old, 10):
            proof = consistency_proof(leaves[:new], old)
            assert verify_successor(heads[old], heads[new], proof).size == new
            assert verify_successor(heads[new], heads[old], proof).size == new
    forked = TreeHead.make("prov", 9, root_hash([*leaves[:3], b"\1" * 32, *leaves[4:]]), NOW, world.provider)
    with pytest.raises(ReceiptError):
        verify_successor(heads[5], forked, consistency_proof(leaves, 5))
    with pytest.raises(ReceiptError):
        verify_successor(heads[9], forked, [])
    with pytest.raises(ReceiptError):
        verify_successor(heads[5], TreeHead.make("other", 5, heads[5].root_hash, NOW, world.provider), [])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"receipt":{},"inclusionProof":["x"],"treeHead":{}}'])
def test_damaged_files(text: str, world: SimpleNamespace):
    with pytest.raises(ReceiptError):
        Receipt.from_json(text, world.provider.public)
