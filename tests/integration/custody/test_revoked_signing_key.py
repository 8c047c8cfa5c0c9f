"""A provider's signing key is revoked after it signed receipts: what it signed before still counts, by the log."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from llamdex_fl.envelope import LogNote, Receipt, TreeHead
from llamdex_fl.errors import ReceiptError
from llamdex_fl.wire import convert
from provider_server.membership import revoke, revoke_key
from provider_server.rotation import retire, rotate
from silo_client import uplink
from silo_client.enrolment import load_identity
from silo_client.log_check import ReleaseEntry, _require_before_revocation, check_log, verify_log
from silo_client.membership import read_log, renewed
from silo_client.outbox import Outbox

# The type of the fixture lives in a conftest, which cannot be imported.
Consortium = Any
SILO = [sys.executable, "-c", "from silo_client.cli import main; main()"]


def send(own: Consortium, silo: str = "a") -> Receipt:
    return uplink.upload(own.release(), own.offer(), own.silos[silo], deadline_s=10)


def log_verify(own: Consortium, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SILO, "log", "verify", str(own.silos["a"].home), *more],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "250"},
    )


@pytest.fixture
def compromised(make_consortium: Callable[..., Consortium]) -> Consortium:
    """Silos a and b each have a receipt of the first key, which was rotated, retired and revoked since."""
    own = make_consortium(silos=("a", "b"))
    own.start()
    own.first = send(own)
    send(own, "b")
    rotate(own.home, "signing")
    retire(own.home, "signing")
    revoke_key(own.home, own.first.keyid)
    return own


def test_receipts_and_uploads_after_a_revocation(compromised: Consortium):
    own, silo = compromised, compromised.silos["a"]
    told = log_verify(own, "--json")
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert (report["own_receipts"], report["own_receipts_of_revoked_keys"]) == (1, 1)
    kinds = [(entry["kind"], entry.get("own"), entry.get("receipt")) for entry in report["entries"]]
    # The notes stand behind what the key signed, and name it.
    assert kinds[:2] == [("release", True, "revoked key"), ("release", False, None)]
    assert {kind for kind, _, _ in kinds[2:]} == {"policy", "revocation"}
    assert own.first.keyid in next(entry for entry in report["entries"] if entry["kind"] == "revocation")["revoked"]
    # The last head that this silo saw was the revoked key's too; what it saw still counts, and uploads go on.
    second = send(own)
    assert second.keyid != own.first.keyid
    assert uplink.stored_receipt(silo, own.first.body.round_challenge) == own.first
    own.stop()
    own.start()
    send(own, "b")
    shown = log_verify(own).stdout
    assert "2 receipts of this silo are in it, 1 signed by a key that was revoked since" in shown
    revoke(own.home, "b")
    report = json.loads(log_verify(own, "--json").stdout)
    signed = [(entry["silo"], entry["signature"], entry["signer_revoked"]) for entry in report["entries"][:2]]
    assert signed == [("a", "verified", False), ("b", "verified", True)]


def test_what_a_revoked_key_signs_from_now_on_counts_for_nothing(compromised: Consortium):
    own, silo = compromised, compromised.silos["a"]
    report = verify_log(silo)
    identity, outbox = load_identity(silo), Outbox(silo)
    keyring, known = identity.keyring, outbox.tree_head(identity.keyring.log_keys)
    head, proof, entries = read_log(identity, silo, report.head.size)
    assert known == report.head
    # The head of a log, or a receipt, that only the revoked key signed.
    with pytest.raises(ReceiptError):
        TreeHead.verified(own.first.tree_head.envelope, keyring.log_keys)
    with pytest.raises(ReceiptError):
        Receipt.from_json(own.first.to_json(), keyring.log_keys)
    # A receipt that is not in the log, dated before the revocation by whoever has the key.
    forged = replace(own.first, body=replace(own.first.body, leaf_index=1))
    with pytest.raises(ReceiptError, match="revoked since"):
        check_log(head, proof, entries, keyring, known=known, receipts=[forged])
    # One that is in the log, but behind the note of the revocation; and one whose key's revocation nobody noted.
    (note,) = [entry for entry in report.entries if isinstance(entry, LogNote) and entry.revoked]
    _require_before_revocation(own.first, report.entries)
    with pytest.raises(ReceiptError, match="place 0"):
        _require_before_revocation(forged, [replace(note, leaf_index=0)])
    with pytest.raises(ReceiptError, match="note"):
        _require_before_revocation(own.first, [e for e in report.entries if isinstance(e, ReleaseEntry)])


def test_a_receipt_that_was_on_its_way_is_signed_again(compromised: Consortium):
    """The silo was killed before it stored the receipt; it gets the same one, under a key that counts."""
    own, silo = compromised, compromised.silos["a"]
    identity, outbox = load_identity(silo), Outbox(silo)
    challenge = own.first.body.round_challenge
    identity = renewed(identity, silo)
    assert identity.keyring.log_keys[0].keyid != own.first.keyid
    delivery = uplink._Delivery(outbox, identity, silo, own.offer(), own.guarantee, ends_at=float("inf"))
    with uplink.connect(identity, silo) as stub:
        request = convert.commit_request(own.first.body.upload_id, bytes.fromhex(own.first.release_id), 0)
        again = [
            convert.read_commit_response(delivery._call(stub.CommitUpload, request, 10), identity.keyring.log_keys)
            for _ in range(2)
        ]
    assert again[0] == again[1]
    receipt = again[0].receipt
    assert (receipt.receipt_id, receipt.body) == (own.first.receipt_id, own.first.body)
    assert receipt.keyid == identity.keyring.provider.key.keyid
    assert receipt.tree_head.size > own.first.tree_head.size
    assert receipt.tree_head.issued_at <= datetime.now(UTC)
    assert challenge == receipt.body.round_challenge
