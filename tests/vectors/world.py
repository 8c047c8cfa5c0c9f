"""The consortium of the vectors: its keys, and the documents that they sign. Nothing of this project is imported."""

import hashlib
import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from second_implementation import (  # a folder of scripts, not a package
    CHUNK,
    Frozen,
    Recipient,
    Signer,
    canonical,
    dsse,
    key_info,
    leaf,
    pae,
    path,
    safetensors,
    seed,
    stream,
    stream_key,
    tree,
)

HERE = Path(__file__).parent
NOW, LATER, YEAR = "2026-01-31T12:00:00Z", "2026-01-31T13:00:00Z", "2027-01-31T12:00:00Z"
STATEMENT = "application/vnd.in-toto+json"
RECEIPT = "application/vnd.llamdex.receipt.v1+json"
TREE_HEAD = "application/vnd.llamdex.treehead.v1+json"
ROOT = "application/vnd.llamdex.root.v1+json"
KEYRING = "application/vnd.llamdex.keyring.v1+json"
REQUEST = "application/vnd.llamdex.enrolment.v1+json"
SPKI = {"silo": "a1" * 32, "provider": "b2" * 32}
#: Three chunks, by a rule, so that the text itself need not be kept.
LONG = bytes(number % 251 for number in range(2 * CHUNK + 1000))


class World:
    """Keys and documents of one consortium."""

    def __init__(self, frozen: Frozen) -> None:
        """Make the keys."""
        self.frozen = frozen
        self.silo, self.provider = Signer("silo", frozen), Signer("provider", frozen)
        self.stranger = Signer("stranger", frozen)
        self.roots = [Signer(f"root/{number}", frozen) for number in range(3)]
        self.later_roots = [Signer(f"root/{number}", frozen) for number in range(3, 6)]
        self.recipient, self.other_recipient = Recipient("recipient"), Recipient("other recipient")
        weight = struct.pack("<6f", *(0.25 * number - 0.5 for number in range(6)))
        self.tensors = {"linear.weight": ((2, 3), weight), "linear.bias": ((2,), struct.pack("<2f", 1.0, -1.0))}
        self.expert = safetensors(self.tensors)

    def predicate(self, text: bytes, wrapped: bytes, **changes: object) -> dict[str, Any]:
        return {
            "suite": "LDX1",
            "silo": "clinic-a",
            "provider": "prov",
            "recipientKeyid": self.recipient.keyid,
            "uploadId": "44" * 16,
            "challenge": "55" * 32,
            "roundChallenge": "33" * 32,
            "purpose": "answer-questions",
            "schemaDigest": "11" * 32,
            "architecture": "thermometer_linear/v1",
            "baseModelDigest": "22" * 32,
            "wrappedKeyDigest": hashlib.sha256(wrapped).hexdigest(),
            "plaintextLength": len(text),
            "chunkSize": CHUNK,
            "chunkCount": -(-len(text) // CHUNK),
            "counter": 7,
            "issuedAt": NOW,
            "expiresAt": LATER,
            "guarantee": {
                "epsilon": "0.97",
                "delta": "1e-05",
                "accountant": "pld",
                "accountantVersion": "dp-accounting 0.6.0",
                "adjacency": "add_or_remove_one",
                "unit": "record",
                "mechanisms": [
                    {
                        "kind": "sampled_gaussian",
                        "samplingRate": "0.5",
                        "noiseMultiplier": "8.0",
                        "steps": 50,
                        "maxGradNorm": "1.0",
                    },
                    {"kind": "laplace_counts", "epsilon": "0.1"},
                ],
            },
            **changes,
        }

    def statement(self, text: bytes, wrapped: bytes, **changes: object) -> dict[str, Any]:
        digest = hashlib.sha256(text).hexdigest()
        return {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "expert.safetensors", "digest": {"sha256": digest}}],
            "predicateType": "urn:llamdex:release:v1",
            "predicate": self.predicate(text, wrapped, **changes),
        }

    def info(self, **changes: str) -> tuple[list[str], bytes]:
        parts = {
            "suite": "LDX1",
            "silo": "clinic-a",
            "provider": "prov",
            "recipientKeyid": self.recipient.keyid,
            "uploadId": "44" * 16,
            "challenge": "55" * 32,
            "purpose": "answer-questions",
            "schemaDigest": "11" * 32,
            **changes,
        }
        return list(parts.values()), key_info(list(parts.values()))

    def content_key(self, name: str) -> bytes:
        return seed(f"content key/{name}")

    def wrapped(self, name: str, **changes: str) -> bytes:
        return self.recipient.wrap(self.content_key(name), self.info(**changes)[1], self.frozen, name)

    def sealed(self, name: str, text: bytes) -> tuple[dict[str, Any], list[bytes]]:
        """The head of a spool file, and its chunks."""
        wrapped = self.wrapped(name)
        payload = canonical(self.statement(text, wrapped))
        digest = hashlib.sha256(pae(STATEMENT, payload)).digest()
        envelope = dsse(STATEMENT, payload, self.silo)
        head = {"magic": "LDX1", "uploadId": "44" * 16, "statement": envelope, "wrapped": wrapped.hex()}
        return head, stream(stream_key(self.content_key(name), digest), CHUNK, digest, text)

    def root(self, **changes: object) -> dict[str, Any]:
        keys = [signer.public() for signer in self.roots]
        return {"version": 1, "threshold": 2, "keys": keys, "expiresAt": YEAR, **changes}

    def root_chain(self) -> list[dict[str, Any]]:
        """Three roots, each the next one's predecessor; the first two have expired when the chain is read."""
        second, *third = self.later_roots
        return [
            dsse(ROOT, canonical(self.root(expiresAt="2025-01-31T12:00:00Z")), *self.roots[:2]),
            self.successor(2, [second], self.roots[1:], "2025-07-31T12:00:00Z"),
            self.successor(3, third, [second], YEAR),
        ]

    def successor(self, version: int, keys: list[Signer], others: list[Signer], expires_at: str) -> dict[str, Any]:
        """A root of which all keys sign, and some others."""
        public = [signer.public() for signer in keys]
        root = self.root(version=version, threshold=len(keys), keys=public, expiresAt=expires_at)
        return dsse(ROOT, canonical(root), *others, *keys)

    def keyring(self, **changes: object) -> dict[str, Any]:
        provider = {
            "id": "prov",
            **self.provider.public(),
            "recipients": [self.recipient.public()],
            "spki": [SPKI["provider"]],
        }
        return {
            "version": 2,
            "trustDomain": "heart.example",
            "issuedAt": NOW,
            "expiresAt": YEAR,
            "ca": "(the CA's certificate, PEM; not looked into when a keyring is read)",
            "provider": provider,
            "silos": {"clinic-a": {**self.silo.public(), "spki": SPKI["silo"]}},
            "revoked": ["00" * 32],
            **changes,
        }

    def receipt_body(self, envelope_digest: bytes, index: int, **changes: object) -> dict[str, Any]:
        return {
            "provider": "prov",
            "silo": "clinic-a",
            "releaseId": envelope_digest.hex(),
            "uploadId": "44" * 16,
            "roundChallenge": "33" * 32,
            "schemaDigest": "11" * 32,
            "artefactDigest": hashlib.sha256(self.expert).hexdigest(),
            "acceptedAt": "2026-01-31T12:05:00Z",
            "leafIndex": index,
            **changes,
        }

    def head(self, leaves: list[bytes], **changes: object) -> bytes:
        document = {"provider": "prov", "size": len(leaves), "rootHash": tree(leaves).hex()}
        return canonical({**document, "issuedAt": "2026-01-31T12:05:00Z", **changes})

    def receipt(self, body: dict[str, Any], before: int = 6, *signers: Signer) -> dict[str, Any]:
        """A receipt's file, as the last of some leaves."""
        payload = canonical(body)
        leaves = [*(leaf(f"leaf {number}".encode()) for number in range(before)), leaf(payload)]
        signers = signers or (self.provider,)
        return {
            "receipt": dsse(RECEIPT, payload, *signers),
            "inclusionProof": [node.hex() for node in path(before, leaves)],
            "treeHead": dsse(TREE_HEAD, self.head(leaves), *signers),
        }

    def request(self, key: Signer, signer: Signer) -> dict[str, Any]:
        csr = "-----BEGIN CERTIFICATE REQUEST-----\n(not looked into before the signatures are verified)\n"
        return dsse(REQUEST, canonical({"silo": "clinic-a", **key.public(), "csr": csr}), signer)


def spool(head: dict[str, Any], chunks: Iterable[bytes]) -> bytes:
    data = canonical(head)
    return len(data).to_bytes(8, "big") + data + b"".join(chunks)


def write(name: str, content: bytes | dict[str, Any]) -> None:
    data = content if isinstance(content, bytes) else (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
    (HERE / name).write_bytes(data)
