"""What the provider takes in, decided without any IO: every refusal of the upload protocol in one place.

A session goes ``open`` -> ``bound`` (to one statement) -> ``committed`` or ``burned``; nothing else. The order of
the checks of a stream's header is: size, signatures, parties, session, claim; nothing expensive happens before the
signatures are verified. docs/envelope.md has the table of cases and answers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from llamdex_fl.envelope import Answer, Header, Keyring, Member, RefusedError, Statement, Wish, verify_statement
from llamdex_fl.envelope.suite import WRAPPED_SIZE
from llamdex_fl.errors import InputError
from llamdex_fl.privacy.guarantee import Guarantee, Mechanism
from llamdex_fl.release import Offer
from llamdex_fl.schema import Schema
from provider_server.config import Limits
from provider_server.registry import ReleaseRecord, RoundRecord, UploadRecord

__all__ = [
    "CertifyEpsilon",
    "TensorShapes",
    "Usage",
    "admit",
    "check_claim",
    "check_commit",
    "check_offer",
    "check_parties",
    "check_session",
    "check_size",
    "check_wish",
    "verify_signer",
]

#: An architecture's name and a schema -> each tensor's name and shape.
TensorShapes = Callable[[str, Schema], Mapping[str, tuple[int, ...]]]
#: Mechanisms and delta -> epsilon.
CertifyEpsilon = Callable[[Sequence[Mechanism], float], float]

#: A claim may lie below the recomputed epsilon by rounding only, and above it by a silo's own margin.
_BELOW, _ABOVE = 1e-6, 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a silo has used so far: sessions under way, sessions of a day, and its answer to the round."""

    under_way: int
    of_a_day: int
    answered: ReleaseRecord | None


def check_wish(wish: Wish, *, limits: Limits) -> None:
    """The size that is wished for, before anything is looked up with it.

    Raises:
        RefusedError: RESOURCE_EXHAUSTED.
    """
    if not 0 < wish.plaintext_length <= limits.plaintext_bytes:
        raise _too_large(wish.plaintext_length, limits)


def admit(
    round_record: RoundRecord | None,
    usage: Usage,
    *,
    limits: Limits,
    now: datetime,
) -> None:
    """Whether a silo may begin an upload; ``check_wish`` comes before.

    Raises:
        RefusedError: FAILED_PRECONDITION for a round that is not open or was answered, RESOURCE_EXHAUSTED for a
            spent quota.
    """
    if round_record is None or not round_record.is_open(now):
        raise _refused(Answer.FAILED_PRECONDITION, "The round is not open.", "the challenge of an open round")
    if usage.answered is not None:
        raise _refused(Answer.FAILED_PRECONDITION, "This silo has answered the round.", "one release a round")
    if usage.under_way >= limits.sessions_per_silo or usage.of_a_day >= limits.uploads_per_silo_and_day:
        raise _refused(
            Answer.RESOURCE_EXHAUSTED,
            "The silo's quota of uploads is used up.",
            f"at most {limits.sessions_per_silo} under way, {limits.uploads_per_silo_and_day} a day",
        )


def check_size(header: Header) -> None:
    """The size of what a header carries, before any of it is looked at; ``verify_statement`` looks at the rest."""
    if len(header.wrapped) != WRAPPED_SIZE:
        raise _refused(Answer.INVALID_ARGUMENT, "The wrapped key has another size.", f"{WRAPPED_SIZE} bytes")


def verify_signer(header: Header, keyring: Keyring) -> tuple[str, Member, Statement]:
    """Who signed the statement, and the statement.

    Raises:
        RefusedError: UNAUTHENTICATED where no enrolled key made both signatures; else as ``verify_statement``.
    """
    # A signature's key id is a hint only: it picks the key that must then verify.
    hints = {signature.keyid.split("/")[0] for signature in header.statement.signatures}
    named = [(silo, key) for silo, member in keyring.silos.items() for key in member.keys if key.keyid in hints]
    if len(named) != 1:
        raise _refused(Answer.UNAUTHENTICATED, "The statement is not signed by an enrolled key.", "an enrolled key")
    silo, key = named[0]
    return silo, keyring.member(silo), verify_statement(header.statement, key)


def check_parties(statement: Statement, *, signer: str, silo: str, keyring: Keyring) -> None:
    """Whether statement, signer and connection are of one silo, and the statement is for this provider.

    Raises:
        RefusedError: PERMISSION_DENIED.
    """
    if not statement.silo == signer == silo:
        raise _refused(Answer.PERMISSION_DENIED, "The statement is another silo's.", "the silo of the certificate")
    if statement.provider != keyring.provider.provider:
        raise _refused(Answer.PERMISSION_DENIED, "The statement is for another provider.", "this provider")


def check_session(
    statement: Statement, upload: UploadRecord | None, *, release_id: str, limits: Limits, now: datetime
) -> None:
    """Whether a statement belongs to this session, and the session may go on.

    Raises:
        RefusedError: NOT_FOUND, ALREADY_EXISTS, DATA_LOSS (burned), FAILED_PRECONDITION or RESOURCE_EXHAUSTED.
    """
    upload = _own(upload, statement.silo)
    _not_burned(upload)
    if upload.release_id is not None and upload.release_id != release_id:
        raise _refused(Answer.ALREADY_EXISTS, "The upload is bound to another statement.", "the same statement")
    if upload.status == "committed":
        return
    _not_expired(upload, now)
    bound = (upload.upload_id, upload.challenge, upload.round_challenge, upload.recipient_keyid)
    if bound != (statement.upload_id, statement.challenge, statement.round_challenge, statement.recipient_keyid):
        raise _refused(
            Answer.FAILED_PRECONDITION,
            "The statement was made for another session.",
            "this session's id, challenge, round and recipient key",
        )
    skew = timedelta(seconds=limits.clock_skew_seconds)
    if statement.issued_at > now + skew or statement.expires_at <= now or statement.issued_at < upload.begun_at - skew:
        raise _refused(Answer.FAILED_PRECONDITION, "The statement is not valid now.", "clocks that agree")
    if statement.plaintext_length > limits.plaintext_bytes:
        raise _too_large(statement.plaintext_length, limits)
    if statement.plaintext_length != upload.plaintext_length:
        raise _refused(Answer.FAILED_PRECONDITION, "The statement has another length.", "the length that was announced")


def check_offer(statement: Statement, offer: Offer, *, last_counter: int) -> None:
    """Whether a statement answers this offer.

    Raises:
        RefusedError: PERMISSION_DENIED for another purpose; FAILED_PRECONDITION for another expert or too much
            epsilon, or a counter that does not grow.
    """
    if statement.purpose != offer.purpose:
        raise _refused(Answer.PERMISSION_DENIED, "The statement is for another purpose.", "the purpose of the offer")
    asked = (offer.schema_digest, offer.architecture, offer.base_model_digest)
    if asked != (statement.schema_digest, statement.architecture, statement.base_model_digest):
        raise _refused(
            Answer.FAILED_PRECONDITION,
            "The statement is about another expert than was asked for.",
            "the offer's schema, architecture and base model",
        )
    if statement.guarantee.epsilon > offer.epsilon or statement.guarantee.delta > offer.delta:
        raise _refused(
            Answer.FAILED_PRECONDITION,
            "The release costs more privacy than was offered.",
            f"epsilon {offer.epsilon:g} at delta {offer.delta:g} or less",
        )
    if statement.counter <= last_counter:
        raise _refused(Answer.FAILED_PRECONDITION, "The statement's counter did not grow.", f"over {last_counter}")


def check_commit(upload: UploadRecord | None, *, silo: str, release_id: str, now: datetime) -> UploadRecord:
    """The session that is to be committed, or was with the same statement.

    Raises:
        RefusedError: NOT_FOUND, ALREADY_EXISTS, DATA_LOSS (burned) or FAILED_PRECONDITION.
    """
    upload = _own(upload, silo)
    _not_burned(upload)
    if upload.release_id is None:
        raise _refused(Answer.FAILED_PRECONDITION, "Nothing was uploaded.", "all chunks first")
    if upload.release_id != release_id:
        raise _refused(Answer.ALREADY_EXISTS, "The upload is bound to another statement.", "the same statement")
    if upload.status != "committed":
        _not_expired(upload, now)
    return upload


def check_claim(guarantee: Guarantee, certify: CertifyEpsilon) -> None:
    """Whether the claimed epsilon follows from the claimed mechanisms; not whether the mechanisms were run.

    Raises:
        RefusedError: INVALID_ARGUMENT.
    """
    try:
        certified = certify(guarantee.mechanisms, guarantee.delta)
    except InputError as error:
        raise _refused(
            Answer.INVALID_ARGUMENT, "The privacy claim's mechanisms are not usable.", error.expected
        ) from error
    low, high = certified * (1 - _BELOW) - _BELOW, certified * (1 + _ABOVE) + _BELOW
    if not (math.isfinite(certified) and low <= guarantee.epsilon <= high):
        raise _refused(
            Answer.INVALID_ARGUMENT,
            "The claimed epsilon does not follow from the claimed mechanisms.",
            f"an epsilon from {low:.6g} to {high:.6g}",
        )


def _own(upload: UploadRecord | None, silo: str) -> UploadRecord:
    # One text for both: ids of other silos' uploads are not confirmed.
    if upload is None or upload.silo != silo:
        raise _refused(Answer.NOT_FOUND, "There is no such upload.", "the id that BeginUpload gave")
    return upload


def _not_burned(upload: UploadRecord) -> None:
    if upload.status == "burned":
        raise _refused(Answer.DATA_LOSS, "The upload was refused for good.", "a new upload")


def _not_expired(upload: UploadRecord, now: datetime) -> None:
    if now >= upload.expires_at:
        raise _refused(Answer.FAILED_PRECONDITION, "The upload's challenge has expired.", "a new upload")


def _too_large(length: int, limits: Limits) -> RefusedError:
    return RefusedError(
        Answer.RESOURCE_EXHAUSTED,
        "The expert's size is not allowed.",
        expected=f"1 to {limits.plaintext_bytes} bytes",
        got=f"{length} bytes",
        next_step="send a smaller expert, or agree on another limit",
    )


def _refused(answer: Answer, problem: str, expected: str) -> RefusedError:
    return RefusedError(
        answer, problem, expected=expected, got="something else", next_step="see the table in docs/envelope.md"
    )
