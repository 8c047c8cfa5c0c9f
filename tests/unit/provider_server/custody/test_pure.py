"""Decisions without IO: transport facts, claims, behaviour; and the configuration."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamdex_fl import weights
from llamdex_fl.envelope import Answer, RefusedError
from llamdex_fl.errors import ArtefactError, ConfigError, InputError, KeyringError
from llamdex_fl.privacy.guarantee import Guarantee, LaplaceCounts
from provider_server.config import Limits, load_provider_config
from provider_server.intake import check_claim
from provider_server.keys import KeyringFile, load_provider_keys
from provider_server.quarantine import judge
from provider_server.registry import Registry
from provider_server.setup import enrol, init_provider, revoke
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


def test_claims():
    for certified in (0.5, 0.499, 0.4999999):
        check_claim(GUARANTEE, lambda _m, _d, certified=certified: certified)  # type: ignore[misc]  # bound now

    def refuses(_mechanisms: object, _delta: float) -> float:
        raise InputError("x", expected="y", got="z", next_step="w")

    cases = [lambda _m, _d, c=c: c for c in (0.51, 0.3, float("inf"), float("nan"))]  # type: ignore[misc]  # bound now
    for certify in (*cases, refuses):
        with pytest.raises(RefusedError) as caught:
            check_claim(GUARANTEE, certify)
        assert caught.value.answer is Answer.INVALID_ARGUMENT


def test_behaviour(tmp_path: Path):
    def expert(weight: list[float], counts: float = 500.0) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        tensors = {"weight": np.array(weight, np.float32), "class_counts": np.array([counts, counts], np.float32)}
        weights.save(path, tensors)
        return path

    others = [expert([1, 2, 3]), expert([2, 2, 3]), expert([1, 3, 3])]
    limits = Limits()
    assert judge(expert([1, 2, 2]), others, limits) == ""
    assert "points against" in judge(expert([-1, -2, -3]), others, limits)
    assert judge(expert([-1, -2, -3]), others[:2], limits) == ""
    assert judge(expert([0, 0, 0]), others, limits) == ""
    assert judge(expert([-1, -2, -3, 0]), others, limits) == ""
    assert "out of scale" in judge(expert([1e4, 1, 1]), others, limits)
    assert "out of scale" in judge(expert([1, 1, 1], counts=1e9), others, limits)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        'provider = "p"\ntrust_domain = "d"\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\nmore = "x"\n',
        'provider = "P!"\ntrust_domain = "d"\naddress = "h:1"\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "nowhere"\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\n[limits]\nunknown = 1\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\n[limits]\nrpcs = "many"\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\n[limits]\nrpcs = 0\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\n[limits]\nrpcs = 1.5\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\n[limits]\nsession_seconds = nan\n',
        'provider = "p"\ntrust_domain = "d"\naddress = "h:1"\n[limits]\nrpcs = 1' + 400 * "0" + "\n",
        'provider = "p"\ntrust_domain = "d"\naddress = "h:65536"\n',
    ],
)
def test_configurations_that_are_refused(text: str, tmp_path: Path):
    (tmp_path / "provider.toml").write_text(text)
    with pytest.raises(ConfigError):
        load_provider_config(tmp_path)


def test_an_interrupted_init_leaves_no_provider_and_can_be_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given: dict[str, Any] = {"provider": "p", "trust_domain": "d", "address": "h:1"}
    (tmp_path / "home").mkdir()
    with monkeypatch.context() as patched:

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr("provider_server.setup.issue_ca", interrupt)
        with pytest.raises(KeyboardInterrupt):
            init_provider(tmp_path / "home", **given)
    assert not list((tmp_path / "home").iterdir())
    (tmp_path / "home/.unfinished/keys").mkdir(parents=True)  # what a kill leaves
    init_provider(tmp_path / "home", **given)
    assert not (tmp_path / "home/.unfinished").exists()
    enrol(tmp_path / "home", [])


def test_a_home_with_damaged_parts_is_an_error_with_a_next_step(bench: Bench):
    config = load_provider_config(bench.home)
    (config.keys / "tls-certificate.pem").unlink()
    with pytest.raises(ConfigError, match="no certificate"):
        load_provider_keys(config)
    damaged = bench.home / "damaged.sqlite"
    damaged.write_text("no database", encoding="utf-8")
    for path in (damaged, bench.home):
        with pytest.raises(ArtefactError, match="registry"):
            Registry(path)


def test_init_and_enrol_refuse_what_they_must(bench: Bench, tmp_path: Path):
    with pytest.raises(ConfigError):
        init_provider(bench.home, provider="p", trust_domain="d", address="h:1")
    for bad in ({"provider": "P"}, {"address": "x"}, {"root_threshold": 2}):
        given: dict[str, Any] = {"provider": "p", "trust_domain": "d", "address": "h:1", **bad}
        with pytest.raises(ConfigError):
            init_provider(tmp_path / "new", **given)
        assert not (tmp_path / "new").exists()
    before = (bench.home / "keyring.json").read_text()
    (tmp_path / "bad.json").write_text("{}")
    good = tmp_path / "a" / "enrolment-request.json"
    for requests in ([tmp_path / "none.json"], [good, tmp_path / "bad.json"], [good, good]):
        with pytest.raises(InputError):
            enrol(bench.home, requests)
    (bench.home / "root").rename(tmp_path / "safe")
    with pytest.raises(ConfigError):
        enrol(bench.home, [good])
    assert (bench.home / "keyring.json").read_text() == before
    enrol(bench.home, [good], root_keys=tmp_path / "safe")
    with pytest.raises(InputError):
        revoke(bench.home, "zz", root_keys=tmp_path / "safe")
