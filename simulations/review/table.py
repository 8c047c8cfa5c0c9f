"""All hostile cases, and the threats that they stand for."""

from dataclasses import dataclass

from simulations.review import (
    client_cases,
    content_cases,
    crash_cases,
    load_cases,
    statement_cases,
    transport_cases,
    trust_cases,
)
from simulations.review.case import Case, registered

__all__ = ["CAPTURE_ID", "CASES", "FLIPS_ID", "THREATS", "Threat"]

#: Imported for the cases that they enter.
_MODULES = (client_cases, content_cases, crash_cases, load_cases, statement_cases, transport_cases, trust_cases)
CASES: tuple[Case, ...] = registered()
#: Rows of the report that are not cases of the table: the capture, and the bits flipped in the provider's own code.
CAPTURE_ID, FLIPS_ID = 50, 51


@dataclass(frozen=True, kw_only=True, slots=True)
class Threat:
    """A line of the report's first table.

    Attributes:
        cases: ids of the cases that carry the threat out.
    """

    threat: str
    control: str
    cases: tuple[int, ...]


THREATS: tuple[Threat, ...] = (
    Threat(
        threat="Somebody who is not enrolled connects",
        control="mTLS with the consortium's own CA; each certificate's key is pinned in the signed keyring",
        cases=(1, 2, 3, 4, 6, 44),
    ),
    Threat(
        threat="Traffic is recorded today and opened by a quantum computer later",
        control="TLS 1.3 with a post-quantum group, and inside it X-Wing HPKE; anything weaker is refused",
        cases=(5, CAPTURE_ID),
    ),
    Threat(
        threat="A silo speaks for another, or reads its uploads",
        control="Certificate, signer and statement must be of one silo; ids of others are not confirmed",
        cases=(7, 41),
    ),
    Threat(
        threat="A signature is forged, or its key is unknown, weak or revoked",
        control="Ed25519 and ML-DSA-65, both, by keys of the signed keyring, which is read again at the commit",
        cases=(8, 9, 11, 42),
    ),
    Threat(
        threat="Another suite or version is talked into use",
        control="One suite, in the signed bytes, never negotiated",
        cases=(10,),
    ),
    Threat(
        threat="An upload, or a part of it, is used again or elsewhere",
        control="Single-use challenges, one statement an upload, a content key wrapped for one session",
        cases=(12, 13, 14, 15, 16, 21, 52, 53),
    ),
    Threat(
        threat="The network changes, cuts or reorders an upload",
        control="STREAM with AES-256-GCM under the signed statement's digest; what does not open burns the upload",
        cases=(17, 18, 19, 20, 40, 48, FLIPS_ID, 54),
    ),
    Threat(
        threat="The provider is worn out",
        control="Limits before work: sizes, metadata, no compression, quotas by silo, a deadline for each wait",
        cases=(22, 23, 24, 25, 26, 27, 28, 30, 38, 43, 45),
    ),
    Threat(
        threat="A file of weights attacks its reader",
        control="A strict parser of the project's own: float32, names and shapes of the architecture; never pickle",
        cases=(29, 30, 31, 32, 33),
    ),
    Threat(
        threat="A guarantee that is none",
        control="Epsilon is computed again from the claimed mechanisms; whether they were run, only the silo knows",
        cases=(34,),
    ),
    Threat(
        threat="A crash or a full disk loses, doubles or half-writes a release, or locks somebody out",
        control="Written before it is answered; one transaction enters a release; root and keyring change together",
        cases=(35, 46, 47, 55),
    ),
    Threat(
        threat="The provider denies or rewrites what it accepted",
        control="Signed receipts with inclusion proofs in a Merkle log, compared with what the silo saw before",
        cases=(36, 37),
    ),
    Threat(
        threat="The provider's signing key is stolen",
        control="Rotated and revoked: nothing that only it signed is taken; what it signed before holds by the log",
        cases=(56,),
    ),
    Threat(
        threat="Another provider, or an old keyring",
        control="Root with threshold signatures; versions never go back; the provider's key is pinned",
        cases=(39, 49),
    ),
    Threat(
        threat="An eavesdropper, or a proxy that ends TLS, reads weights, keys or records",
        control="Weights leave sealed for the provider's key; keys and records never leave the silo",
        cases=(CAPTURE_ID,),
    ),
)
