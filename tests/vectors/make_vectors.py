"""Makes every file under ``ldx1/`` and ``tampered/`` again: ``python tests/vectors/make_vectors.py``.

With ``frozen.json`` in place the files come out as they are, to the last byte. Remove ``frozen.json`` for new random
values where the primitives are random. Needs ``cryptography`` only, nothing of this project.
"""

import base64
import hashlib
from typing import Any

from make_tampered import make_tampered  # a folder of scripts, not a package
from second_implementation import (
    Frozen,
    canonical,
    consistency,
    dsse,
    leaf,
    pae,
    path,
    seed,
    stream,
    stream_key,
    tree,
)
from world import KEYRING, LONG, NOW, ROOT, STATEMENT, TREE_HEAD, World, spool, write


def make_documents(world: World) -> None:
    """Keys, canonical texts, root and keyring, enrolment."""
    signers = {"silo": world.silo, "provider": world.provider, "root-0": world.roots[0]}
    signers |= {"root-1": world.roots[1], "root-2": world.roots[2]}
    signers |= {f"root-{number}": key for number, key in enumerate(world.later_roots, start=3)}
    write(
        "ldx1/keys.json",
        {
            "about": "seeds of private keys that protect nothing; ed25519 and mldsa65 are 32 bytes, mlkem768 is d || z",
            "signers": {
                name: {
                    "ed25519_seed": signer.seeds[0].hex(),
                    "mldsa65_seed": signer.seeds[1].hex(),
                    **signer.public(),
                    "keyid": signer.keyid,
                }
                for name, signer in signers.items()
            },
            "recipient": {
                "mlkem768_seed": world.recipient.seeds[0].hex(),
                "x25519_private": world.recipient.seeds[1].hex(),
                **world.recipient.public(),
                "keyid": world.recipient.keyid,
            },
        },
    )
    documents: list[dict[str, Any]] = [
        {},
        {"b": 1, "a": [True, False, None, "x"]},
        {
            "text": 'quote " backslash \\ newline \n control \x01 é €',
            "zero": 0,
            "most": 2**53 - 1,
            "least": -(2**53) + 1,
        },
        {"epsilon": "0.97", "delta": "1e-05", "whole": "8.0"},
    ]
    write(
        "ldx1/canonical.json",
        {
            "accepted": [{"document": each, "bytes": canonical(each).hex()} for each in documents],
            "refused": {
                "float": '{"a":1.5}',
                "whole-float": '{"a":8.0}',
                "exponent": '{"a":1e3}',
                "nan": '{"a":NaN}',
                "too-large-integer": '{"a":9007199254740992}',
                "duplicate-key": '{"a":1,"a":1}',
                "space": '{"a": 1}',
                "unsorted": '{"b":1,"a":1}',
                "escaped-letter": '{"a":"\\u0061"}',
                "trailing-newline": '{"a":1}\n',
                "byte-order-mark": '\ufeff{"a":1}',
                "list": "[1]",
                "negative-zero": '{"a":-0}',
                "lone-surrogate": '{"a":"\\ud800"}',
            },
            "decimals": {
                "accepted": ["0.97", "1e-05", "8.0", "1e+16", "0.0", "123456789.125", "5e-324"],
                "refused": ["8", "0.970", "1e-5", "1E-05", ".5", "+1.0", "nan", "inf", "1_0.0", " 1.0", "1e400", ""],
            },
        },
    )
    root = canonical(world.root())
    write("ldx1/root.json", dsse(ROOT, root, *world.roots))
    write("ldx1/keyring.json", dsse(KEYRING, canonical(world.keyring()), world.roots[0], world.roots[2]))
    write("ldx1/enrolment-request.json", world.request(world.silo, world.silo))
    reply = {"root": dsse(ROOT, root, *world.roots), "certificate": "(PEM)"}
    reply["keyring"] = dsse(KEYRING, canonical(world.keyring()), world.roots[0], world.roots[2])
    write("ldx1/enrolment-reply.json", reply)
    fingerprint = hashlib.sha256(pae(ROOT, root)).hexdigest()
    chain = world.root_chain()
    first = hashlib.sha256(pae(ROOT, base64.b64decode(chain[0]["payload"]))).hexdigest()
    write("ldx1/root-chain.json", {"pinned": first, "readAt": NOW, "roots": chain})
    write("ldx1/trust.json", {"rootFingerprint": fingerprint, "readAt": NOW, "keyringVersionSeenLast": 2})


def make_release(world: World) -> None:
    """A small release as a spool file, and a long one by digests."""
    write("ldx1/expert.safetensors", world.expert)
    head, chunks = world.sealed("release", world.expert)
    write("ldx1/release.ldx", spool(head, chunks))
    payload = base64.b64decode(head["statement"]["payload"])
    parts, info = world.info()
    digest = hashlib.sha256(pae(STATEMENT, payload)).digest()
    content_key = world.content_key("release")
    write(
        "ldx1/release.json",
        {
            "signer": "silo",
            "statement": payload.decode(),
            "payloadType": STATEMENT,
            "pae": pae(STATEMENT, payload).hex(),
            "T": digest.hex(),
            "P": hashlib.sha256(world.expert).hexdigest(),
            "signatures": head["statement"]["signatures"],
            "infoParts": parts,
            "info": info.hex(),
            "wrapped": head["wrapped"],
            "contentKey": content_key.hex(),
            "streamKey": stream_key(content_key, digest).hex(),
            "chunks": [chunk.hex() for chunk in chunks],
        },
    )
    head, chunks = world.sealed("long", LONG)
    payload = base64.b64decode(head["statement"]["payload"])
    write(
        "ldx1/long-release.json",
        {
            "about": "plaintext: byte i is i mod 251, for the length below; each chunk by its SHA-256 and its tag",
            "plaintextLength": len(LONG),
            "head": head,
            "contentKey": world.content_key("long").hex(),
            "T": hashlib.sha256(pae(STATEMENT, payload)).hexdigest(),
            "chunks": [
                {"length": len(chunk), "sha256": hashlib.sha256(chunk).hexdigest(), "tag": chunk[-16:].hex()}
                for chunk in chunks
            ],
        },
    )


def make_stream() -> None:
    """STREAM alone, with chunks of 16 bytes."""
    key, aad = seed("stream"), b"associated data"
    cases = []
    for length in (0, 1, 15, 16, 17, 32, 33, 100):
        text = bytes(range(length))
        sealed = stream(key, 16, aad, text)
        cases.append({"plaintext": text.hex(), "chunks": [chunk.hex() for chunk in sealed]})
    good = stream(key, 16, aad, bytes(range(40)))
    other = stream(seed("other stream"), 16, aad, bytes(range(40)))
    early = stream(key, 16, aad, bytes(range(16)))
    flipped = bytes([good[1][0] ^ 1]) + good[1][1:]
    padded = [*stream(key, 16, aad, bytes(range(48)))[:2], good[1]]
    empty_last = stream(key, 16, aad, bytes(range(17)))[0]
    refused = {
        "dropped-chunk": [good[0], good[2]],
        "dropped-first-chunk": good[1:],
        "swapped-chunks": [good[1], good[0], good[2]],
        "repeated-chunk": [good[0], good[0], *good[1:]],
        "truncated-after-a-whole-chunk": good[:2],
        "truncated-inside-a-chunk": [good[0], good[1], good[2][:-1]],
        "data-after-the-last-chunk": [*good, good[2]],
        "last-flag-on-the-first-chunk": [early[0], *good[1:]],
        "flipped-bit": [good[0], flipped, good[2]],
        "chunk-of-another-key": [good[0], other[1], good[2]],
        "no-last-flag": padded,
        "empty-last-chunk-after-others": [empty_last, _empty_last(key, aad)],
        "nothing": [],
        "tag-only-cut": [good[0][:15]],
    }
    write(
        "ldx1/stream.json",
        {
            "aead": "AES-256-GCM",
            "key": key.hex(),
            "chunkSize": 16,
            "aad": aad.hex(),
            "accepted": cases,
            "refused": {name: b"".join(chunks).hex() for name, chunks in refused.items()},
        },
    )


def _empty_last(key: bytes, aad: bytes) -> bytes:
    """The chunk that a lazy writer puts at the end of a text of exactly one chunk."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - here only

    return AESGCM(key).encrypt((1).to_bytes(11, "big") + b"\1", b"", aad)


def make_log(world: World) -> None:
    """Merkle trees of 0 to 9 leaves with all their proofs, and a receipt."""
    leaves = [leaf(f"leaf {number}".encode()) for number in range(9)]
    write(
        "ldx1/log.json",
        {
            "leaves": [f"leaf {number}" for number in range(9)],
            "leafHashes": [node.hex() for node in leaves],
            "roots": [tree(leaves[:size]).hex() for size in range(10)],
            "inclusion": [
                {"index": index, "size": size, "proof": [node.hex() for node in path(index, leaves[:size])]}
                for size in range(1, 10)
                for index in range(size)
            ],
            "consistency": [
                {"old": old, "new": new, "proof": [node.hex() for node in consistency(old, leaves[:new])]}
                for new in range(10)
                for old in range(new + 1)
            ],
            "treeHead": dsse(TREE_HEAD, world.head(leaves), world.provider),
        },
    )
    payload = canonical(world.statement(world.expert, world.wrapped("release")))
    digest = hashlib.sha256(pae(STATEMENT, payload)).digest()
    write("ldx1/receipt.json", world.receipt(world.receipt_body(digest, 6)))


def main() -> None:
    """Make all files."""
    frozen = Frozen()
    world = World(frozen)
    make_documents(world)
    make_release(world)
    make_stream()
    make_log(world)
    make_tampered(world)
    frozen.save()


if __name__ == "__main__":
    main()
