"""RFC 6962's Merkle tree: hashes, inclusion and consistency proofs, and their verification.

Proofs are made as section 2.1 defines them; verification is that of RFC 9162, sections 2.1.3.2 and 2.1.4.2. A
verifier raises and returns nothing.
"""

import hashlib
from collections.abc import Sequence

from llamdex_fl.errors import ReceiptError

__all__ = ["consistency_proof", "inclusion_proof", "leaf_hash", "root_hash", "verify_consistency", "verify_inclusion"]

_HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = _split(len(leaves))
    return _node(root_hash(leaves[:middle]), root_hash(leaves[middle:]))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of a leaf, from the leaf upwards."""
    if len(leaves) == 1:
        return []
    middle = _split(len(leaves))
    if index < middle:
        return [*inclusion_proof(leaves[:middle], index), root_hash(leaves[middle:])]
    return [*inclusion_proof(leaves[middle:], index - middle), root_hash(leaves[:middle])]


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """That the tree over the first ``old_size`` leaves is a prefix of the tree over all."""
    return [] if old_size in {0, len(leaves)} else _subproof(leaves, old_size, whole=True)


def _subproof(leaves: Sequence[bytes], old_size: int, *, whole: bool) -> list[bytes]:
    if old_size == len(leaves):
        return [] if whole else [root_hash(leaves)]
    middle = _split(len(leaves))
    if old_size <= middle:
        return [*_subproof(leaves[:middle], old_size, whole=whole), root_hash(leaves[middle:])]
    return [*_subproof(leaves[middle:], old_size - middle, whole=False), root_hash(leaves[:middle])]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Verify that ``leaf`` (a leaf hash) stands at ``index`` in the tree of ``size`` leaves with this root.

    Raises:
        ReceiptError: it does not follow from the proof.
    """
    if not 0 <= index < size:
        raise _refused("a leaf inside the tree")
    if any(len(node) != _HASH_BYTES for node in (leaf, root, *proof)):
        raise _refused(f"hashes of {_HASH_BYTES} bytes")
    place, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise _refused("a shorter inclusion proof")
        if place & 1 or place == last:
            computed = _node(sibling, computed)
            place, last = _skip(place, last)
        else:
            computed = _node(computed, sibling)
        place, last = place >> 1, last >> 1
    if last != 0 or computed != root:
        raise _refused("an inclusion proof that leads to the tree head")


def verify_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Verify that the newer tree extends the older one.

    Raises:
        ReceiptError: it does not follow from the proof.
    """
    if not 0 <= old_size <= new_size:
        raise _refused("a log that only grows")
    if old_size in {0, new_size}:
        if proof or (old_size == new_size and old_root != new_root):
            raise _refused("one root for one size, and no proof")
        return
    complete = old_size & (old_size - 1) == 0
    path = [old_root, *proof] if complete else list(proof)
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    if not path:
        raise _refused("a consistency proof")
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _refused("a shorter consistency proof")
        if place & 1 or place == last:
            old, new = _node(sibling, old), _node(sibling, new)
            place, last = _skip(place, last)
        else:
            new = _node(new, sibling)
        place, last = place >> 1, last >> 1
    if last != 0 or old != old_root or new != new_root:
        raise _refused("a consistency proof that leads from the older to the newer tree head")


def _skip(place: int, last: int) -> tuple[int, int]:
    """Climb over the levels where the node is the right-most one and has no sibling."""
    while not place & 1 and place:
        place, last = place >> 1, last >> 1
    return place, last


def _refused(expected: str) -> ReceiptError:
    return ReceiptError(
        "The provider's log does not verify.",
        expected=expected,
        got="something else",
        next_step="keep the receipt and ask the consortium: the log may have been altered or forked",
    )
