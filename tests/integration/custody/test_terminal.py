"""What a person does at a terminal: a silo from its invitation in one step, and passphrases that are typed."""

import contextlib
import fcntl
import os
import select
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from llamdex_fl import console
from llamdex_fl.envelope import EnrolmentRequest
from llamdex_fl.schema import load_library_schema
from provider_server.invitations import invite
from provider_server.membership import enrol_silos
from provider_server.setup import init_provider
from silo_client.cli.main import app
from silo_client.config import load_silo_config

SILO = [sys.executable, "-c", "from silo_client.cli import main; main()"]
HEART = load_library_schema("heart")
PASSPHRASE = "korrekt pferd batterie"  # noqa: S105 - of a test
_SECONDS = 60.0


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("terminal") / "provider"
    init_provider(home, provider="prov", trust_domain="heart.example", address="127.0.0.1:18443")
    return home


@pytest.fixture
def given(provider: Path, tmp_path: Path) -> list[str]:
    """The options with which a silo is made from an invitation."""
    header = ",".join([*(feature.name for feature in HEART.features), "heart_disease"])
    (tmp_path / "records.csv").write_text(header + "\n")
    (tmp_path / "i.json").write_text(invite(provider, "hosp-1").to_json())
    return ["--invitation", str(tmp_path / "i.json"), "--data", str(tmp_path / "records.csv"), "--schema", "heart"]


def silo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SILO, *arguments], check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def at_a_terminal(arguments: Sequence[str], typed: Sequence[tuple[str, str]]) -> tuple[int, str]:
    """Run the silo's program on a terminal of its own, and type each answer when its question is shown.

    Returns:
        The exit code, and all that the terminal showed.
    """
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*SILO, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        # Its controlling terminal, which is where a passphrase is asked for.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no thread of ours holds a lock
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200"},
    )
    os.close(theirs)
    shown, place, waiting, ends = "", 0, list(typed), time.monotonic() + _SECONDS
    with contextlib.suppress(OSError):  # the terminal is gone with its last user
        while time.monotonic() < ends:
            if waiting and waiting[0][0] in shown[place:]:
                place = len(shown)
                os.write(ours, waiting.pop(0)[1].encode() + b"\n")
            if select.select([ours], [], [], 0.1)[0]:
                part = os.read(ours, 4096)
                if not part:
                    break
                shown += part.decode("utf-8", "replace")
    code = process.wait(timeout=10)
    os.close(ours)
    assert not waiting, shown
    return code, shown


def test_one_step_from_an_invitation_to_a_request(
    provider: Path, given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            console.run(app, arguments)
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    home = tmp_path / "home"
    code, _, told = run("init", str(home), *given, "--silo", "hosp-2")
    assert code == 2
    assert "InvitationError" in told
    assert not home.exists()
    code, made, told = run("init", str(home), *given, "--provider-address", "provider.example:443")
    assert (code, made.split()) == (0, [str(home), str(home / "enrolment-request.json")])
    assert "send it to prov" in told
    config = load_silo_config(home)
    assert (config.silo, config.provider, config.provider_address) == ("hosp-1", "prov", "provider.example:443")
    # The longer way, given again, asks for the same.
    before = EnrolmentRequest.verified((home / "enrolment-request.json").read_text())
    assert run("enrol", str(home), given[1])[0] == 0
    assert EnrolmentRequest.verified((home / "enrolment-request.json").read_text()).digest == before.digest
    (one,) = enrol_silos(provider, [home / "enrolment-request.json"])
    assert one.vouched_by == "invitation"
    assert run("enrol", str(home), str(one.reply))[0] == 0
    code, _, told = run("init", str(tmp_path / "other"), *given[2:])
    assert code == 2
    assert "--provider-address" in told
    assert "--invitation" in told


def test_a_passphrase_that_is_typed(provider: Path, given: list[str], tmp_path: Path):
    home = tmp_path / "home"
    making = ["init", str(home), *given, "--ask-passphrase"]
    first, again = "Passphrase of the private keys: ", "The same again: "
    code, shown = at_a_terminal(making, [(first, PASSPHRASE), (again, "another")])
    assert code == 2
    assert "two different ones" in shown
    assert not home.exists()
    code, shown = at_a_terminal(making, [(first, PASSPHRASE), (again, PASSPHRASE)])
    assert code == 0, shown
    assert PASSPHRASE not in shown
    assert "another" not in shown
    assert all(b"ENCRYPTED" in path.read_bytes() for path in home.glob("keys/*.pem"))
    (one,) = enrol_silos(provider, [home / "enrolment-request.json"])
    # Asked for once where keys are used; without a terminal or a file it is refused, and nothing waits for an answer.
    code, shown = at_a_terminal(["enrol", str(home), str(one.reply)], [(first, "wrong")])
    assert code == 2
    assert "passphrase" in shown
    assert not (home / "keyring.json").exists()
    refused = silo("enrol", str(home), str(one.reply))
    assert refused.returncode == 2
    assert "--passphrase-file" in refused.stderr
    code, shown = at_a_terminal(["enrol", str(home), str(one.reply)], [(first, PASSPHRASE)])
    assert code == 0, shown
    assert "joined heart.example" in shown
    assert PASSPHRASE not in shown
