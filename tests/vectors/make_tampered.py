"""The files that must be refused: each differs from a good one in one thing, which is its name."""

import base64
import hashlib
import json
import struct
from typing import Any

from second_implementation import canonical, dsse, leaf, pae, safetensors, stream, stream_key, tree
from world import HERE, KEYRING, LATER, NOW, RECEIPT, ROOT, STATEMENT, TREE_HEAD, YEAR, World, write

IDENTITY = b"\x01" + bytes(31)


class Manifest:
    """Collects the files, and what each is answered with."""

    def __init__(self) -> None:
        """Begin with an empty folder."""
        for path in (HERE / "tampered").iterdir():
            path.unlink()
        self.entries: list[dict[str, str]] = []

    def add(self, kind: str, defect: str, answer: str, content: bytes | dict[str, Any]) -> None:
        suffix = {"safetensors": "safetensors"}.get(kind, "json")
        name = f"{kind}-{defect}.{suffix}"
        write(f"tampered/{name}", content)
        self.entries.append({"file": name, "kind": kind, "answer": answer})

    def save(self) -> None:
        write("tampered/manifest.json", {"files": sorted(self.entries, key=lambda entry: entry["file"])})


def make_tampered(world: World) -> None:
    """Make all of them, and the manifest."""
    manifest = Manifest()
    _headers(world, manifest)
    _statements(world, manifest)
    _receipts(world, manifest)
    _keyrings(world, manifest)
    _roots(world, manifest)
    _root_chains(world, manifest)
    _weights(world, manifest)
    bad = "UNAUTHENTICATED"
    manifest.add("request", "signed-by-another-key", bad, world.request(world.silo, world.stranger))
    manifest.save()


def _header(world: World, envelope: dict[str, Any], wrapped: bytes, name: str = "release") -> dict[str, Any]:
    """An upload's header, and the one chunk that belongs to its content key and statement."""
    payload = base64.b64decode(envelope["payload"])
    digest = hashlib.sha256(pae(envelope["payloadType"], payload)).digest()
    (chunk,) = stream(stream_key(world.content_key(name), digest), 1 << 18, digest, world.expert)
    return {"uploadId": "44" * 16, "statement": envelope, "wrapped": wrapped.hex(), "chunks": [chunk.hex()]}


def _headers(world: World, manifest: Manifest) -> None:
    """Defects of signatures, wrapped key and chunks."""
    wrapped = world.wrapped("release")
    payload = canonical(world.statement(world.expert, wrapped))
    envelope = dsse(STATEMENT, payload, world.silo)
    good = _header(world, envelope, wrapped)
    first, second = envelope["signatures"]
    stranger = dsse(STATEMENT, payload, world.stranger)
    flipped = payload.replace(b'"counter":7', b'"counter":8')
    for defect, answer, changes in (
        ("ed25519-signature-missing", "UNAUTHENTICATED", {"signatures": [second]}),
        ("mldsa65-signature-missing", "UNAUTHENTICATED", {"signatures": [first]}),
        ("no-signature", "UNAUTHENTICATED", {"signatures": []}),
        ("third-signature", "UNAUTHENTICATED", {"signatures": [first, second, stranger["signatures"][0]]}),
        ("signature-twice", "UNAUTHENTICATED", {"signatures": [first, first]}),
        ("signed-by-another-key", "UNAUTHENTICATED", {"signatures": stranger["signatures"]}),
        ("keyids-swapped", "UNAUTHENTICATED", {"signatures": [_as(first, second), _as(second, first)]}),
        ("ed25519-signature-flipped-bit", "UNAUTHENTICATED", {"signatures": [_flip_signature(first), second]}),
        ("mldsa65-signature-flipped-bit", "UNAUTHENTICATED", {"signatures": [first, _flip_signature(second)]}),
        ("statement-changed-after-signing", "UNAUTHENTICATED", {"payload": base64.b64encode(flipped).decode()}),
        ("payload-type-changed", "FAILED_PRECONDITION", {"payloadType": "application/json"}),
    ):
        manifest.add("header", defect, answer, {**good, "statement": {**envelope, **changes}})
    chunk = bytes.fromhex(good["chunks"][0])
    other = _header(world, envelope, wrapped, "another")["chunks"]
    for defect, changes in (
        ("wrapped-key-flipped-bit", {"wrapped": _flip(wrapped, 700).hex()}),
        ("wrapped-key-of-another-upload", {"wrapped": world.wrapped("another", uploadId="45" * 16).hex()}),
        ("chunk-flipped-bit", {"chunks": [_flip(chunk, 3).hex()]}),
        ("chunk-tag-flipped-bit", {"chunks": [_flip(chunk, -1).hex()]}),
        ("chunk-of-another-upload", {"chunks": other}),
        ("chunk-truncated", {"chunks": [chunk[:-1].hex()]}),
        ("chunk-extended", {"chunks": [(chunk + b"x").hex()]}),
    ):
        manifest.add("header", defect, "DATA_LOSS", {**good, **changes})
    manifest.add("header", "chunk-after-the-last", "OUT_OF_RANGE", {**good, "chunks": [chunk.hex(), chunk.hex()]})
    # Wrapped for another context, and signed as if it were for this one.
    for defect, changes in (
        ("wrapped-for-another-challenge", {"challenge": "56" * 32}),
        ("wrapped-for-another-purpose", {"purpose": "sell"}),
        ("wrapped-for-another-silo", {"silo": "clinic-b"}),
        ("wrapped-for-another-schema", {"schemaDigest": "12" * 32}),
    ):
        elsewhere = world.wrapped(defect, **changes)
        signed = dsse(STATEMENT, canonical(world.statement(world.expert, elsewhere)), world.silo)
        manifest.add("header", defect, "DATA_LOSS", _header(world, signed, elsewhere, defect))


def _statements(world: World, manifest: Manifest) -> None:
    """Statements that are signed well and say what must not be said."""
    wrapped = world.wrapped("release")
    statement = world.statement(world.expert, wrapped)
    guarantee = statement["predicate"]["guarantee"]

    def signed(payload: bytes) -> dict[str, Any]:
        return _header(world, dsse(STATEMENT, payload, world.silo), wrapped)

    def changed(**changes: object) -> bytes:
        return canonical({**statement, "predicate": {**statement["predicate"], **changes}})

    good = canonical(statement)
    mechanism = guarantee["mechanisms"][0]
    invalid = {
        "duplicate-key": good.replace(b'"counter":7', b'"counter":7,"counter":7'),
        "unknown-field": changed(note="x"),
        "field-missing": canonical({**statement, "subject": []}),
        "two-subjects": canonical({**statement, "subject": statement["subject"] * 2}),
        "float": good.replace(b'"counter":7', b'"counter":7.0'),
        "space": good.replace(b'"counter":7', b'"counter": 7'),
        "not-utf8": good.replace(b"clinic-a", b"clinic-\xff"),
        "upper-case-digest": changed(schemaDigest="AA" * 32),
        "counter-zero": changed(counter=0),
        "counter-is-true": good.replace(b'"counter":7', b'"counter":true'),
        "length-zero": changed(plaintextLength=0),
        "too-few-chunks": changed(plaintextLength=1 << 20),
        "chunk-size-other": changed(chunkSize=1 << 16),
        "time-with-fraction": changed(issuedAt="2026-01-31T12:00:00.5Z"),
        "time-with-offset": changed(issuedAt="2026-01-31T12:00:00+00:00"),
        "epsilon-nan": changed(guarantee={**guarantee, "epsilon": "nan"}),
        "epsilon-negative": changed(guarantee={**guarantee, "epsilon": "-1.0"}),
        "epsilon-zero": changed(guarantee={**guarantee, "epsilon": "0.0"}),
        "epsilon-not-shortest": changed(guarantee={**guarantee, "epsilon": "0.970"}),
        "epsilon-as-number": good.replace(b'"epsilon":"0.97"', b'"epsilon":1'),
        "delta-one": changed(guarantee={**guarantee, "delta": "1.0"}),
        "adjacency-other": changed(guarantee={**guarantee, "adjacency": "replace_one"}),
        "no-mechanism": changed(guarantee={**guarantee, "mechanisms": []}),
        "mechanism-unknown": changed(guarantee={**guarantee, "mechanisms": [{"kind": "exponential"}]}),
        "sampling-rate-over-one": changed(
            guarantee={**guarantee, "mechanisms": [{**mechanism, "samplingRate": "1.5"}]}
        ),
        "steps-zero": changed(guarantee={**guarantee, "mechanisms": [{**mechanism, "steps": 0}]}),
        "deep-nesting": b'{"a":' * 5000 + b"1" + b"}" * 5000,
        "empty": b"",
    }
    for defect, payload in invalid.items():
        manifest.add("header", f"statement-{defect}", "INVALID_ARGUMENT", signed(payload))
    for defect, payload in {
        "suite-other": changed(suite="LDX2"),
        "type-other": canonical({**statement, "_type": "https://in-toto.io/Statement/v0.1"}),
        "predicate-type-other": canonical({**statement, "predicateType": "urn:llamdex:release:v2"}),
    }.items():
        manifest.add("header", f"statement-{defect}", "FAILED_PRECONDITION", signed(payload))
    large = dsse(STATEMENT, changed(note="x" * 66_000), world.silo)
    manifest.add("header", "statement-over-64-KiB", "RESOURCE_EXHAUSTED", _header(world, large, wrapped))


def _receipts(world: World, manifest: Manifest) -> None:
    """Receipts and tree heads."""
    payload = canonical(world.statement(world.expert, world.wrapped("release")))
    digest = hashlib.sha256(pae(STATEMENT, payload)).digest()
    body = world.receipt_body(digest, 6)
    good = world.receipt(body)
    proof, receipt, head = good["inclusionProof"], good["receipt"], good["treeHead"]
    leaves = [*(leaf(f"leaf {number}".encode()) for number in range(6)), leaf(canonical(body))]

    def headed(signer: Any = world.provider, **changes: object) -> dict[str, Any]:  # noqa: ANN401 - a Signer
        return {**good, "treeHead": dsse(TREE_HEAD, world.head(leaves, **changes), signer)}

    files = {
        "ed25519-signature-missing": {**good, "receipt": {**receipt, "signatures": receipt["signatures"][1:]}},
        "mldsa65-signature-missing": {**good, "receipt": {**receipt, "signatures": receipt["signatures"][:1]}},
        "head-signature-missing": {**good, "treeHead": {**head, "signatures": head["signatures"][:1]}},
        "signed-by-another-key": world.receipt(body, 6, world.stranger),
        "head-signed-by-another-key": headed(world.stranger),
        "head-and-receipt-swapped": {**good, "receipt": head, "treeHead": receipt},
        "proof-flipped-bit": {**good, "inclusionProof": [_flip(bytes.fromhex(proof[0]), 0).hex(), *proof[1:]]},
        "proof-truncated": {**good, "inclusionProof": proof[:-1]},
        "proof-extended": {**good, "inclusionProof": [*proof, proof[-1]]},
        "proof-empty": {**good, "inclusionProof": []},
        "proof-swapped": {**good, "inclusionProof": proof[::-1]},
        "proof-not-hex": {**good, "inclusionProof": ["x" * 64, *proof[1:]]},
        "head-of-another-size": headed(size=8),
        "head-smaller-than-the-index": headed(size=6),
        "head-of-another-root": headed(rootHash=tree(leaves[:6]).hex()),
        "head-unknown-field": headed(note="x"),
        "index-other": {**good, "receipt": dsse(RECEIPT, canonical({**body, "leafIndex": 5}), world.provider)},
        "unknown-field": world.receipt({**body, "note": "x"}),
        "for-another-release": world.receipt({**body, "releaseId": "00" * 32}),
        "for-another-upload": world.receipt({**body, "uploadId": "45" * 16}),
        "for-another-artefact": world.receipt({**body, "artefactDigest": "00" * 32}),
        "for-another-silo": world.receipt({**body, "silo": "clinic-b"}),
        "for-another-round": world.receipt({**body, "roundChallenge": "34" * 32}),
        "of-another-provider": world.receipt({**body, "provider": "other"}),
    }
    for defect, document in files.items():
        manifest.add("receipt", defect, "ReceiptError", document)


def _keyrings(world: World, manifest: Manifest) -> None:
    """Keyrings under a root of 2 of 3."""
    one, two, three = world.roots
    ring = world.keyring()
    signed = dsse(KEYRING, canonical(ring), one, two)
    silos = ring["silos"]["clinic-a"]
    files = {
        "under-threshold": dsse(KEYRING, canonical(ring), one),
        "one-key-twice": {**signed, "signatures": signed["signatures"][:2] * 2},
        "half-a-signature-of-the-second-key": {**signed, "signatures": signed["signatures"][:3]},
        "second-signer-is-no-root-key": dsse(KEYRING, canonical(ring), one, world.stranger),
        "changed-after-signing": {**signed, "payload": base64.b64encode(canonical({**ring, "version": 3})).decode()},
        "of-the-root-type": dsse(ROOT, canonical(ring), one, two),
        "expired": dsse(KEYRING, canonical({**ring, "expiresAt": NOW}), one, three),
        "rolled-back": dsse(KEYRING, canonical({**ring, "version": 1}), one, three),
        "version-zero": dsse(KEYRING, canonical({**ring, "version": 0}), one, three),
        "unknown-field": dsse(KEYRING, canonical({**ring, "note": 1}), one, three),
        "small-order-key": dsse(
            KEYRING, canonical({**ring, "silos": {"clinic-a": {**silos, "ed25519": IDENTITY.hex()}}}), one, three
        ),
        "non-canonical-key": dsse(
            KEYRING, canonical({**ring, "silos": {"clinic-a": {**silos, "ed25519": "ff" * 31 + "7f"}}}), one, three
        ),
        "short-key": dsse(KEYRING, canonical({**ring, "silos": {"clinic-a": {**silos, "mldsa65": "00"}}}), one, three),
        "no-recipient": dsse(
            KEYRING, canonical({**ring, "provider": {**ring["provider"], "recipients": []}}), one, three
        ),
        "no-certificate": dsse(KEYRING, canonical({**ring, "provider": {**ring["provider"], "spki": []}}), one, three),
        "revoked-not-a-digest": dsse(KEYRING, canonical({**ring, "revoked": ["x"]}), one, three),
        "silo-under-no-identifier": dsse(KEYRING, canonical({**ring, "silos": {"a b": silos}}), one, three),
    }
    for defect, document in files.items():
        manifest.add("keyring", defect, "KeyringError", document)


def _roots(world: World, manifest: Manifest) -> None:
    """Roots; all but the last two would have the right fingerprint, had people compared that of this file."""
    one, two, three = world.roots
    root = world.root()
    signed = dsse(ROOT, canonical(root), one, two, three)
    files = {
        "not-signed-by-itself": dsse(ROOT, canonical(root), world.stranger),
        "under-its-own-threshold": dsse(ROOT, canonical(root), two),
        "threshold-zero": dsse(ROOT, canonical(world.root(threshold=0)), one, two, three),
        "threshold-over-its-keys": dsse(ROOT, canonical(world.root(threshold=4)), one, two, three),
        "a-key-twice": dsse(ROOT, canonical(world.root(keys=[one.public()] * 2)), one),
        "expired": dsse(ROOT, canonical(world.root(expiresAt=NOW)), one, two),
        "of-the-keyring-type": dsse(KEYRING, canonical(root), one, two),
        "changed-after-signing": {
            **signed,
            "payload": base64.b64encode(canonical({**root, "threshold": 1})).decode(),
        },
        "another-fingerprint": dsse(ROOT, canonical(world.root(expiresAt=LATER)), one, two),
    }
    for defect, document in files.items():
        manifest.add("root", defect, "KeyringError", document)


def _root_chains(world: World, manifest: Manifest) -> None:
    """Roots that do not follow from the one that was pinned, or end in one that is over."""
    first, second, third = world.root_chain()
    pinned = hashlib.sha256(pae(ROOT, base64.b64decode(first["payload"]))).hexdigest()
    (key, *last), late = world.later_roots, "2025-07-31T12:00:00Z"
    for defect, roots in {
        "second-not-signed-by-the-first": [first, world.successor(2, [key], [], late), third],
        "second-under-the-threshold-of-the-first": [first, world.successor(2, [key], world.roots[:1], late), third],
        "second-not-signed-by-itself": [first, {**second, "signatures": second["signatures"][:4]}, third],
        "third-signed-by-the-first": [first, second, world.successor(3, last, world.roots, YEAR)],
        "second-is-missing": [first, world.successor(3, last, [*world.roots[:2], key], YEAR)],
        "last-one-expired": [first, second],
        "pinned-one-expired-and-no-other": [first],
        "another-one-pinned": [second, third],
    }.items():
        manifest.add("root-chain", defect, "KeyringError", {"pinned": pinned, "readAt": NOW, "roots": roots})


def _weights(world: World, manifest: Manifest) -> None:
    """Files of weights; each limit and each laxity of the format."""
    good = world.expert
    length = int.from_bytes(good[:8], "little")
    header, data = json.loads(good[8 : 8 + length]), good[8 + length :]

    def encoded(document: Any, *, body: bytes = data, pad: int | None = None) -> bytes:  # noqa: ANN401 - JSON
        text = document if isinstance(document, bytes) else json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8 if pad is None else pad)
        return len(text).to_bytes(8, "little") + text + body

    def entry(**changes: object) -> bytes:
        return encoded({**header, "linear.bias": {**header["linear.bias"], **changes}})

    compact = json.dumps(header, separators=(",", ":")).encode()
    bias = compact[1 : compact.index(b'},"') + 1]
    invalid = {
        "duplicate-key": encoded(b"{" + bias + b"," + compact[1:]),
        "unsorted-names": encoded(dict(reversed(header.items()))),
        "hole": entry(data_offsets=[0, 12]),
        "overlap": encoded({**header, "linear.weight": {**header["linear.weight"], "data_offsets": [0, 24]}}),
        "dtype-half": entry(dtype="F16"),
        "shape-zero": entry(shape=[0]),
        "shape-negative": entry(shape=[-2]),
        "shape-is-true": entry(shape=[True, 2]),
        "shape-float": encoded(compact.replace(b"[2]", b"[2.0]")),
        "extra-key-in-an-entry": entry(note=1),
        "name-is-a-path": encoded({"../../etc/passwd": header["linear.bias"]}, body=data[:8]),
        "space-in-the-header": encoded(compact.replace(b":", b": ")),
        "trailing-bytes": good + b"\0",
        "truncated": good[:-1],
        "header-longer-than-the-file": (10_000).to_bytes(8, "little") + good[8:],
        "not-ascii": encoded(compact.replace(b"bias", "bïas".encode())),
        "list-for-an-object": encoded([]),
        "no-tensor": encoded({}, body=b""),
        "nan": good[:-4] + struct.pack("<f", float("nan")),
        "infinity": good[:-4] + struct.pack("<f", float("inf")),
        "short-of-a-length": good[:7],
        "another-shape": safetensors({**world.tensors, "linear.bias": ((1, 2), world.tensors["linear.bias"][1])}),
        "a-tensor-missing": safetensors({"linear.bias": world.tensors["linear.bias"]}),
        "shape-over-the-file-limit": entry(shape=[1 << 60]),
        "too-many-dimensions": entry(shape=[1] * 9),
        "name-of-129-letters": encoded({"a" * 129: header["linear.bias"]}, body=data[:8]),
        "pickle": b"\x80\x04\x95" + bytes(40),
        "zip": b"PK\x03\x04" + bytes(range(1, 41)),
        "a-tensor-more": safetensors({**world.tensors, "zzz": ((1,), bytes(4))}),
    }
    for defect, content in invalid.items():
        manifest.add("safetensors", defect, "WeightsError", content)
    many = {f"t{number}": ((1,), bytes(4)) for number in range(1025)}
    for defect, content in {
        "header-over-256-KiB": (1 << 19).to_bytes(8, "little") + good[8:],
        "metadata": encoded({"__metadata__": {"a": "b"}, **header}),
        "padding": encoded(header, pad=8 + -len(compact) % 8),
        "1025-tensors": safetensors(many),
    }.items():
        manifest.add("safetensors", defect, "WeightsLimitError", content)


def _flip(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 0x10
    return bytes(changed)


def _flip_signature(signature: dict[str, str]) -> dict[str, str]:
    sig = _flip(base64.b64decode(signature["sig"]), 5)
    return {**signature, "sig": base64.b64encode(sig).decode()}


def _as(signature: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    """A signature under the key id of another."""
    return {**signature, "keyid": other["keyid"]}
