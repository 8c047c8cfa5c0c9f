"""Rotations are whole or not at all, whoever is killed meanwhile; and an expired root can still be followed."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llamdex_fl.envelope import load_root, load_signing_key, read_trust, write_atomically
from llamdex_fl.errors import InputError, KeyringError
from provider_server import keyring_writer, membership
from provider_server.config import load_provider_config
from provider_server.keyring_writer import moment
from provider_server.keys import KeyringFile
from provider_server.rotation import retire, rotate, rotate_root, use
from provider_server.setup import init_provider
from silo_client import enrolment, uplink
from silo_client.config import SiloConfig, load_silo_config
from silo_client.enrolment import join, load_identity, make_keys, read_reply_file, take
from silo_client.membership import refresh

# The type of the fixture lives in a conftest, which cannot be imported.
Consortium = Any
SILO = [sys.executable, "-c", "from silo_client.cli import main; main()"]

#: Runs a statement, and kills itself with SIGKILL before the n-th file is put into its place. Nothing of the program
#: knows of it.
MORTAL = """
import os, pathlib, signal, sys
home, count, statement = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
replace, passed = pathlib.Path.replace, 0
def mortal(self, target):
    global passed
    passed += 1
    if passed == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
pathlib.Path.replace = mortal
exec(statement)
"""
ROTATE = "from provider_server.rotation import rotate_root; rotate_root(home, count=3, threshold=2)"
#: The former root's copy, the next root, the keyring, the next root in the place of the present one; then none is left.
WRITES = range(1, 6)


def run_mortal(home: Path, count: int, statement: str, *arguments: str) -> int:
    command = [sys.executable, "-c", MORTAL, str(home), str(count), statement, *arguments]
    return subprocess.run(command, check=False, timeout=60, capture_output=True).returncode


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A provider and a silo that joined it, to be copied."""
    directory = tmp_path_factory.mktemp("founded")
    fingerprint = init_provider(
        directory / "provider", provider="prov", trust_domain="x.example", address="127.0.0.1:0"
    )
    home = directory / "silo"
    home.mkdir()
    (home / "silo.toml").write_text('silo = "a"\ndata = "d"\nprovider = "prov"\nprovider_address = "127.0.0.1:1"\n')
    join(home, membership.enrol(directory / "provider", [make_keys(home)])[0], fingerprint)
    return directory


def version_of_root(home: Path) -> int:
    return read_trust(home, now=moment())[0].version


@pytest.mark.parametrize("count", WRITES)
def test_a_provider_that_is_killed_at_any_write(founded: Path, tmp_path: Path, count: int):
    home = tmp_path / "provider"
    shutil.copytree(founded / "provider", home)
    before = version_of_root(home)
    # What a running provider holds, and goes on with.
    running = KeyringFile(load_provider_config(home), moment)
    assert run_mortal(home, count, ROTATE) == (0 if count == WRITES[-1] else -signal.SIGKILL)
    done = version_of_root(home) == before + 1
    assert done == (count > 3)
    assert running.current().version == KeyringFile(load_provider_config(home), moment).current().version
    assert running.root.version == before + done
    # The next command tidies up, and any command works.
    membership.enrol(home, [])
    assert not (home / "root-next.json").exists()
    assert load_root(home / "root.json", now=moment()).version == before + done
    rotate_root(home)
    assert retire(home, "root").version == running.current().version
    assert running.root.version == before + done + 1
    # A silo follows, whatever it missed.
    silo = tmp_path / "silo"
    shutil.copytree(founded / "silo", silo)
    config = load_silo_config(silo)
    take(config, read_reply_file(_reply(home, silo)))
    assert version_of_root(silo) == before + done + 1


@pytest.mark.parametrize("what", ["tls", "ca", "recipient", "signing"])
def test_another_rotation_that_is_killed_before_its_keyring_is_out(founded: Path, tmp_path: Path, what: Any):  # noqa: ANN401 - a word of rotate's
    home = tmp_path / "provider"
    shutil.copytree(founded / "provider", home)
    before = read_trust(home, now=moment())[1]
    announced = what in {"tls", "ca"}
    # The certificate that is announced, where there is one, and then the keyring.
    statement = f"from provider_server.rotation import rotate; rotate(home, {what!r})"
    assert run_mortal(home, 2 if announced else 1, statement) == -signal.SIGKILL
    keyring = read_trust(home, now=moment())[1]
    assert (keyring.version, keyring.ca, keyring.provider) == (before.version, before.ca, before.provider)
    if announced:
        # Nobody was told of it, so it must not be used, and nothing is retired for it.
        with pytest.raises(InputError):
            use(home, what)
    after = rotate(home, what)
    assert after.version == before.version + 1
    if announced:
        with pytest.raises(InputError, match="--use"):
            rotate(home, what)
        use(home, what)
    # One new key, not two.
    assert len(list((home / "keys").glob(f"{what}-[0-9].pem"))) == 1
    provider = after.provider
    named = {
        "tls": len(provider.spki),
        "ca": after.ca.count("BEGIN CERTIFICATE"),
        "recipient": len(provider.recipients),
        "signing": 1 + len(provider.former),
    }
    assert named[what] == 2


def _reply(home: Path, silo: Path) -> Path:
    return membership.enrol(home, [silo / "enrolment-request.json"])[0]


TAKE = """
from silo_client.config import load_silo_config
from silo_client.enrolment import read_reply_file, take
take(load_silo_config(home), read_reply_file(pathlib.Path(sys.argv[4])), sys.argv[5] or None)
"""


@pytest.mark.parametrize("count", [*(pytest.param(count, marks=pytest.mark.slow) for count in (1, 2, 5)), 3, 4])
@pytest.mark.parametrize("first", [True, False], ids=["joins", "follows"])
def test_a_silo_that_is_killed_at_any_write(founded: Path, tmp_path: Path, count: int, *, first: bool):
    shutil.copytree(founded, tmp_path, dirs_exist_ok=True)
    home, silo = tmp_path / "provider", tmp_path / "silo"
    fingerprint = load_root(home / "root.json", now=moment()).fingerprint() if first else ""
    if first:
        for name in ("root.json", "keyring.json", "keys/tls-certificate.pem"):
            (silo / name).unlink()
    rotate_root(home)
    reply = _reply(home, silo)
    killed = run_mortal(silo, count, TAKE, str(reply), fingerprint)
    assert killed == (0 if count == WRITES[-1] else -signal.SIGKILL)
    config = load_silo_config(silo)
    if not first:
        # It is not locked out: the old pair or the new one.
        assert load_identity(config).keyring.version in {2, 4}
        assert version_of_root(silo) == (2 if count > 3 else 1)
    take(config, read_reply_file(reply), fingerprint or None)
    assert load_identity(config).keyring.version == 4
    assert load_root(silo / "root.json", now=moment()).version == 2
    assert not (silo / "root-next.json").exists()


@pytest.mark.parametrize("count", [4, *(pytest.param(count, marks=pytest.mark.slow) for count in (1, 2, 3, 5))])
def test_the_program_starts_again_and_serves(make_consortium: Callable[..., Consortium], count: int):
    own = make_consortium()
    run_mortal(own.home, count, ROTATE)
    own.start()
    assert uplink.upload(own.release(), own.offer(), own.silos["a"], deadline_s=10)
    version = 2 if count > 3 else 1
    assert version_of_root(own.silos["a"].home) == version
    assert own.run("rotate", "root").returncode == 0
    shown = json.loads(own.run("keyring", "--json").stdout)
    assert (shown["root"]["version"], shown["root"]["expired"]) == (version + 1, False)
    assert uplink.upload(own.release(), own.offer(), own.silos["a"], deadline_s=10)


def _expired_root(home: Path) -> datetime:
    """Put a root in the place of the first one that expired yesterday; when it was still good."""
    root = load_root(home / "root.json", now=None)
    keys = [load_signing_key(path) for path in sorted((home / "root").glob("*.pem"))]
    old = type(root)(
        version=1, threshold=root.threshold, keys=root.keys, expires_at=moment() - timedelta(days=1)
    )  # the same keys, so the keyring is still signed
    write_atomically(home / "root.json", old.signed(keys).to_json().encode())
    return old.expires_at - timedelta(days=1)


def test_an_expired_keyring_says_what_renews_it(founded: Path, tmp_path: Path):
    home = tmp_path / "provider"
    shutil.copytree(founded / "provider", home)
    with pytest.raises(KeyringError, match="enrol HOME"):
        KeyringFile(load_provider_config(home), lambda: moment() + timedelta(days=398))


@pytest.fixture
def neglected(make_consortium: Callable[..., Consortium], monkeypatch: pytest.MonkeyPatch) -> Consortium:
    """A consortium whose root has expired; its silo a joined while it was good."""
    own = make_consortium(silos=())
    then = _expired_root(own.home)
    with monkeypatch.context() as patch:
        patch.setattr(keyring_writer, "moment", lambda: then)
        patch.setattr(enrolment, "_now", lambda: then)
        own.fingerprint = load_root(own.home / "root.json", now=then).fingerprint()
        own.add_silos(["a"])
    return own


def test_an_expired_root_signs_its_successor_and_nothing_else(neglected: Consortium):
    own, silo = neglected, neglected.silos["a"]
    for act in (
        lambda: membership.revoke(own.home, "a"),
        lambda: membership.enrol(own.home, []),
        lambda: rotate(own.home, "recipient"),
        lambda: retire(own.home, "root"),
        lambda: KeyringFile(load_provider_config(own.home), moment),
    ):
        with pytest.raises(KeyringError, match="rotate HOME root"):
            act()
    assert json.loads(own.run("keyring", "--json").stdout)["root"]["expired"] is True
    with pytest.raises(KeyringError, match="expired"):
        load_identity(silo)
    assert own.run("rotate", "root", "--root-keys", "3", "--root-threshold", "2").returncode == 0
    own.start()
    # The silo asks with what it has, takes the successor from the running provider, and uploads.
    assert uplink.upload(own.release(), own.offer(), silo, deadline_s=10)
    assert read_trust(silo.home, now=moment())[0].threshold == 2
    assert not refresh(load_identity(silo), silo)


def test_a_silo_asks_by_command_and_joins_under_a_chain_of_expired_roots(neglected: Consortium):
    own, silo = neglected, neglected.silos["a"]
    rotate_root(own.home)
    rotate_root(own.home)
    own.start()
    done = subprocess.run([*SILO, "update", str(silo.home)], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert read_trust(silo.home, now=moment())[0].version == 3
    # A newcomer who compared the first, expired root's fingerprint follows the chain too.
    own.add_silos(["b"])
    assert version_of_root(own.silos["b"].home) == 3


def test_the_last_root_of_a_chain_must_be_valid(neglected: Consortium, monkeypatch: pytest.MonkeyPatch):
    silo: SiloConfig = neglected.silos["a"]
    monkeypatch.setattr("provider_server.rotation.ROOT_LIFETIME", timedelta(days=1))
    rotate_root(neglected.home)
    reply = read_reply_file(membership.enrol(neglected.home, [silo.home / "enrolment-request.json"])[0])
    before = {path.name: path.read_bytes() for path in silo.home.glob("*.json")}
    monkeypatch.setattr(enrolment, "_now", lambda: moment() + timedelta(days=2))
    for fingerprint in (None, neglected.fingerprint):
        with pytest.raises(KeyringError, match="still valid"):
            take(silo, reply, fingerprint)
    assert {path.name: path.read_bytes() for path in silo.home.glob("*.json")} == before
