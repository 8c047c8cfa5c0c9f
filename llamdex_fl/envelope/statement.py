"""What a silo signs about a release: an in-toto Statement (v1) that binds the weights to one upload.

The signature proves who claimed an epsilon, not that the claim is true: the provider computes epsilon again from
the claimed mechanisms, but whether the training ran them, only the silo knows.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llamdex_fl.envelope.canonical import Fields, decimal, dumps, parse, timestamp
from llamdex_fl.envelope.refusal import Answer, DocumentError, RefusedError
from llamdex_fl.envelope.suite import CHUNK_SIZE, SUITE, KeyContext
from llamdex_fl.privacy.guarantee import ADJACENCY, UNIT, Guarantee, LaplaceCounts, Mechanism, SampledGaussian

__all__ = ["STATEMENT_LIMIT", "STATEMENT_TYPE", "Statement", "guarantee_document", "guarantee_from_document"]

#: The DSSE payload type of statements.
STATEMENT_TYPE = "application/vnd.in-toto+json"
#: Bytes of a statement, at most; checked before anything else.
STATEMENT_LIMIT = 64 * 1024

_IN_TOTO = "https://in-toto.io/Statement/v1"
_PREDICATE = "urn:llamdex:release:v1"
_SUBJECT = "expert.safetensors"
_MECHANISMS_LIMIT = 64
_STEPS_LIMIT = 10**7


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """Everything that a release's envelope promises; digests and ids are lower-case hex.

    Attributes:
        artefact_digest: SHA-256 of the plaintext, the safetensors file.
        wrapped_digest: SHA-256 of the wrapped content key.
        challenge: of the upload, single use.
        round_challenge: of the offer that the release answers.
        counter: grows with each statement of a silo.
    """

    silo: str
    provider: str
    recipient_keyid: str
    upload_id: str
    challenge: str
    round_challenge: str
    purpose: str
    schema_digest: str
    architecture: str
    base_model_digest: str
    artefact_digest: str
    wrapped_digest: str
    plaintext_length: int
    chunk_size: int
    chunk_count: int
    counter: int
    issued_at: datetime
    expires_at: datetime
    guarantee: Guarantee

    def key_context(self) -> KeyContext:
        """What the content key must have been wrapped for."""
        return KeyContext(
            silo=self.silo,
            provider=self.provider,
            recipient_keyid=self.recipient_keyid,
            upload_id=self.upload_id,
            challenge=self.challenge,
            purpose=self.purpose,
            schema_digest=self.schema_digest,
        )

    def to_payload(self) -> bytes:
        """The canonical bytes that are signed."""
        predicate: dict[str, Any] = {
            "suite": SUITE,
            "silo": self.silo,
            "provider": self.provider,
            "recipientKeyid": self.recipient_keyid,
            "uploadId": self.upload_id,
            "challenge": self.challenge,
            "roundChallenge": self.round_challenge,
            "purpose": self.purpose,
            "schemaDigest": self.schema_digest,
            "architecture": self.architecture,
            "baseModelDigest": self.base_model_digest,
            "wrappedKeyDigest": self.wrapped_digest,
            "plaintextLength": self.plaintext_length,
            "chunkSize": self.chunk_size,
            "chunkCount": self.chunk_count,
            "counter": self.counter,
            "issuedAt": timestamp(self.issued_at),
            "expiresAt": timestamp(self.expires_at),
            "guarantee": guarantee_document(self.guarantee),
        }
        return dumps(
            {
                "_type": _IN_TOTO,
                "subject": [{"name": _SUBJECT, "digest": {"sha256": self.artefact_digest}}],
                "predicateType": _PREDICATE,
                "predicate": predicate,
            }
        )

    @classmethod
    def from_payload(cls, payload: bytes) -> "Statement":
        """Parse bytes whose signatures were verified.

        Raises:
            RefusedError: FAILED_PRECONDITION for another statement type or suite, else INVALID_ARGUMENT.
        """
        top = parse(payload, limit=STATEMENT_LIMIT)
        _require(top.text("_type"), _IN_TOTO, "type of statement")
        _require(top.text("predicateType"), _PREDICATE, "type of predicate")
        predicate = top.child("predicate")
        _require(predicate.text("suite"), SUITE, "suite")
        subject = top.children("subject", limit=1)
        if len(subject) != 1:
            raise DocumentError("A statement is wrong.", expected="one subject", got="none")
        subject[0].constant("name", _SUBJECT)
        digest = subject[0].child("digest")
        statement = cls(
            silo=predicate.word("silo"),
            provider=predicate.word("provider"),
            recipient_keyid=predicate.hexadecimal("recipientKeyid", size=32),
            upload_id=predicate.hexadecimal("uploadId", size=16),
            challenge=predicate.hexadecimal("challenge", size=32),
            round_challenge=predicate.hexadecimal("roundChallenge", size=32),
            purpose=predicate.word("purpose"),
            schema_digest=predicate.hexadecimal("schemaDigest", size=32),
            architecture=predicate.word("architecture"),
            base_model_digest=predicate.hexadecimal("baseModelDigest", size=32),
            artefact_digest=digest.hexadecimal("sha256", size=32),
            wrapped_digest=predicate.hexadecimal("wrappedKeyDigest", size=32),
            plaintext_length=predicate.integer("plaintextLength", low=1),
            chunk_size=predicate.integer("chunkSize", low=CHUNK_SIZE, high=CHUNK_SIZE),
            chunk_count=predicate.integer("chunkCount", low=1),
            counter=predicate.integer("counter", low=1),
            issued_at=predicate.moment("issuedAt"),
            expires_at=predicate.moment("expiresAt"),
            guarantee=guarantee_from_document(predicate.child("guarantee")),
        )
        for fields in (digest, subject[0], predicate, top):
            fields.done()
        if statement.chunk_count != -(-statement.plaintext_length // CHUNK_SIZE):
            raise DocumentError("A statement is wrong.", expected="as many chunks as the length needs", got="others")
        return statement


def guarantee_document(guarantee: Guarantee) -> dict[str, Any]:
    """The privacy claim as it is signed: numbers that are not whole as decimal texts."""
    return {
        "epsilon": decimal(guarantee.epsilon),
        "delta": decimal(guarantee.delta),
        "accountant": guarantee.accountant,
        "accountantVersion": guarantee.accountant_version,
        "adjacency": guarantee.adjacency,
        "unit": guarantee.unit,
        "mechanisms": [_mechanism_document(mechanism) for mechanism in guarantee.mechanisms],
    }


def guarantee_from_document(fields: Fields) -> Guarantee:
    """Read a privacy claim; a number out of its range or an unknown word is refused.

    Raises:
        DocumentError: INVALID_ARGUMENT.
    """
    guarantee = Guarantee(
        epsilon=_between(fields, "epsilon", 0.0, math.inf),
        delta=_between(fields, "delta", 0.0, 1.0, included=0.0),
        accountant=fields.text("accountant", limit=128),
        accountant_version=fields.text("accountantVersion", limit=128),
        mechanisms=tuple(_mechanism(item) for item in fields.children("mechanisms", limit=_MECHANISMS_LIMIT)),
    )
    fields.constant("adjacency", ADJACENCY)
    fields.constant("unit", UNIT)
    fields.done()
    if not guarantee.mechanisms:
        raise DocumentError("A privacy claim is wrong.", expected="at least one mechanism", got="none")
    return guarantee


def _mechanism_document(mechanism: Mechanism) -> dict[str, Any]:
    if isinstance(mechanism, SampledGaussian):
        return {
            "kind": mechanism.kind,
            "samplingRate": decimal(mechanism.sampling_rate),
            "noiseMultiplier": decimal(mechanism.noise_multiplier),
            "steps": mechanism.steps,
            "maxGradNorm": decimal(mechanism.max_grad_norm),
        }
    return {"kind": mechanism.kind, "epsilon": decimal(mechanism.epsilon)}


def _mechanism(fields: Fields) -> Mechanism:
    kind = fields.word("kind")
    mechanism: Mechanism
    if kind == "sampled_gaussian":
        mechanism = SampledGaussian(
            sampling_rate=_between(fields, "samplingRate", 0.0, 1.0, included=1.0),
            noise_multiplier=_between(fields, "noiseMultiplier", 0.0, 1e9),
            steps=fields.integer("steps", low=1, high=_STEPS_LIMIT),
            max_grad_norm=_between(fields, "maxGradNorm", 0.0, 1e9),
        )
    elif kind == "laplace_counts":
        mechanism = LaplaceCounts(epsilon=_between(fields, "epsilon", 0.0, math.inf))
    else:
        raise DocumentError(
            "A privacy claim is wrong.", expected="the mechanisms sampled_gaussian and laplace_counts", got="another"
        )
    fields.done()
    return mechanism


def _between(fields: Fields, name: str, low: float, high: float, *, included: float | None = None) -> float:
    value = fields.decimal(name)
    if not (low < value < high or value == included):
        raise DocumentError(
            "A privacy claim is wrong.", expected=f"{name} from {low:g} to {high:g}", got="another value"
        )
    return value


def _require(got: str, expected: str, what: str) -> None:
    if got != expected:
        raise RefusedError(
            Answer.FAILED_PRECONDITION,
            f"The statement has another {what}.",
            expected=expected,
            got=repr(got[:80]),
            next_step="use the same version of the protocol at both ends",
        )
