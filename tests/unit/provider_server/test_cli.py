"""The provider's commands as they are typed."""

import asyncio
import json
import shutil
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from llamdex_fl import console
from llamdex_fl.envelope import issue_provider, load_tls_key
from llamdex_fl.errors import CertificateError, PortInUseError
from llamdex_fl.schema import load_library_schema
from provider_server.cli.main import app
from provider_server.config import load_provider_config
from provider_server.keyring_writer import moment
from provider_server.keys import ProviderKeys, load_ca
from provider_server.server import _bind


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        console.run(app, [str(argument) for argument in arguments])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    made = run(capsys, "init", tmp_path / "home", "--id", "clinic", "--trust-domain", "hearts.example", "--json")
    assert made[0] == 0
    assert len(json.loads(made[1])["root_fingerprint"]) == 64
    return tmp_path / "home"


def test_a_schema_is_added_by_its_name_or_its_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / "titanic.json"
    file.write_text(json.dumps(load_library_schema("titanic").as_dict()), encoding="utf-8")
    assert run(capsys, "add-schema", home, "heart", file)[0] == 0
    digests = {load_library_schema(name).digest() for name in ("heart", "titanic")}
    assert {path.stem for path in (home / "schemas").iterdir()} == digests


def test_one_wrong_schema_adds_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "add-schema", home, "heart", "nothere.json")
    assert (code, out) == (2, "")
    assert "next step" in err
    assert not list((home / "schemas").iterdir())


@pytest.mark.parametrize("command", ["rounds", "releases"])
def test_a_home_that_is_none_is_said_to_be_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, out, err = run(capsys, command, tmp_path / "none", "--json")
    assert (code, out) == (2, "")
    assert json.loads(err)["next_step"] == "make one with: llamdex-provider init"


def test_what_is_missing_is_told_before_the_llm_is_loaded(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("provider_server.live_assembly.load_base_llm", load)
    assert run(capsys, "add-schema", home, "heart")[0] == 0
    for arguments, code, error in (
        (["ask", " "], 2, "QuestionError"),
        (["ask", "Is he ill?"], 1, "ArtefactError"),
        (["eval", "--questions", "nothere.jsonl"], 2, "QuestionError"),
    ):
        got, out, err = run(capsys, *arguments, "--home", home, "--json")
        assert (got, out, json.loads(err)["error"]) == (code, "", error)


def _another(home: Path) -> bytes:
    return (home / "keys" / "ca-certificate.pem").read_bytes()


def _expired(home: Path) -> bytes:
    config, key = load_provider_config(home), load_tls_key(home / "keys" / "tls.pem")
    then = moment() - timedelta(days=398)
    return issue_provider(config.trust_domain, config.provider, key.public_key(), load_ca(config), then)


@pytest.mark.parametrize(
    ("certificate", "got"),
    [
        (lambda _: b"", "something else"),
        (lambda _: b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", "something else"),
        (_another, "another key"),
        (_expired, "one from"),
    ],
    ids=["empty", "damaged", "another key", "expired"],
)
def test_a_certificate_that_cannot_be_shown_is_no_port_in_use(
    home: Path, capsys: pytest.CaptureFixture[str], certificate: Callable[[Path], bytes], got: str
) -> None:
    (home / "provider.toml").write_text((home / "provider.toml").read_text().replace("18443", "0"))
    path = home / "keys" / "tls-certificate.pem"
    path.write_bytes(certificate(home))
    code, out, err = run(capsys, "serve", home)
    assert (code, out) == (2, "")
    assert err.startswith("CertificateError")
    assert str(path) in err
    assert got in err
    assert "rotate HOME tls" in err


def test_a_certificate_that_is_damaged_later_is_told_when_it_is_read_again(home: Path, tmp_path: Path) -> None:
    keys = ProviderKeys(load_provider_config(home))
    good, path = keys.tls_pair(), home / "keys" / "tls-certificate.pem"
    shutil.copy(path, tmp_path / "kept.pem")
    path.write_bytes(b"nonsense")
    for _ in range(2):
        with pytest.raises(CertificateError):
            keys.tls_pair()
    (tmp_path / "kept.pem").replace(path)
    assert keys.tls_pair() == good


def test_credentials_that_tls_does_not_take_are_told_apart_from_a_taken_port() -> None:
    async def bind(address: str) -> int:
        server = grpc.aio.server()
        credentials = grpc.ssl_server_credentials([(b"no key", b"no certificate")])
        try:
            return _bind(server, address, credentials)
        finally:
            await server.stop(0)

    with pytest.raises(CertificateError):
        asyncio.run(bind("127.0.0.1:0"))
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PortInUseError):
        asyncio.run(bind(f"127.0.0.1:{taken.getsockname()[1]}"))
    with pytest.raises(PortInUseError):
        asyncio.run(bind("192.0.2.1:0"))
