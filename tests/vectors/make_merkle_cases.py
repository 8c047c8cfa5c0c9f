"""Makes ``foreign/merkle.json``: the proof cases of transparency-dev/merkle, by its published trees and names.

That repository (github.com/transparency-dev/merkle, Apache-2.0, ``testdata/inclusion`` and ``testdata/consistency``)
holds one JSON file a case: a few proofs of the well-known tree of eight leaves, each as it is and corrupted in every
way that its file names tell ("leafIndex - 1", "trailing root", "modified proof[0] bit 3", ...), and single cases about
empty trees. The roots and proofs below are its values; the corruptions are applied here.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

SOME = "abacaba000000000000000000000000000000000000000000060061e00123456"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
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
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
_A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
_B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
_C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
_D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
_E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
_F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
_G = "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"
#: Leaf number (from 1), size, proof.
INCLUSION = [
    (1, 1, []),
    (1, 8, [_A, _B, _C]),
    (6, 8, [_D, _E, ROOTS[3]]),
    (3, 3, [ROOTS[1]]),
    (2, 5, [ROOTS[0], _B, _D]),
]
#: Old size, new size, proof.
CONSISTENCY = [
    (1, 1, []),
    (1, 8, [_A, _B, _C]),
    (6, 8, [_F, _E, ROOTS[3]]),
    (2, 5, [_B, _D]),
    (6, 7, [_F, _G, ROOTS[3]]),
]
_MOST = (1 << 64) - 1


def _flip(node: str, bit: int) -> str:
    data = bytearray.fromhex(node)
    data[0] ^= bit
    return data.hex()


def inclusion_cases() -> list[dict[str, Any]]:

    cases = []
    for number, size, proof in INCLUSION:
        index, root = number - 1, ROOTS[size - 1]
        leaf = hashlib.sha256(b"\0" + bytes.fromhex(LEAVES[index])).hexdigest()
        good = {"leafIndex": index, "treeSize": size, "root": root, "leafHash": leaf, "proof": proof}
        cases.append({**good, "desc": "happy path", "wantErr": False})
        corrupted: list[tuple[str, dict[str, Any]]] = [
            ("leafIndex - 1", {"leafIndex": (index - 1) & _MOST}),
            ("leafIndex + 1", {"leafIndex": index + 1}),
            ("leafIndex ^ 2", {"leafIndex": index ^ 2}),
            ("treeSize * 2", {"treeSize": size * 2}),
            ("treeSize / 2", {"treeSize": size // 2}),
            ("wrong leaf", {"leafHash": b"WrongLeaf".hex()}),
            ("empty root", {"root": EMPTY}),
            ("random root", {"root": SOME}),
            ("trailing garbage", {"proof": [*proof, ""]}),
            ("trailing root", {"proof": [*proof, root]}),
            ("preceding garbage", {"proof": ["", *proof]}),
            ("preceding root", {"proof": [root, *proof]}),
        ]
        for place, node in enumerate(proof):
            changed = [*proof[:place], _flip(node, 8), *proof[place + 1 :]]
            corrupted.append((f"modified proof[{place}] bit 3", {"proof": changed}))
        if proof:
            corrupted.append(("removed component", {"proof": proof[:-1]}))
        if len(proof) > 1:
            corrupted.append(("inserted component", {"proof": [proof[0], SOME, *proof[1:]]}))
        cases += [{**good, **changes, "desc": desc, "wantErr": True} for desc, changes in corrupted]
    single = hashlib.sha256(b"\0data").hexdigest()
    for root, leaf in ((single, single), (single, ""), ("", single), ("", "")):
        one = {"leafIndex": 0, "treeSize": 1, "root": root, "leafHash": leaf, "proof": []}
        cases.append({**one, "desc": "single entry", "wantErr": not (root == leaf == single)})
    for index, size in ((0, 0), (0, 1), (1, 0), (2, 1)):
        for root, leaf in (("", SOME), (EMPTY, ""), (EMPTY, SOME)):
            one = {"leafIndex": index, "treeSize": size, "root": root, "leafHash": leaf, "proof": []}
            cases.append({**one, "desc": f"probe {index} {size}", "wantErr": True})
    return cases


def consistency_cases() -> list[dict[str, Any]]:
    cases = []
    for old, new, proof in CONSISTENCY:
        first, second = ROOTS[old - 1], ROOTS[new - 1]
        good = {"size1": old, "size2": new, "root1": first, "root2": second, "proof": proof}
        cases.append({**good, "desc": "happy path", "wantErr": False})
        if not proof:
            continue
        wrong = b"WrongRoot".hex()
        corrupted: list[tuple[str, dict[str, Any]]] = [
            ("size1 - 1", {"size1": old - 1}),
            ("size1 + 1", {"size1": old + 1}),
            ("size1 ^ 2", {"size1": old ^ 2}),
            ("size2 * 2", {"size2": new * 2}),
            ("size2 / 2", {"size2": new // 2}),
            ("wrong root1", {"root1": wrong}),
            ("wrong root2", {"root2": wrong}),
            ("swapped roots", {"root1": second, "root2": first}),
            ("empty proof", {"proof": []}),
            ("trailing garbage", {"proof": [*proof, ""]}),
            ("trailing root1", {"proof": [*proof, first]}),
            ("trailing root2", {"proof": [*proof, second]}),
            ("preceding garbage", {"proof": ["", *proof]}),
            ("preceding root1", {"proof": [first, *proof]}),
            ("preceding root2", {"proof": [second, *proof]}),
            ("preceding proof[0]", {"proof": [proof[0], *proof]}),
            ("truncated proof", {"proof": proof[:-1]}),
        ]
        for place, node in enumerate(proof):
            changed = [*proof[:place], _flip(node, 16), *proof[place + 1 :]]
            corrupted.append((f"modified proof[{place}] bit 4", {"proof": changed}))
        cases += [{**good, **changes, "desc": desc, "wantErr": True} for desc, changes in corrupted]
    one, two = b"don't care 1".hex(), b"don't care 2".hex()
    for old, new, first, second, proof, bad in (
        (0, 0, one, two, [], True),
        (1, 1, one, two, [], True),
        (0, 0, one, one, [], False),
        (0, 1, one, two, [], False),
        (1, 1, two, two, [], False),
        (1, 0, one, two, [], True),
        (2, 1, one, two, [], True),
        (1, 2, one, two, [], True),
        (0, 0, EMPTY, two, [], True),
        (1, 1, EMPTY, two, [], True),
        (0, 0, EMPTY, EMPTY, [EMPTY], True),
        (0, 1, EMPTY, EMPTY, [EMPTY], True),
        (1, 1, EMPTY, EMPTY, [EMPTY], True),
    ):
        case = {"size1": old, "size2": new, "root1": first, "root2": second, "proof": proof}
        cases.append({**case, "desc": f"edge {old} {new}", "wantErr": bad})
    return cases


if __name__ == "__main__":
    path = Path(__file__).parent / "foreign" / "merkle.json"
    about = {"source": "github.com/transparency-dev/merkle, proof/verify_test.go and testdata", "licence": "Apache-2.0"}
    document = {**about, "inclusion": inclusion_cases(), "consistency": consistency_cases()}
    path.write_text(json.dumps(document, indent=1) + "\n")
