"""The log as a silo reads it from a real provider, passphrases of both sides, and what inspect shows."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llamdex_fl.envelope import LogNote, SignedEnvelope, read_log_entry
from llamdex_fl.errors import ConfigError, LlamdexError, ReceiptError
from llamdex_fl.schema import load_library_schema
from provider_server.membership import revoke
from provider_server.rotation import rotate
from provider_server.setup import add_schema
from silo_client import uplink
from silo_client.enrolment import load_identity
from silo_client.inspection import Inspection
from silo_client.log_check import check_log, verify_log
from silo_client.membership import read_log
from silo_client.outbox import Outbox

# The type of the fixture lives in a conftest, which cannot be imported.
Consortium = Any
SILO = [sys.executable, "-c", "from silo_client.cli import main; main()"]


def silo_program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SILO, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, consortium: Consortium) -> Consortium:
    """A provider with releases of a and b, a revocation, a rotated key, and a new schema; a and b still there."""
    del tmp_path_factory
    for silo in ("a", "b", "a"):
        uplink.upload(consortium.release(), consortium.offer(), consortium.silos[silo], deadline_s=10)
    consortium.add_silos(["c"])
    revoke(consortium.home, "c")
    rotate(consortium.home, "recipient")
    add_schema(consortium.home, load_library_schema("heart"))
    uplink.upload(consortium.release(), consortium.offer(), consortium.silos["a"], deadline_s=10)
    return consortium


def test_who_uploaded_what_when_with_which_guarantee(used: Consortium):
    seen = Outbox(used.silos["a"]).tree_head(load_identity(used.silos["a"]).keyring.log_keys)
    assert seen is not None
    done = silo_program("log", "verify", str(used.silos["a"].home), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["seen_before"], report["own_receipts"], report["consistent"]) == (seen.size, 3, True)
    kinds = [entry["kind"] for entry in report["entries"]]
    assert kinds == ["release", "release", "release", "revocation", "policy", "release"]
    assert [entry.get("silo") for entry in report["entries"]] == ["a", "b", "a", None, None, "a"]
    release = report["entries"][1]
    assert release["guarantee"]["epsilon"] == repr(used.guarantee.epsilon)
    assert release["guarantee"]["adjacency"] == "add_or_remove_one"
    assert (release["signature"], release["own"]) == ("verified", False)
    assert list(report["entries"][3]["silos"]) == ["c"]
    policy = report["entries"][4]["policy"]
    assert len(policy["schemas"]) == 2
    assert len(policy["recipientKeys"]) == 2
    shown = silo_program("log", "verify", str(used.silos["b"].home), COLUMNS="200").stdout
    assert "b (you)" in shown
    assert "1 receipts of this silo" in shown


@pytest.fixture(scope="module")
def read(used: Consortium) -> tuple[Any, ...]:
    identity = load_identity(used.silos["a"])
    outbox = Outbox(used.silos["a"])
    known = outbox.tree_head(identity.keyring.log_keys)
    head, proof, entries = read_log(identity, used.silos["a"], known.size if known else 0)
    return head, proof, entries, identity.keyring, known, outbox.receipts(identity.keyring.log_keys)


def check(read: tuple[Any, ...], **changes: Any) -> Any:  # noqa: ANN401 - a report
    names = ("head", "proof", "entries", "keyring", "known", "receipts")
    return check_log(**{**dict(zip(names, read, strict=True)), **changes})


def test_an_altered_log_does_not_verify(read: tuple[Any, ...]):
    entries, receipts = read[2], read[5]
    assert check(read).receipts == 3
    assert check(read, known=None, receipts=[]).seen_before == 0
    cases: dict[str, dict[str, Any]] = {
        "an entry is missing": {"entries": entries[:-1]},
        "two entries changed places": {"entries": [entries[1], entries[0], *entries[2:]]},
        "another statement": {"entries": [(entries[0][0], entries[1][1]), *entries[1:]]},
        "no statement": {"entries": [(entries[0][0], None), *entries[1:]]},
        "a changed note": {"entries": [*entries[:3], (entries[3][0].replace(b'"c"', b'"d"'), None), *entries[4:]]},
        "a receipt elsewhere": {
            "receipts": [replace(receipts[0], body=replace(receipts[0].body, leaf_index=1)), *receipts[1:]]
        },
        "a receipt after the end": {
            "receipts": [replace(receipts[0], body=replace(receipts[0].body, leaf_index=99)), *receipts[1:]]
        },
        "a head that another key signed": {"head": replace(read[0], signatures=())},
    }
    for changes in cases.values():
        with pytest.raises(LlamdexError):
            check(read, **changes)


def test_a_fork_and_a_rollback_are_noticed(
    used: Consortium, read: tuple[Any, ...], make_consortium: Callable[..., Any]
):
    other = make_consortium("fork")
    other.start()
    silo = other.silos["a"]
    for _ in range(2):
        uplink.upload(other.release(), other.offer(), silo, deadline_s=10)
    assert verify_log(silo).head.size == 2
    other.stop()
    for path in other.home.glob("registry.sqlite*"):
        path.unlink()
    other.start()
    with pytest.raises(ReceiptError):
        verify_log(silo)
    assert silo_program("log", "verify", str(silo.home)).returncode == 1
    assert read
    assert used


def test_notes_and_receipts_do_not_parse_as_each_other(read: tuple[Any, ...]):
    for payload, statement in read[2]:
        entry = read_log_entry(payload)
        assert isinstance(entry, LogNote) == (statement is None)
        assert entry.to_payload() == payload
    with pytest.raises(ReceiptError):
        read_log_entry(read[2][3][0].replace(b'"revocation"', b'"retraction"'))
    with pytest.raises(ReceiptError):
        read_log_entry(b"{}")


def total(seen: dict[str, Any]) -> None:
    """Every byte is accounted for, before and after sealing."""
    plain, sealed = seen["plaintext"], seen["sealed"]
    assert plain["bytes"] == 8 + plain["header_bytes"] + sum(tensor["bytes"] for tensor in plain["tensors"])
    if sealed is None:
        return
    head, chunks = sealed["head"], sealed["chunks"]
    assert sealed["bytes"] == head["bytes"] + chunks["ciphertext_bytes"] + chunks["tag_bytes"]
    assert chunks["ciphertext_bytes"] == plain["bytes"]
    assert head["bytes"] == 8 + head["statement_payload_bytes"] + sum(head["signature_bytes"].values()) + (
        head["wrapped_key_bytes"] + head["json_overhead_bytes"]
    )
    assert head["signature_bytes"] == {"ed25519": 64, "mldsa65": 3309}
    assert head["wrapped_key_bytes"] == 1168
    assert sealed["added_by_sealing_bytes"] == head["bytes"] + 16 * chunks["count"]


def test_inspect_before_and_after(used: Consortium):
    silo, offer = used.silos["b"], used.offer()
    home = str(silo.home)
    uplink.keep(used.release(), offer, silo)
    waiting = json.loads(silo_program("inspect", offer.challenge[:12], "--home", home, "--json").stdout)
    assert (waiting["state"], waiting["sealed"], waiting["offer"]["purpose"]) == ("waiting", None, "answer")
    total(waiting)
    # Sealed, but not sent to the end.
    delivery = uplink._Delivery(
        Outbox(silo), load_identity(silo), silo, *Outbox(silo).get(offer.challenge), ends_at=float("inf")
    )
    with uplink.connect(delivery.identity, silo) as stub:
        sealed = delivery._seal(stub).finish()
    seen = json.loads(silo_program("inspect", str(sealed.path), "--json").stdout)
    assert seen["state"] == "sealed"
    assert seen["sealed"]["bytes"] == sealed.path.stat().st_size
    assert seen["statement"] == json.loads(sealed.header.statement.payload)
    total(seen)
    messages = [message.ByteSize() for message in uplink._messages(sealed, 0)]
    assert seen["sealed"]["messages"] == {"count": len(messages), "header_bytes": messages[0], "bytes": sum(messages)}
    receipt = uplink.resume(silo, offer.challenge, deadline_s=10)
    assert receipt is not None
    left = json.loads(silo_program("inspect", receipt.release_id[:16], "--json", LLAMDEX_SILO_HOME=home).stdout)
    assert left["state"] == "left"
    assert left["receipt"]["receiptId"] == receipt.receipt_id
    assert {**left, "state": "sealed", "receipt": None} == seen
    text = silo_program("inspect", receipt.release_id, "--home", home, COLUMNS="200").stdout
    for word in ("class_counts", "weight", "guarantee.epsilon", "wrapped_key_bytes", "chunks.count", "receiptId"):
        assert word in text
    assert receipt.release_id[:16] in silo_program("inspect", "--home", home, COLUMNS="200").stdout
    assert silo_program("inspect", "ffff", "--home", home).returncode == 2
    assert set(left) == set(Inspection.__slots__)
    assert list(silo.spool.iterdir()) == []


@pytest.mark.slow
def test_both_sides_under_a_passphrase_from_invitation_to_receipt(
    make_consortium: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Everything by commands, without a terminal: a server under a passphrase starts from a file."""
    secret = tmp_path / "passphrase"
    secret.write_text("korrekt pferd batterie\n")
    own = make_consortium("with-passphrase", silos=())
    monkeypatch.setenv("LLAMDEX_PASSPHRASE_FILE", str(secret))
    home = own.directory / "silo"
    home.mkdir()
    lines = {"silo": "p", "data": "d", "provider": "prov", "provider_address": own.address}
    (home / "silo.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()))
    invitation = tmp_path / "invitation.json"
    assert own.run("invite", "p", "--output", str(invitation)).returncode == 0
    assert invitation.stat().st_mode & 0o777 == 0o600
    # Others may read the passphrase: refused, and nothing is made.
    secret.chmod(0o644)
    refused = silo_program("enrol", str(home), str(invitation))
    assert refused.returncode == 2
    assert "0600" in refused.stderr
    assert "pferd" not in refused.stderr
    assert not list(home.glob("keys/*.pem"))
    secret.chmod(0o600)
    asked = silo_program("enrol", str(home), str(invitation), "--json")
    assert asked.returncode == 0, asked.stderr
    assert own.run("enrol", json.loads(asked.stdout)["request"]).returncode == 0
    assert silo_program("enrol", str(home), str(own.home / "replies" / "p.json")).returncode == 0
    assert b"ENCRYPTED" in (home / "keys" / "signing.pem").read_bytes()
    assert b"ENCRYPTED" in (home / "keys" / "tls.pem").read_bytes()
    own.start()
    assert silo_program("log", "verify", str(home)).returncode == 0
    monkeypatch.delenv("LLAMDEX_PASSPHRASE_FILE")
    without = silo_program("log", "verify", str(home))
    assert without.returncode == 2
    assert "--passphrase-file" in without.stderr
    assert silo_program("log", "verify", str(home), LLAMDEX_PASSPHRASE="wrong").returncode == 2  # noqa: S106 - a wrong one
    assert silo_program("log", "verify", str(home), "--passphrase-file", str(secret)).returncode == 0
    with pytest.raises(ConfigError, match="passphrase"):
        load_identity(uplink_config(home))


def uplink_config(home: Path) -> Any:  # noqa: ANN401 - a SiloConfig
    from silo_client.config import load_silo_config  # noqa: PLC0415

    return load_silo_config(home)


def test_a_provider_under_a_passphrase(tmp_path: Path):
    secret = tmp_path / "passphrase"
    secret.write_text("korrekt pferd batterie\n")
    secret.chmod(0o600)
    home = tmp_path / "provider"
    program = [sys.executable, "-c", "from provider_server.cli import main; main()"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *arguments], check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )

    made = run(
        "init", str(home), "--id", "p", "--trust-domain", "x.example", "--address", "127.0.0.1:0",
        "--passphrase-file", str(secret),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    for path in (*(home / "root").glob("*.pem"), *(home / "keys" / name for name in ("ca.pem", "signing.pem"))):
        assert b"ENCRYPTED" in path.read_bytes()
    assert run("enrol", str(home)).returncode == 2
    assert run("serve", str(home)).returncode == 2
    assert run("rotate", str(home), "recipient", "--passphrase-file", str(secret)).returncode == 0
    assert b"ENCRYPTED" in (home / "keys" / "recipient-2.pem").read_bytes()
    server = subprocess.Popen(
        [*program, "serve", str(home), "--passphrase-file", str(secret)],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("ready 127.0.0.1:")
    finally:
        server.terminate()
        assert server.wait(timeout=20) == 0
        if server.stdout is not None:
            server.stdout.close()


def test_a_statement_of_a_former_key_is_told_as_such(read: tuple[Any, ...]):
    keyring = replace(read[3], silos={name: member for name, member in read[3].silos.items() if name != "b"})
    signatures = [entry.signature for entry in check(read, keyring=keyring).entries if not isinstance(entry, LogNote)]
    assert signatures == ["verified", "former key", "verified", "verified"]
    assert isinstance(read[0], SignedEnvelope)
