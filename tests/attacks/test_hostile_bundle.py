"""A hostile bundle: code that runs as the SuperNode's user and wants records, keys, or a larger budget.

The daemon runs as it would at a silo, with its socket given to a group; the attacker runs as another user of that
group. Needs root, to become another user.
"""

import grp
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llamdex_fl.errors import ChannelError
from llamdex_fl.release import Offer
from llamdex_fl.rounds import Answer, offer_to_text
from llamdex_fl.schema import load_library_schema
from silo_client.config import load_silo_config
from silo_client.daemon_protocol import Operation, Request, ask
from silo_client.policy import DEFAULT_PURPOSE
from silo_client.setup import init_silo

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")

_NOBODY = pwd.getpwnam("nobody")


@dataclass
class Silo:
    """A daemon that runs, and what an attacker knows of it."""

    home: Path
    data: Path
    socket: Path
    offer: Offer


def _as_nobody(action: Callable[[], object]) -> object:
    """The JSON value of ``action``, done by a process of the user nobody."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(_NOBODY.pw_gid, _NOBODY.pw_gid, _NOBODY.pw_gid)
            os.setresuid(_NOBODY.pw_uid, _NOBODY.pw_uid, _NOBODY.pw_uid)
            result = json.dumps(action())
        except BaseException as error:  # noqa: BLE001 - the child must end here whatever happens
            result = json.dumps(type(error).__name__)
        os.write(write, result.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        result = json.load(stream)
    os.waitpid(child, 0)
    return result


@pytest.fixture(scope="module")
def silo() -> Iterator[Silo]:
    # Not pytest's own directory, which others may not enter: the home must protect itself.
    base = Path(tempfile.mkdtemp(prefix="llamdex-"))
    base.chmod(0o755)
    schema = load_library_schema("heart")
    home, data, run = base / "home", base / "records.csv", base / "run"
    run.mkdir()
    data.touch(mode=0o600)
    data.write_text("private\n", encoding="utf-8")
    init_silo(
        home, silo="north", data=data, schema=schema, provider="provider", provider_address="127.0.0.1:1", epsilon=1.0
    )
    (home / "keys").mkdir(exist_ok=True)
    (home / "keys" / "signing.pem").write_text("private\n", encoding="utf-8")
    path, group = run / "silo.sock", grp.getgrgid(_NOBODY.pw_gid).gr_name
    program = Path(sys.executable).with_name("llamdex-silo")
    daemon = subprocess.Popen(
        [program, "serve", home, "--socket", path, "--group", group], stdout=subprocess.PIPE, text=True
    )
    assert daemon.stdout is not None
    assert daemon.stdout.readline().startswith("ready")
    offer = Offer(
        provider="provider",
        purpose=DEFAULT_PURPOSE,
        schema_digest=schema.digest(),
        architecture="thermometer_linear/v1",
        base_model_digest="b" * 64,
        epsilon=1.0,
        delta=1e-4,
        challenge="a1" * 32,
    )
    yield Silo(home=home, data=data, socket=path, offer=offer)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(20) == 0
    daemon.stdout.close()
    assert not path.exists()
    shutil.rmtree(base)


def _answers(silo: Silo, operation: Operation, **wish: str) -> object:
    fields = {**offer_to_text(silo.offer), **wish}

    def action() -> str:
        return ask(silo.socket, Request(operation=operation, offer=fields), timeout_s=20).answer.value

    return _as_nobody(action)


def test_records_keys_policy_and_ledger_cannot_be_read(silo: Silo):
    files = [silo.data, *(path for path in silo.home.rglob("*") if path.is_file())]
    assert {load_silo_config(silo.home).policy, silo.home / "jobs.sqlite"} <= set(files)
    for path in files:
        assert _as_nobody(path.read_text) == "PermissionError", path
    assert _as_nobody(lambda: [str(path) for path in silo.home.iterdir()]) == "PermissionError"


def test_nothing_can_be_written_into_the_home_or_over_the_socket(silo: Silo):
    assert _as_nobody(lambda: (silo.home / "policy.toml").write_text("version = 1")) == "PermissionError"
    assert _as_nobody(silo.socket.unlink) == "PermissionError"


@pytest.mark.parametrize("wish", [{"epsilon": "8.0"}, {"provider": "stranger"}, {"purpose": "sell"}, {"delta": "0.5"}])
@pytest.mark.parametrize("operation", [Operation.OFFER, Operation.TRAIN_AND_UPLOAD])
def test_a_larger_budget_or_another_recipient_is_refused(silo: Silo, operation: Operation, wish: dict[str, str]):
    assert _answers(silo, operation, **wish) == Answer.POLICY_REFUSED


def test_the_questions_of_an_honest_bundle_are_answered(silo: Silo):
    assert _answers(silo, Operation.OFFER) == Answer.ACCEPTED


def test_another_user_outside_the_group_has_no_socket(silo: Silo):
    def action() -> str:
        os_error = ""
        try:
            ask(silo.socket, Request(operation=Operation.STATUS), timeout_s=5)
        except ChannelError as error:
            os_error = error.got
        return os_error

    silo.socket.chmod(0o600)
    try:
        assert _as_nobody(action) == "PermissionError"
    finally:
        silo.socket.chmod(0o660)
