"""mTLS certificates on P-256, whose subject is a SPIFFE id; the consortium's own CA signs them.

P-256 because grpcio's TLS fails with Ed25519 and ML-DSA certificates; what must stay secret for long is sealed by
LDX1 inside the connection. A silo's certificate is for clients only, the provider's for servers only.
"""

import hashlib
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from llamdex_fl.envelope.refusal import Answer, RefusedError
from llamdex_fl.errors import CertificateError

__all__ = [
    "ca_digests",
    "certificate_request",
    "issue_ca",
    "issue_provider",
    "issue_silo",
    "issuing_ca",
    "provider_name",
    "renew_silo",
    "request_is_for",
    "require_certificate",
    "silo_uri",
    "spki_digest",
]

_CA_LIFETIME = timedelta(days=3650)
_LIFETIME = timedelta(days=397)
#: Clocks differ: a certificate is valid a little before it was made.
_SKEW = timedelta(minutes=10)


class _Subject(NamedTuple):
    common_name: str
    names: list[x509.GeneralName]
    usage: x509.ObjectIdentifier


def silo_uri(trust_domain: str, silo: str) -> str:
    """A silo's SPIFFE id."""
    return f"spiffe://{trust_domain}/silo/{silo}"


def provider_name(trust_domain: str, provider: str) -> str:
    """The DNS name that silos expect of the provider, whatever address they dial."""
    return f"{provider}.{trust_domain}"


def issue_ca(trust_domain: str, key: ec.EllipticCurvePrivateKey, now: datetime) -> bytes:
    """The CA's own certificate, PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{trust_domain} CA")])
    certificate = (
        _builder(name, name, key.public_key(), now, _CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


def issue_provider(
    trust_domain: str,
    provider: str,
    public_key: ec.EllipticCurvePublicKey,
    ca: tuple[bytes, ec.EllipticCurvePrivateKey],
    now: datetime,
) -> bytes:
    """The provider's server certificate, PEM."""
    names: list[x509.GeneralName] = [
        x509.DNSName(provider_name(trust_domain, provider)),
        x509.UniformResourceIdentifier(f"spiffe://{trust_domain}/provider/{provider}"),
    ]
    subject = _Subject(provider, names, ExtendedKeyUsageOID.SERVER_AUTH)
    return _issue(subject, public_key, ca, now)


def certificate_request(silo: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A silo's signing request, PEM; it proves that the silo holds the key, its names are not looked at."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, silo)])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256()).public_bytes(Encoding.PEM)


def request_is_for(request: bytes, key: ec.EllipticCurvePrivateKey) -> bool:
    """Whether a signing request is for this key."""
    try:
        return x509.load_pem_x509_csr(request).public_key() == key.public_key()
    except ValueError:
        return False


def renew_silo(
    trust_domain: str,
    silo: str,
    certificate: bytes,
    ca: tuple[bytes, ec.EllipticCurvePrivateKey],
    now: datetime,
) -> bytes:
    """A new certificate, PEM, for the key of one that this consortium made for the silo before."""
    public_key = x509.load_pem_x509_certificate(certificate).public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise _bad_request()
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(silo_uri(trust_domain, silo))]
    return _issue(_Subject(silo, names, ExtendedKeyUsageOID.CLIENT_AUTH), public_key, ca, now)


def issue_silo(
    trust_domain: str, silo: str, request: bytes, ca: tuple[bytes, ec.EllipticCurvePrivateKey], now: datetime
) -> bytes:
    """A silo's client certificate, PEM.

    Raises:
        RefusedError: the request is no P-256 signing request, or its signature does not verify.
    """
    try:
        parsed = x509.load_pem_x509_csr(request)
        public_key = parsed.public_key()
        good = parsed.is_signature_valid
    except (ValueError, InvalidSignature):
        raise _bad_request() from None
    if not good or not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name != "secp256r1":
        raise _bad_request()
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(silo_uri(trust_domain, silo))]
    return _issue(_Subject(silo, names, ExtendedKeyUsageOID.CLIENT_AUTH), public_key, ca, now)


def spki_digest(certificate: bytes) -> str:
    """Hex SHA-256 of the public key of a certificate, PEM or DER; this is what keyrings pin.

    Raises:
        RefusedError: UNAUTHENTICATED, it is no certificate.
    """
    try:
        pem = certificate.startswith(b"-----BEGIN")
        parsed = x509.load_pem_x509_certificate(certificate) if pem else x509.load_der_x509_certificate(certificate)
        spki = parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except ValueError:
        raise RefusedError(
            Answer.UNAUTHENTICATED,
            "This is no certificate.",
            expected="an X.509 certificate",
            got="something else",
            next_step="enrol again",
        ) from None
    return hashlib.sha256(spki).hexdigest()


def ca_digests(authorities: bytes) -> list[str]:
    """Hex SHA-256 of each CA's certificate (DER), in the order of the PEM text.

    Raises:
        CertificateError: one of them is damaged.
    """
    return [one.fingerprint(SHA256()).hex() for one in _authorities(authorities)]


def issuing_ca(certificate: bytes, authorities: bytes) -> str:
    """Which of several CAs (PEM) signed a certificate (PEM): its digest as ``ca_digests`` gives it; empty for none.

    Raises:
        CertificateError: one of them is damaged.
    """
    (issued, *_) = _authorities(certificate)
    for one in _authorities(authorities):
        try:
            issued.verify_directly_issued_by(one)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return one.fingerprint(SHA256()).hex()
    return ""


def _authorities(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise _unusable("the keyring or a connection", "X.509 certificates in PEM", "something else") from None


def require_certificate(
    certificate: bytes, *, where: str, now: datetime, key: ec.EllipticCurvePrivateKey | None = None
) -> None:
    """Refuse what TLS would not take, or what the other end would refuse, before a server shows it.

    Args:
        certificate: one or more, PEM.
        where: what holds it, for the error.
        now: the present.
        key: the private key that it must be for.

    Raises:
        CertificateError: it is damaged, not valid now, or for another key.
    """
    try:
        parsed = x509.load_pem_x509_certificates(certificate)
    except ValueError:
        raise _unusable(where, "an X.509 certificate in PEM", "something else") from None
    for one in parsed:
        if not one.not_valid_before_utc <= now <= one.not_valid_after_utc:
            valid = f"one from {one.not_valid_before_utc} to {one.not_valid_after_utc}"
            raise _unusable(where, "a certificate that is valid now", valid)
    if key is not None and parsed[0].public_key() != key.public_key():
        raise _unusable(where, "the certificate of the private key beside it", "another key's")


def _unusable(where: str, expected: str, got: str) -> CertificateError:
    return CertificateError(
        f"The certificate in {where} cannot be used.",
        expected=expected,
        got=got,
        next_step="restore it from a backup, or make a new one: llamdex-provider rotate HOME tls, and then --use",
    )


def _issue(
    subject: _Subject,
    public_key: ec.EllipticCurvePublicKey,
    ca: tuple[bytes, ec.EllipticCurvePrivateKey],
    now: datetime,
) -> bytes:
    issuer = x509.load_pem_x509_certificate(ca[0])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)])
    certificate = (
        _builder(name, issuer.subject, public_key, now, _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([subject.usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(subject.names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca[1].public_key()), critical=False)
        .sign(ca[1], SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _bad_request() -> RefusedError:
    return RefusedError(
        Answer.INVALID_ARGUMENT,
        "The certificate signing request is not usable.",
        expected="PEM, P-256, signed by its own key",
        got="something else",
        next_step="make it again with: llamdex-silo keys",
    )
