"""Who is at the other end of a connection, from what TLS says about it.

gRPC itself checks the certificate against the consortium's CA but also lets TLS 1.2 and classical key exchanges
through, and knows no revocations: that is done here, before any handler runs.
"""

import re
from collections.abc import Mapping, Sequence

from llamdex_fl.envelope import Answer, Keyring, RefusedError, spki_digest
from llamdex_fl.envelope.certificates import silo_uri

__all__ = ["identify"]

_POST_QUANTUM = re.compile(r"X25519MLKEM768|SecP256r1MLKEM768|SecP384r1MLKEM1024|MLKEM(?:512|768|1024)")


def identify(facts: Mapping[str, Sequence[bytes]], keyring: Keyring) -> str:
    """The silo at the other end.

    Args:
        facts: gRPC's ``auth_context``.
        keyring: the present one.

    Raises:
        RefusedError: FAILED_PRECONDITION for a weak connection, UNAUTHENTICATED for an unknown or revoked silo, and
            for a certificate that is not the enrolled one.
    """
    version, group = _one(facts, "ssl_tls_version"), _one(facts, "ssl_negotiated_key_exchange_group")
    if version != "TLSv1.3" or not _POST_QUANTUM.fullmatch(group):
        raise RefusedError(
            Answer.FAILED_PRECONDITION,
            "The connection is not protected well enough.",
            expected="TLS 1.3 with a post-quantum key exchange, for example X25519MLKEM768",
            got=f"{version[:16] or 'none'} with {group[:32] or 'none'}",
            next_step="update the TLS library of the silo",
        )
    uri = _one(facts, "peer_spiffe_id")
    silo = uri.rsplit("/", 1)[-1]
    if not silo or uri != silo_uri(keyring.trust_domain, silo):
        raise _unknown(uri)
    member = keyring.member(silo)
    if spki_digest(_one(facts, "x509_pem_cert").encode()) not in member.spkis:
        raise _unknown(uri)
    return silo


def _one(facts: Mapping[str, Sequence[bytes]], name: str) -> str:
    values = facts.get(name, ())
    return values[0].decode("ascii", "replace") if len(values) == 1 else ""


def _unknown(uri: str) -> RefusedError:
    return RefusedError(
        Answer.UNAUTHENTICATED,
        "The certificate is not the one that was enrolled.",
        expected="the certificate that the silo got when it joined",
        got=uri[:100] or "no SPIFFE id",
        next_step="join again with the provider's newest reply",
    )
