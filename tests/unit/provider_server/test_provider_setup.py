"""Making a provider's home, and enrolling silos in it."""

from pathlib import Path
from typing import Any

import pytest

from llamdex_fl.errors import ConfigError, InputError
from llamdex_fl.privacy.guarantee import Guarantee, LaplaceCounts
from provider_server.setup import enrol, init_provider, revoke

# The type of the fixture lives in a conftest, which cannot be imported.
Bench = Any
GUARANTEE = Guarantee(
    epsilon=0.5, delta=1e-5, mechanisms=(LaplaceCounts(epsilon=0.5),), accountant="pld", accountant_version="x"
)


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
