"""Who is at the other end of a connection, from transport facts alone."""

from typing import Any

import pytest

from llamdex_fl.envelope import Answer, RefusedError
from llamdex_fl.errors import KeyringError
from llamdex_fl.privacy.guarantee import Guarantee, LaplaceCounts
from provider_server.config import load_provider_config
from provider_server.keys import KeyringFile
from provider_server.setup import revoke
from provider_server.transport import identify

# The type of the fixture lives in a conftest, which cannot be imported.
Bench = Any
GUARANTEE = Guarantee(
    epsilon=0.5, delta=1e-5, mechanisms=(LaplaceCounts(epsilon=0.5),), accountant="pld", accountant_version="x"
)


def facts(bench: Bench, silo: str = "a", **changes: bytes | None) -> dict[str, list[bytes]]:
    values: dict[str, bytes | None] = {
        "ssl_tls_version": b"TLSv1.3",
        "ssl_negotiated_key_exchange_group": b"X25519MLKEM768",
        "peer_spiffe_id": f"spiffe://heart.example/silo/{silo}".encode(),
        "x509_pem_cert": bench.silos[silo].tls_certificate,
        **changes,
    }
    return {name: [value] for name, value in values.items() if value is not None}


def test_who_is_at_the_other_end(bench: Bench):
    keyring = KeyringFile(load_provider_config(bench.home), lambda: bench.now)
    assert identify(facts(bench), keyring.current()) == "a"
    assert identify(facts(bench, "b"), keyring.current()) == "b"
    weak = [
        {"ssl_tls_version": b"TLSv1.2"},
        {"ssl_tls_version": None},
        {"ssl_negotiated_key_exchange_group": b"X25519"},
        {"ssl_negotiated_key_exchange_group": b"P-256"},
        {"ssl_negotiated_key_exchange_group": b"notX25519MLKEM768"},
        {"ssl_negotiated_key_exchange_group": None},
    ]
    unknown = [
        {"peer_spiffe_id": b"spiffe://heart.example/silo/zz"},
        {"peer_spiffe_id": b"spiffe://other.example/silo/a"},
        {"peer_spiffe_id": b"spiffe://heart.example/provider/prov"},
        {"peer_spiffe_id": b"spiffe://heart.example/silo/b/../a"},
        {"peer_spiffe_id": b"\xff"},
        {"peer_spiffe_id": None},
        {"x509_pem_cert": bench.silos["b"].tls_certificate},
        {"x509_pem_cert": b"no certificate"},
        {"x509_pem_cert": None},
    ]
    for answer, cases in ((Answer.FAILED_PRECONDITION, weak), (Answer.UNAUTHENTICATED, unknown)):
        for changes in cases:
            with pytest.raises(RefusedError) as caught:
                identify(facts(bench, **changes), keyring.current())
            assert caught.value.answer is answer, changes


def test_two_values_of_one_fact_are_none(bench: Bench):
    keyring = KeyringFile(load_provider_config(bench.home), lambda: bench.now)
    given = facts(bench)
    given["peer_spiffe_id"].append(b"spiffe://heart.example/silo/b")
    with pytest.raises(RefusedError):
        identify(given, keyring.current())


def test_a_revocation_counts_at_once_and_an_old_keyring_never_again(bench: Bench):
    config = load_provider_config(bench.home)
    old = config.keyring.read_text()
    keyring = KeyringFile(config, lambda: bench.now)
    keyring.current().member("a")
    revoke(bench.home, "a")
    with pytest.raises(RefusedError):
        keyring.current().member("a")
    config.keyring.write_text(old)
    with pytest.raises(KeyringError, match="rollback"):
        keyring.current()
