"""Uploads that succeed, through crashes and absences, over real sockets."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from llamdex_fl import weights
from llamdex_fl.envelope import Answer, RefusedError
from llamdex_fl.errors import ConfigError, ProviderIdentityError, ProviderUnreachableError, ReceiptError
from llamdex_fl.wire import convert
from provider_server.registry import Registry
from silo_client import uplink
from silo_client.config import load_silo_config
from silo_client.enrolment import join, load_identity
from silo_client.outbox import Outbox

# The type of the fixture lives in a conftest, which cannot be imported.
Consortium = Any


def test_accept_and_read_back(consortium: Consortium):
    offer, release, silo = consortium.offer(), consortium.release(), consortium.silos["a"]
    receipt = uplink.upload(release, offer, silo, deadline_s=20)
    assert receipt.artefact_digest == weights.digest(weights.encode(release.tensors))
    with consortium.registry as registry:
        (record,) = registry.releases(release.schema_digest, challenge=offer.challenge, status="active")
        loaded, same = registry.load_release(record.release_id)
    assert same == record
    assert (record.silo, record.receipt_id, record.guarantee) == ("a", receipt.receipt_id, release.guarantee)
    for name, tensor in release.tensors.items():
        np.testing.assert_array_equal(loaded.tensors[name], tensor)
    assert list(silo.spool.iterdir()) == []
    assert list((consortium.home / "spool").iterdir()) == []


def test_the_same_upload_has_the_same_receipt(consortium: Consortium):
    offer, release, silo = consortium.offer(), consortium.release(), consortium.silos["a"]
    receipt = uplink.upload(release, offer, silo, deadline_s=20)
    assert uplink.upload(release, offer, silo, deadline_s=20) == receipt
    assert uplink.resume(silo, offer.challenge) == receipt
    assert uplink.stored_receipt(silo, offer.challenge) == receipt
    assert uplink.resume(silo, "00" * 32) is None
    with pytest.raises(RefusedError) as caught:
        uplink.upload(consortium.release(seed=1), offer, silo, deadline_s=20)
    assert caught.value.answer is Answer.ALREADY_EXISTS
    # Lost before it was stored: the provider gives it again.
    Outbox(silo).put(release, offer)
    (silo.home / "receipts" / f"{offer.challenge}.json").unlink()
    with pytest.raises(RefusedError) as caught:
        uplink.resume(silo, offer.challenge, deadline_s=5)
    assert caught.value.answer is Answer.FAILED_PRECONDITION


def test_a_lost_answer_to_the_commit(consortium: Consortium):
    """The silo dies after the provider has committed, before it stored the receipt."""
    offer, silo = consortium.offer(), consortium.silos["a"]
    uplink.keep(consortium.release(), offer, silo)
    finish = Outbox.finish
    try:
        Outbox.finish = _die  # type: ignore[method-assign]  # a crash at this very place
        with pytest.raises(KeyboardInterrupt):
            uplink.resume(silo, offer.challenge, deadline_s=20)
    finally:
        Outbox.finish = finish  # type: ignore[method-assign]  # as it was
    receipt = uplink.resume(silo, offer.challenge, deadline_s=20)
    with consortium.registry as registry:
        (record,) = registry.releases(challenge=offer.challenge)
    assert receipt is not None
    assert receipt.receipt_id == record.receipt_id


@pytest.mark.parametrize("committed", [False, True])
def test_the_power_fails_at_the_silo(consortium: Consortium, committed: bool):  # noqa: FBT001 - a parameter of a test
    """Of the sealed file only the head was on the disk; the other files are durable from the start."""
    offer, silo, method = consortium.offer(), consortium.silos["a"], "remember" if committed else "persist"
    outbox, release = Outbox(silo), consortium.release()
    outbox.put(release, offer)
    original = getattr(Outbox, method)

    def fail(self: Outbox, *arguments: object) -> None:
        original(self, *arguments)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outbox, method, fail)
        with pytest.raises(KeyboardInterrupt):
            uplink.resume(silo, offer.challenge, deadline_s=20)
    outbox.sealed_path(offer.challenge).write_bytes(b"")
    left = outbox.sealed(offer.challenge)
    assert left is not None
    assert not left.whole
    inspected = outbox.inspect(offer.challenge)
    assert inspected is not None
    assert inspected.sealed is None
    receipt = uplink.resume(silo, offer.challenge, deadline_s=20)
    with consortium.registry as registry:
        (record,) = registry.releases(challenge=offer.challenge)
    assert receipt is not None
    assert receipt.receipt_id == record.receipt_id
    assert receipt.artefact_digest == weights.digest(weights.encode(release.tensors))
    # What was committed is not sent again; what was not has a new envelope.
    assert (receipt.body.release_id == left.header.statement.digest().hex()) == committed
    assert not list(silo.spool.glob(f"{offer.challenge}*"))


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_two_silos_at_the_same_time(consortium: Consortium):
    offer = consortium.offer()
    receipts = {}

    def send(silo: str) -> None:
        receipts[silo] = uplink.upload(consortium.release(), offer, consortium.silos[silo], deadline_s=30)

    threads = [threading.Thread(target=send, args=(silo,)) for silo in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {receipt.body.silo for receipt in receipts.values()} == {"a", "b"}
    assert len({receipt.body.leaf_index for receipt in receipts.values()}) == 2


def test_killed_in_mid_upload_and_resumed(consortium: Consortium):
    offer, silo = consortium.offer(), consortium.silos["a"]
    uplink.keep(consortium.release(), offer, silo)
    sealed = _send_one_chunk_and_kill(consortium, silo, offer)
    before = sealed.path.read_bytes()
    consortium.start()
    receipt = uplink.resume(silo, offer.challenge, deadline_s=20)
    assert receipt is not None
    assert receipt.release_id == sealed.header.statement.digest().hex()
    assert before
    with consortium.registry as registry:
        assert [record.receipt_id for record in registry.releases(challenge=offer.challenge)] == [receipt.receipt_id]
        leaves = registry.log.leaves()
        assert len(leaves) == len(registry.releases())
        assert [leaf.hex() for leaf in leaves].count(receipt.receipt_id) == 1


def _send_one_chunk_and_kill(consortium: Consortium, silo: Any, offer: Any) -> Any:  # noqa: ANN401 - see Consortium
    outbox, identity = Outbox(silo), load_identity(silo)
    order = outbox.get(offer.challenge)
    delivery = uplink._Delivery(outbox, identity, silo, *order, ends_at=time.monotonic() + 30)
    with uplink.connect(identity, silo) as stub:
        sealed = delivery._seal(stub).finish()
        killed = threading.Event()

        def messages() -> Any:  # noqa: ANN401 - messages
            yield convert.header_request(sealed.header)
            yield convert.chunk_request(next(sealed.chunks(0)))
            killed.wait(20)

        call = stub.UploadExpert.future(messages())
        while delivery._call(stub.GetUploadStatus, convert.status_request(sealed.header.upload_id), 5).next_index < 1:
            time.sleep(0.02)
        assert consortium.stop(kill=True) == -9
        killed.set()
        assert call.exception(timeout=20) is not None
    return sealed


def test_a_provider_that_is_down_and_comes_back(consortium: Consortium):
    offer, release, silo = consortium.offer(), consortium.release(), consortium.silos["b"]
    consortium.stop()
    started = time.monotonic()
    with pytest.raises(ProviderUnreachableError):
        uplink.upload(release, offer, silo, deadline_s=1.0)
    assert time.monotonic() - started < 5
    back = threading.Timer(1.0, consortium.start)
    back.start()
    try:
        receipt = uplink.resume(silo, offer.challenge, deadline_s=60)
    finally:
        back.join()
    assert receipt is not None


def test_another_provider_at_the_address(consortium: Consortium, make_consortium: Callable[..., Any]):
    offer, silo = consortium.offer(), consortium.silos["a"]
    other = make_consortium()
    other.start()
    text = (silo.home / "silo.toml").read_text()
    try:
        (silo.home / "silo.toml").write_text(text.replace(consortium.address, other.address))
        with pytest.raises(ProviderIdentityError):
            uplink.upload(consortium.release(), offer, load_silo_config(silo.home), deadline_s=5)
    finally:
        (silo.home / "silo.toml").write_text(text)
    assert not Outbox(silo).sealed_path(offer.challenge).exists()
    uplink.upload(consortium.release(), offer, silo, deadline_s=20)


def test_a_rolled_back_log_is_noticed(make_consortium: Callable[..., Any]):
    own = make_consortium()
    own.start()
    silo = own.silos["a"]
    for _ in range(2):
        uplink.upload(own.release(), own.offer(), silo, deadline_s=20)
    own.stop()
    for path in own.home.glob("registry.sqlite*"):
        path.unlink()
    own.start()
    with pytest.raises(ReceiptError):
        uplink.upload(own.release(), own.offer(), silo, deadline_s=5)


def test_revoked_silo(make_consortium: Callable[..., Any]):
    own = make_consortium(silos=("a", "b"))
    own.start()
    offer = own.offer()
    assert own.run("revoke", "a").returncode == 0
    with pytest.raises(RefusedError) as caught:
        uplink.upload(own.release(), offer, own.silos["a"], deadline_s=5)
    assert caught.value.answer is Answer.UNAUTHENTICATED
    uplink.upload(own.release(), offer, own.silos["b"], deadline_s=20)


def test_join_refuses_rollbacks_and_other_roots(make_consortium: Callable[..., Any]):
    own, other = make_consortium(), make_consortium("other")
    own.add_silos(["b"])
    reply_a = own.home / "replies" / "a.json"
    with pytest.raises(Exception, match="fingerprint"):
        join(own.silos["a"].home, reply_a, "00" * 32)
    with pytest.raises(Exception, match="root"):
        join(own.silos["a"].home, other.home / "replies" / "a.json", other.fingerprint)
    # a's reply was made before b was enrolled: for b's keyring it would be a rollback.
    with pytest.raises(Exception, match="rollback"):
        join(own.silos["b"].home, reply_a, own.fingerprint)
    with pytest.raises(ConfigError):
        join(own.silos["b"].home, own.home / "none.json", own.fingerprint)


def test_releases_command(consortium: Consortium):
    uplink.upload(consortium.release(), consortium.offer(), consortium.silos["a"], deadline_s=20)
    done = consortium.run("releases", "--json")
    with Registry(consortium.home / "registry.sqlite") as registry:
        expected = [record.release_id for record in registry.releases()]
    assert [entry["release_id"] for entry in json.loads(done.stdout)] == expected


def test_port_in_use(consortium: Consortium):
    done = consortium.run("serve")
    assert done.returncode == 2
    assert "PortInUseError" in done.stderr
