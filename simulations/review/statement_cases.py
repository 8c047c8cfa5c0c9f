"""Cases 7 to 16 and 34: who signed what, for whom, when, and at which cost."""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from llamdex_fl.envelope import Answer, SealedFile, Signature, SigningKey
from llamdex_fl.envelope.canonical import decimal
from llamdex_fl.wire import convert
from provider_server.setup import revoke
from silo_client.enrolment import load_identity
from simulations.review.attacker import Attacker, answer, messages
from simulations.review.case import Arena, Try, case

__all__: list[str] = []

_SIGNED = "Ed25519 and ML-DSA-65 over the exact bytes, both by the key that the keyring has for the silo"
_BOUND = "The signed statement names the session's id, challenge and round; a challenge is good for one upload"
_REFUSED = Answer.FAILED_PRECONDITION.name


@case(
    7,
    "certificate's silo differs from the statement's",
    "PERMISSION_DENIED",
    control="Statement, signer and certificate must be of one silo",
)
def _another_silo(arena: Arena) -> Iterable[Try]:
    other = load_identity(arena.consortium.silos["b"])
    with arena.attacker() as attacker:
        sealed = attacker.seal()
        parts = {
            "names another silo": attacker.stated(sealed, silo="b"),
            "signed by another silo": attacker.stated(sealed, other.signer),
            "of another silo altogether": attacker.stated(sealed, other.signer, silo="b"),
        }
        for what, header in parts.items():
            yield Try(what, answer(lambda h=header: attacker.upload([h])))  # type: ignore[misc]  # bound now


@case(8, "one of the two signatures stripped or bad", "UNAUTHENTICATED", control=_SIGNED)
def _signatures(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        sealed = attacker.seal()
        signed = sealed.header.statement
        classical, quantum_safe = signed.signatures
        tries = {
            "Ed25519 alone": (classical,),
            "ML-DSA alone": (quantum_safe,),
            "none": (),
            "Ed25519 twice": (classical, classical),
            "ML-DSA with a flipped bit": (classical, _flipped(quantum_safe)),
            "Ed25519 with a flipped bit": (_flipped(classical), quantum_safe),
            "Ed25519 of zeros": (replace(classical, sig=bytes(64)), quantum_safe),
            "halves exchanged": (replace(classical, sig=quantum_safe.sig), replace(quantum_safe, sig=classical.sig)),
            "a third one": (classical, quantum_safe, classical),
        }
        for what, signatures in tries.items():
            header = attacker.enveloped(sealed, replace(signed, signatures=signatures))
            yield Try(what, answer(lambda h=header: attacker.upload([h])))  # type: ignore[misc]  # bound now
        altered = replace(signed, payload=signed.payload.replace(b'"counter":', b'"counter":1', 1))
        yield Try(
            "other bytes than were signed", answer(lambda: attacker.upload([attacker.enveloped(sealed, altered)]))
        )


def _flipped(signature: Signature) -> Signature:
    return replace(signature, sig=signature.sig[:-1] + bytes([signature.sig[-1] ^ 1]))


@case(9, "unknown, revoked or small-order key", "UNAUTHENTICATED", control=_SIGNED)
def _keys(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        sealed = attacker.seal()
        stranger = SigningKey.generate()
        header = attacker.stated(sealed, stranger)
        yield Try("unknown", answer(lambda: attacker.upload([header])))
        header = attacker.enveloped(sealed, replace(sealed.header.statement, signatures=_small_order(sealed)))
        yield Try("small order", answer(lambda: attacker.upload([header])))
    with arena.own(("a", "b")) as own, Attacker.connected(own) as attacker:
        sealed = attacker.seal()
        revoke(own.home, "a")
        yield Try("revoked, at the header", answer(lambda: attacker.send(sealed)))
        yield Try("revoked, at a new upload", answer(lambda: attacker.seal(offer=own.offer())))
        with Attacker.connected(own, "b") as other:
            header = other.stated(other.seal(), attacker.identity.signer)
            yield Try("revoked, by way of another silo", answer(lambda: other.upload([header])))


def _small_order(sealed: SealedFile) -> tuple[Signature, Signature]:
    """The universal forgery under the Ed25519 key of order 1, with an ML-DSA half of the attacker's own."""
    identity, own = bytes([1]) + bytes(31), SigningKey.generate()
    _, quantum_safe = own.sign(sealed.header.statement.pae())
    keyid = hashlib.sha256(b"llamdex/signer/v1" + identity + own.public.mldsa65).hexdigest()
    return Signature(f"{keyid}/ed25519", identity + bytes(32)), replace(quantum_safe, keyid=f"{keyid}/mldsa65")


@case(
    10,
    "another suite, statement type or payload type",
    _REFUSED,
    control="One suite and one version, named in the signed bytes and never negotiated",
)
def _types(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        sealed = attacker.seal()
        parts = {
            "suite": attacker.written(sealed, b'"LDX1"', b'"LDX0"'),
            "statement type": attacker.written(sealed, b"in-toto.io/Statement/v1", b"in-toto.io/Statement/v0.1"),
            "predicate type": attacker.written(sealed, b"urn:llamdex:release:v1", b"urn:llamdex:release:v2"),
            "payload type": attacker.written(sealed, b"", b"", "application/json"),
        }
        for what, header in parts.items():
            yield Try(what, answer(lambda h=header: attacker.upload([h])))  # type: ignore[misc]  # bound now


@case(
    11,
    "key revoked in mid-upload",
    "UNAUTHENTICATED at commit",
    control="The keyring is read again when it changes, and signatures are verified again at the commit",
)
def _revoked_in_mid_upload(arena: Arena) -> Iterable[Try]:
    with arena.own(("a", "b")) as own, Attacker.connected(own) as attacker:
        sealed = attacker.seal()
        attacker.send(sealed)
        revoke(own.home, "a")
        yield Try("commit", f"{answer(lambda: attacker.commit(sealed))} at commit")
        yield Try("entries of the log", str(len(own.entries())), expected="0")


@case(12, "challenge reused", _REFUSED, control=_BOUND)
def _reused(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        used = attacker.seal()
        attacker.send(used)
        attacker.commit(used)
        fresh = attacker.seal()
        header = attacker.stated(fresh, challenge=used.statement.challenge)
        yield Try("under a new session's id", answer(lambda: attacker.upload([header])))
        moved = convert.header_request(replace(used.header, upload_id=fresh.header.upload_id))
        yield Try("an old envelope in a new session", answer(lambda: attacker.upload([moved])))
        header = attacker.stated(fresh, round_challenge=used.statement.round_challenge)
        yield Try("a round that was answered", answer(lambda: attacker.upload([header])))
        header = attacker.stated(fresh, counter=used.statement.counter)
        yield Try("a counter that does not grow", answer(lambda: attacker.upload([header])))


@case(13, "expired or clock skewed", _REFUSED, control="Statements and challenges expire; clocks may differ by 2 min")
def _clocks(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        sealed = attacker.seal()
        issued = sealed.statement.issued_at
        for what, changes in {
            "expired": {"expires_at": issued},
            "10 minutes ahead": {"issued_at": issued + timedelta(minutes=10)},
            "10 minutes behind": {"issued_at": issued - timedelta(minutes=10)},
            "a year ahead": {"issued_at": issued + timedelta(days=365)},
        }.items():
            header = attacker.stated(sealed, None, **changes)
            yield Try(what, answer(lambda h=header: attacker.upload([h])))  # type: ignore[misc]  # bound now
    with arena.own(limits={"session_seconds": 2.0}) as own, Attacker.connected(own) as attacker:
        unsent, uncommitted = attacker.seal(), attacker.seal()
        attacker.send(uncommitted)
        time.sleep(3.0)
        yield Try("challenge expired before the stream", answer(lambda: attacker.send(unsent)))
        yield Try("challenge expired before the commit", answer(lambda: attacker.commit(uncommitted)))


@case(
    14,
    "statement made for another provider or purpose",
    "PERMISSION_DENIED",
    control="The signed statement names provider and purpose",
)
def _another_provider(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        sealed = attacker.seal()
        for name, value in (("provider", "other"), ("purpose", "profiling")):
            header = attacker.stated(sealed, None, **{name: value})
            yield Try(name, answer(lambda h=header: attacker.upload([h])))  # type: ignore[misc]  # bound now


@case(15, "committed id with another T", "ALREADY_EXISTS", control="An upload is bound to one statement, for good")
def _another_statement(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        sealed = attacker.seal()
        attacker.send(sealed)
        attacker.commit(sealed)
        header = attacker.stated(sealed, counter=10**6)
        yield Try("another stream", answer(lambda: attacker.upload([header])))
        yield Try("another commit", answer(lambda: attacker.commit(sealed, bytes(32))))


@case(16, "committed id with the same T", "OK, the same receipt", control="A receipt is made once and kept")
def _same_statement(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        sealed = attacker.seal()
        attacker.send(sealed)
        first, leaves = attacker.commit(sealed), len(arena.consortium.entries())
        for what in ("again", "and again"):
            same = attacker.commit(sealed) == first
            yield Try(f"commit {what}", "OK, the same receipt" if same else "OK, another receipt")
        count = len(messages(sealed)) - 1
        at_the_end = attacker.upload([convert.header_request(sealed.header)]) == count
        yield Try("stream again", "OK, the same receipt" if at_the_end else "other chunks are asked for")
        yield Try("entries of the log", str(len(arena.consortium.entries())), expected=str(leaves))


@case(
    34,
    "epsilon inconsistent with its parameters, NaN, negative; over budget",
    "INVALID_ARGUMENT; FAILED_PRECONDITION",
    control="Epsilon is computed again from the claimed mechanisms and compared with the offer",
)
def _epsilon(arena: Arena) -> Iterable[Try]:
    guarantee = arena.consortium.guarantee
    invalid, text = "INVALID_ARGUMENT", f'"epsilon":"{decimal(guarantee.epsilon)}"'.encode()
    with arena.attacker() as attacker:
        for what, epsilon in (("a little too low", 0.99), ("half", 0.5), ("too high", 1.2)):
            sealed = attacker.seal(guarantee=replace(guarantee, epsilon=guarantee.epsilon * epsilon))
            attacker.send(sealed)
            yield Try(what, answer(lambda s=sealed: attacker.commit(s)), expected=invalid)  # type: ignore[misc]  # bound now
        sealed = attacker.seal()
        for value in ("NaN", "nan", "inf", "-1.0", "0.0", "1e400", "1", ""):
            header = attacker.written(sealed, text, f'"epsilon":"{value}"'.encode())
            got = answer(lambda h=header: attacker.upload([h]))  # type: ignore[misc]  # bound now
            yield Try(f"epsilon {value!r}", got, expected=invalid)
        for what, claim in (("epsilon", replace(guarantee, epsilon=2.5)), ("delta", replace(guarantee, delta=1e-3))):
            header = attacker.stated(sealed, guarantee=claim)
            got = answer(lambda h=header: attacker.upload([h]))  # type: ignore[misc]  # bound now
            yield Try(f"{what} over budget", got, expected=_REFUSED)


@case(
    52,
    "statement about another expert, session or length than was agreed",
    _REFUSED,
    control="Every field that was offered or announced is signed, and compared",
)
def _another_expert(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        sealed = attacker.seal()
        digest = "00" * 32
        for what, header in {
            "upload id": attacker.stated(sealed, upload_id="00" * 16),
            "recipient key": attacker.stated(sealed, recipient_keyid=digest),
            "schema": attacker.stated(sealed, schema_digest=digest),
            "architecture": attacker.stated(sealed, architecture="other/v1"),
            "base model": attacker.stated(sealed, base_model_digest=digest),
            "length": attacker.stated(sealed, plaintext_length=sealed.statement.plaintext_length - 1),
        }.items():
            yield Try(what, answer(lambda h=header: attacker.upload([h])))  # type: ignore[misc]  # bound now
        yield Try("the upload, after all of this", attacker.status(sealed), expected="open")


@case(53, "a round that is not open", _REFUSED, control="An upload answers an offer, and only while its round is open")
def _closed_round(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        closed, answered = arena.consortium.offer(), arena.consortium.offer()
        with arena.consortium.registry as registry:
            registry.close_round(closed.challenge)
        yield Try("closed", answer(lambda: attacker.seal(offer=closed)))
        yield Try("unknown", answer(lambda: attacker.seal(offer=replace(closed, challenge="00" * 32))))
        sealed = attacker.seal(offer=answered)
        yield Try("nothing was uploaded", answer(lambda: attacker.commit(sealed)))
        attacker.send(sealed)
        attacker.commit(sealed)
        yield Try("answered", answer(lambda: attacker.seal(offer=answered)))
