"""Certificates: what they say, and the requests that are refused."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from llamdex_fl.envelope import (
    EnrolmentRequest,
    RefusedError,
    SignedEnvelope,
    SigningKey,
    ca_digests,
    certificate_request,
    generate_tls_key,
    issue_ca,
    issue_provider,
    issue_silo,
    issuing_ca,
    renew_silo,
    require_certificate,
    spki_digest,
)
from llamdex_fl.errors import CertificateError

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def ca() -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    key = generate_tls_key()
    return issue_ca("example.org", key, NOW), key


def test_silo_certificate(ca: tuple[bytes, ec.EllipticCurvePrivateKey]):
    key = generate_tls_key()
    pem = issue_silo("example.org", "a", certificate_request("zz", key), ca, NOW)
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://example.org/silo/a")]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    store = Store([x509.load_pem_x509_certificate(ca[0])])
    PolicyBuilder().store(store).time(NOW).build_client_verifier().verify(certificate, [])
    der = certificate.public_bytes(Encoding.DER)
    assert spki_digest(pem) == spki_digest(der)
    assert certificate.not_valid_after_utc - NOW < timedelta(days=400)


def test_provider_certificate(ca: tuple[bytes, ec.EllipticCurvePrivateKey]):
    certificate = x509.load_pem_x509_certificate(
        issue_provider("example.org", "prov", generate_tls_key().public_key(), ca, NOW)
    )
    store = Store([x509.load_pem_x509_certificate(ca[0])])
    verifier = PolicyBuilder().store(store).time(NOW).build_server_verifier(x509.DNSName("prov.example.org"))
    verifier.verify(certificate, [])


def test_bad_signing_requests(ca: tuple[bytes, ec.EllipticCurvePrivateKey]):
    p384 = certificate_request("a", ec.generate_private_key(ec.SECP384R1()))
    for request in (b"", b"-----BEGIN CERTIFICATE REQUEST-----\n", p384, ca[0]):
        with pytest.raises(RefusedError):
            issue_silo("example.org", "a", request, ca, NOW)


def test_no_certificate():
    for data in (b"", b"-----BEGIN CERTIFICATE-----\nx", b"\0" * 50):
        with pytest.raises(RefusedError):
            spki_digest(data)


def test_enrolment_requests():
    key, other = SigningKey.generate(), SigningKey.generate()
    request = EnrolmentRequest(silo="a", key=key.public, csr=certificate_request("a", generate_tls_key()))
    assert EnrolmentRequest.verified(request.signed(key)) == request
    stolen = request.signed(other)
    altered = SignedEnvelope.from_json(request.signed(key))
    payload = altered.payload.replace(b'"silo":"a"', b'"silo":"b"')
    for text in (stolen, SignedEnvelope(altered.payload_type, payload, altered.signatures).to_json(), "{}", "x"):
        with pytest.raises(RefusedError):
            EnrolmentRequest.verified(text)


def test_which_ca_issued_a_certificate(ca: tuple[bytes, ec.EllipticCurvePrivateKey]):
    # Of the same name: only the signature tells them apart.
    key = generate_tls_key()
    other = issue_ca("example.org", key, NOW), key
    both = other[0] + ca[0]
    digests = ca_digests(both)
    assert len(set(digests)) == 2
    request = certificate_request("a", generate_tls_key())
    for number, one in enumerate((other, ca)):
        issued = issue_silo("example.org", "a", request, one, NOW)
        assert issuing_ca(issued, both) == digests[number]
        assert issuing_ca(renew_silo("example.org", "a", issued, one, NOW), both) == digests[number]
        assert issuing_ca(issued, ca[0]) == (digests[1] if one is ca else "")
    for bad in (b"", b"nonsense"):
        with pytest.raises(CertificateError):
            ca_digests(bad)
        with pytest.raises(CertificateError):
            issuing_ca(ca[0], bad)


def test_a_certificate_that_may_be_shown(ca: tuple[bytes, ec.EllipticCurvePrivateKey]):
    key = generate_tls_key()
    pem = issue_provider("example.org", "prov", key.public_key(), ca, NOW)
    require_certificate(pem, where="here", now=NOW, key=key)
    require_certificate(pem + ca[0], where="here", now=NOW)
    for certificate, now, private in (
        (pem, NOW, generate_tls_key()),
        (pem, NOW - timedelta(hours=1), key),
        (pem, NOW + timedelta(days=398), key),
        (pem + ca[0], NOW + timedelta(days=3651), key),
        (b"", NOW, key),
    ):
        with pytest.raises(CertificateError, match="here"):
            require_certificate(certificate, where="here", now=now, key=private)
