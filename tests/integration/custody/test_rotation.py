"""Every key is rotated under a provider that runs, with real connections, and no upload is lost or refused."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from llamdex_fl.envelope import RefusedError, load_keyring, load_root, provider_name, spki_digest
from llamdex_fl.errors import InputError, KeyringError, ProviderIdentityError
from llamdex_fl.wire import convert
from provider_server.keyring_writer import moment
from provider_server.membership import enrol_silos, revoke
from provider_server.rotation import retire, rotate, rotate_root, use
from silo_client import uplink
from silo_client.enrolment import load_identity, read_reply_file, rotate_keys, take
from silo_client.membership import refresh
from silo_client.outbox import Outbox

# The type of the fixture lives in a conftest, which cannot be imported.
Consortium = Any
SILO = [sys.executable, "-c", "from silo_client.cli import main; main()"]


@pytest.fixture
def running(make_consortium: Callable[..., Consortium]) -> Consortium:
    own = make_consortium(silos=("a", "b"))
    own.start()
    return own


def send(own: Consortium, silo: str = "a") -> Any:  # noqa: ANN401 - a receipt
    return uplink.upload(own.release(), own.offer(), own.silos[silo], deadline_s=10)


def keyring(home: Path) -> Any:  # noqa: ANN401 - a keyring
    return load_keyring(home / "keyring.json", load_root(home / "root.json", now=moment()), now=moment())


def shown(own: Consortium, silo: str = "a") -> str:
    """The SPKI digest of the certificate that the server shows to a new connection."""
    identity = load_identity(own.silos[silo])
    name = provider_name(identity.keyring.trust_domain, "prov")
    with (
        socket.create_connection(("127.0.0.1", own.port), timeout=5) as raw,
        identity.tls.wrap_socket(raw, server_hostname=name) as secured,
    ):
        return spki_digest(secured.getpeercert(binary_form=True) or b"")


def sealed_with_one_chunk_sent(own: Consortium, silo: str) -> Any:  # noqa: ANN401 - a challenge
    """An upload whose first chunk has arrived, bound to the present keys."""
    config, offer = own.silos[silo], own.offer()
    uplink.keep(own.release(), offer, config)
    outbox, identity = Outbox(config), load_identity(config)
    delivery = uplink._Delivery(outbox, identity, config, *outbox.get(offer.challenge), ends_at=time.monotonic() + 30)
    with uplink.connect(identity, config) as stub:
        sealed = delivery._seal(stub).finish()
        messages = iter([convert.header_request(sealed.header), convert.chunk_request(next(sealed.chunks(0)))])
        with pytest.raises(grpc.RpcError) as caught:
            stub.UploadExpert(messages, timeout=10)
        assert caught.value.code() is grpc.StatusCode.DATA_LOSS
    return offer.challenge, sealed


def test_the_recipient_key(running: Consortium):
    challenge, sealed = sealed_with_one_chunk_sent(running, "a")
    old = keyring(running.home).provider.recipients[0].keyid
    rotate(running.home, "recipient")
    # New uploads use the new key, which the silo learns from the running server ...
    assert send(running, "b").release_id
    assert Outbox(running.silos["b"]).challenges()
    new = keyring(running.home).provider.recipients[0].keyid
    assert new != old
    assert _recipient_of_last(running, "b") == new
    # ... and what was sealed for the old one still opens, so the old one cannot be retired yet.
    with pytest.raises(Exception, match="still needed"):
        retire(running.home, "recipient")
    receipt = uplink.resume(running.silos["a"], challenge, deadline_s=10)
    assert receipt is not None
    assert receipt.release_id == sealed.header.statement.digest().hex()
    retire(running.home, "recipient")
    assert old in keyring(running.home).revoked
    assert [path.name for path in (running.home / "keys").glob("recipient*")] == ["recipient-2.pem"]
    send(running)


def _recipient_of_last(running: Consortium, silo: str) -> str:
    outbox = Outbox(running.silos[silo])
    (challenge,) = outbox.challenges()
    return str(outbox.inspect(challenge).statement["predicate"]["recipientKeyid"])


def test_the_signing_key(running: Consortium):
    first = send(running)
    rotate(running.home, "signing")
    second = send(running)
    assert {s.keyid for s in first.envelope.signatures}.isdisjoint(s.keyid for s in second.envelope.signatures)
    # Receipts of the old key still verify, at the silo and when the provider gives one again.
    silo = running.silos["a"]
    assert uplink.stored_receipt(silo, first.body.round_challenge) == first
    retire(running.home, "signing")
    running.stop()
    running.start()
    assert uplink.stored_receipt(silo, first.body.round_challenge) == first
    assert send(running).tree_head.size == 4  # two notes of a changed policy would be five: it changed once


def test_the_tls_key_in_a_running_server(running: Consortium):
    before = shown(running)
    rotate(running.home, "tls")
    # Announced: the old one is shown still, so a silo with the old keyring can fetch the new one.
    assert shown(running) == before
    send(running)
    assert len(load_identity(running.silos["a"]).keyring.provider.spki) == 2
    use(running.home, "tls")
    after = shown(running)
    assert after != before
    send(running)
    # b has not heard of it: it takes nothing from a stranger, and needs the keyring by file.
    with pytest.raises(ProviderIdentityError):
        send(running, "b")
    with pytest.raises(Exception, match="announced"):
        use(running.home, "tls")
    enrol_silos(running.home, [])
    retire(running.home, "tls")
    assert before in keyring(running.home).revoked
    send(running)
    assert shown(running) == after


def test_the_ca_in_a_running_server(running: Consortium):
    send(running)
    rotate(running.home, "ca")
    for silo in ("a", "b"):
        refresh(load_identity(running.silos[silo]), running.silos[silo])
    key_before = load_identity(running.silos["a"]).tls_certificate
    use(running.home, "ca")
    send(running)
    assert load_identity(running.silos["a"]).tls_certificate != key_before
    # b was seen with its old certificate, and c never: they would be locked out.
    running.add_silos(["c", "gone"])
    revoke(running.home, "gone")
    with pytest.raises(InputError, match=r"2 of the silos .*b \(seen with one of an older CA since 20.*; c \(never"):
        retire(running.home, "ca")
    shown = json.loads(running.run("keyring", "--json").stdout)
    assert shown["silos"]["a"]["seen"]["ca"] == shown["ca"][-1]
    assert shown["silos"]["b"]["seen"]["ca"] == shown["ca"][0]
    assert shown["silos"]["c"]["seen"] is None
    told = running.run("rotate", "ca", "--retire")
    assert told.returncode == 2
    assert "llamdex-silo update HOME" in told.stderr
    for silo in ("b", "c"):
        command = [*SILO, "update", str(running.silos[silo].home)]
        assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
    assert retire(running.home, "ca")
    assert keyring(running.home).ca.count("BEGIN CERTIFICATE") == 1
    send(running)
    send(running, "b")
    assert sorted(path.name for path in (running.home / "keys").glob("ca*")) == ["ca-2-certificate.pem", "ca-2.pem"]


def test_a_ca_is_retired_by_force_and_the_silo_that_missed_it_takes_its_reply_by_file(running: Consortium):
    send(running)
    rotate(running.home, "ca")
    use(running.home, "ca")
    with pytest.raises(InputError, match="locked out"):
        retire(running.home, "ca")
    assert running.run("rotate", "ca", "--retire", "--force").returncode == 0
    silo = running.silos["a"]
    with pytest.raises(ProviderIdentityError):
        send(running)
    take(silo, read_reply_file(running.home / "replies" / "a.json"))
    send(running)


def test_the_use_of_a_ca_that_was_interrupted_is_given_again(running: Consortium, monkeypatch: pytest.MonkeyPatch):
    rotate(running.home, "ca")
    send(running)
    send(running, "b")
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            use(running.home, "ca")
    send(running)
    use(running.home, "ca")
    send(running)
    send(running, "b")
    retire(running.home, "ca")
    send(running)


def test_the_root(running: Consortium):
    send(running)
    rotate_root(running.home, count=3, threshold=2)
    send(running)
    silo = running.silos["a"]
    assert load_root(silo.home / "root.json", now=moment()).threshold == 2
    # Twice, before b looks: it follows the chain from the root that it pinned.
    rotate_root(running.home, count=1, threshold=1)
    send(running, "b")
    assert load_root(running.silos["b"].home / "root.json", now=moment()).version == 3
    retire(running.home, "root")
    assert [path.relative_to(running.home).as_posix() for path in sorted((running.home / "root").rglob("*.pem"))] == [
        "root/version-3/root-1.pem"
    ]
    revoke(running.home, "b")
    send(running)


def test_a_silo_s_keys_while_an_upload_is_under_way(running: Consortium):
    challenge, _ = sealed_with_one_chunk_sent(running, "a")
    before = load_identity(running.silos["a"]).signer.public
    request = rotate_keys(running.silos["a"].home)
    enrol_silos(running.home, [request])
    # Signed by the old key, sent over a connection with the new one.
    assert uplink.resume(running.silos["a"], challenge, deadline_s=10) is not None
    assert load_identity(running.silos["a"]).signer.public != before
    send(running)


def test_an_older_keyring_is_not_taken_back(running: Consortium):
    older = (running.home / "replies" / "a.json").read_text()
    rotate(running.home, "recipient")
    silo = running.silos["a"]
    assert refresh(load_identity(silo), silo)
    assert not refresh(load_identity(silo), silo)
    path = running.directory / "older.json"
    path.write_text(older)
    with pytest.raises(KeyringError, match="rollback"):
        take(silo, read_reply_file(path))


def test_a_server_that_is_connected_to_serves_on_through_a_rotation(running: Consortium):
    """A connection that was opened before a TLS rotation goes on; the next one gets the new certificate."""
    silo = running.silos["a"]
    rotate(running.home, "tls")
    refresh(load_identity(silo), silo)
    identity = load_identity(silo)
    with uplink.connect(identity, silo) as stub:
        request = convert.status_request("00" * 16)
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetUploadStatus(request, timeout=5)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            if keyring(running.home).version == identity.keyring.version:
                use(running.home, "tls")
    assert shown(running) == identity.keyring.provider.spki[-1]


def test_revoked_between_any_two_steps(running: Consortium):
    silo, offer = running.silos["a"], running.offer()
    uplink.keep(running.release(), offer, silo)
    outbox, identity = Outbox(silo), load_identity(silo)
    delivery = uplink._Delivery(outbox, identity, silo, *outbox.get(offer.challenge), ends_at=time.monotonic() + 30)
    with uplink.connect(identity, silo) as stub:
        sealed = delivery._seal(stub).finish()
        revoked = []

        def messages() -> Any:  # noqa: ANN401 - messages
            yield convert.header_request(sealed.header)
            chunks = sealed.chunks(0)
            yield convert.chunk_request(next(chunks))
            _wait_for_chunk(running, sealed.header.upload_id)
            revoke(running.home, "a")
            revoked.append(True)
            for chunk in chunks:
                yield convert.chunk_request(chunk)

        # In mid-stream: the next chunk is refused, not the end only.
        with pytest.raises(grpc.RpcError) as caught:
            stub.UploadExpert(messages(), timeout=20)
        assert revoked
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        digest = sealed.header.statement.digest()
        for call, request in (
            (stub.GetUploadStatus, convert.status_request(sealed.header.upload_id)),
            (stub.CommitUpload, convert.commit_request(sealed.header.upload_id, digest, 0)),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call(request, timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as caught:
            stub.UploadExpert(iter([convert.header_request(sealed.header)]), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(RefusedError):
        send(running)
    with running.registry as registry:
        assert registry.releases() == []


def _wait_for_chunk(running: Consortium, upload_id: str) -> None:
    path = running.home / "spool" / f"{upload_id}.part"
    for _ in range(500):
        if path.exists() and path.stat().st_size:
            return
        time.sleep(0.01)
    raise AssertionError("the first chunk did not arrive")


@pytest.mark.slow
def test_rotation_by_commands(running: Consortium):
    """As people do it, with the programs."""

    def silo(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*SILO, *arguments], check=False, capture_output=True, text=True, timeout=60)

    home = str(running.silos["a"].home)
    assert running.run("rotate", "signing").returncode == 0
    assert running.run("rotate", "tls", "--use").returncode == 2
    before = json.loads(running.run("keyring", "--json").stdout)
    assert len(before["signing"]) == 2
    done = silo("update", home, "--json")
    assert json.loads(done.stdout)["keyring_version"] == before["version"]
    made = silo("rotate", home)
    assert made.returncode == 0
    assert "former keys" in running.run("enrol", made.stdout.strip()).stdout
    assert silo("update", home).returncode == 0
    assert json.loads(silo("log", "verify", home, "--json").stdout)["tree_size"] == 1
