"""The tree against published roots, every proof up to 20 leaves, and what tampering does to them."""

import hashlib

import pytest

from llamdex_fl.envelope.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from llamdex_fl.errors import ReceiptError

# Source: the reference tree of google/certificate-transparency (merkletree/merkle_tree_test.cc), as used by many
# implementations of RFC 6962.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZE = 20
HASHES = [leaf_hash(bytes([number])) for number in range(SIZE)]


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots(size: int):
    assert root_hash([leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES[:size]]).hex() == ROOTS[size - 1]


def test_empty_root():
    assert root_hash([]) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("size", range(1, SIZE + 1))
def test_every_inclusion_proof(size: int):
    root = root_hash(HASHES[:size])
    for index in range(size):
        proof = inclusion_proof(HASHES[:size], index)
        verify_inclusion(HASHES[index], index, size, proof, root)
        forged = [
            (HASHES[index - 1] if size > 1 else b"\0" * 32, index, size, proof, root),
            (HASHES[index], index + 1, size, proof, root),
            (HASHES[index], index, size, [*proof, b"\0" * 32], root),
            (HASHES[index], index, size, proof, b"\0" * 32),
            *(
                (HASHES[index], index, size, [*proof[:i], b"\x00" * 32, *proof[i + 1 :]], root)
                for i in range(len(proof))
            ),
        ]
        if proof:
            forged.append((HASHES[index], index, size, proof[:-1], root))
        for case in forged:
            with pytest.raises(ReceiptError):
                verify_inclusion(*case)


@pytest.mark.parametrize("new", range(1, SIZE + 1))
def test_every_consistency_proof(new: int):
    new_root = root_hash(HASHES[:new])
    for old in range(new + 1):
        old_root, proof = root_hash(HASHES[:old]), consistency_proof(HASHES[:new], old)
        verify_consistency(old, new, proof, old_root, new_root)
        forged = [(old, new, [*proof, b"\0" * 32], old_root, new_root)]
        if old:
            forged += [
                (old, new, proof, b"\0" * 32, new_root),
                (old, new, proof, old_root, b"\0" * 32),
                *(
                    (old, new, [*proof[:i], b"\x00" * 32, *proof[i + 1 :]], old_root, new_root)
                    for i in range(len(proof))
                ),
            ]
        if proof:
            forged += [(old, new, proof[:-1], old_root, new_root), (old, new, [], old_root, new_root)]
        for case in forged:
            with pytest.raises(ReceiptError):
                verify_consistency(*case)


def test_a_log_that_shrinks_is_refused():
    with pytest.raises(ReceiptError):
        verify_consistency(3, 2, [], root_hash(HASHES[:3]), root_hash(HASHES[:2]))


def test_altered_leaf_changes_everything_after_it():
    altered = [HASHES[0], leaf_hash(b"other"), *HASHES[2:]]
    proof = consistency_proof(altered, 5)
    with pytest.raises(ReceiptError):
        verify_consistency(5, SIZE, proof, root_hash(HASHES[:5]), root_hash(altered))
