"""Enrolment by invitation, renewal, rotation of a silo's keys: who may have a place in the keyring, and why."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from llamdex_fl.envelope import EnrolmentRequest, Invitation, RefusedError, load_keyring, load_root
from llamdex_fl.errors import ConfigError, InputError, InvitationError, KeyringError
from provider_server import invitations
from provider_server.config import load_provider_config
from provider_server.invitations import invite
from provider_server.keyring_writer import moment
from provider_server.membership import enrol_silos, revoke, revoke_key
from provider_server.setup import init_provider
from silo_client import enrolment
from silo_client.config import load_silo_config
from silo_client.enrolment import (
    finish,
    load_identity,
    make_keys,
    read_reply_file,
    request_by_invitation,
    rotate_keys,
    take,
)

MakeSilo = Callable[..., Path]


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("membership") / "provider"
    init_provider(home, provider="prov", trust_domain="heart.example", address="127.0.0.1:18443")
    return home


@pytest.fixture
def make_silo(tmp_path: Path) -> MakeSilo:
    def make(silo: str, provider: str = "prov") -> Path:
        home = tmp_path / silo
        home.mkdir()
        lines = {"silo": silo, "data": "d", "provider": provider, "provider_address": "127.0.0.1:18443"}
        (home / "silo.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()))
        return home

    return make


def keyring(provider: Path):
    return load_keyring(provider / "keyring.json", load_root(provider / "root.json", now=moment()), now=moment())


def enrolled(provider: Path, home: Path, silo: str) -> None:
    request = request_by_invitation(home, invite(provider, silo))
    (one,) = enrol_silos(provider, [request])
    finish(home, read_reply_file(one.reply))


def test_two_files_and_no_fingerprint(provider: Path, make_silo: MakeSilo):
    home = make_silo("hosp-1")
    text = invite(provider, "hosp-1").to_json()
    invitation = Invitation.from_json(text)
    assert invitation.secret not in repr(invitation)
    assert {"prov", "heart.example", "127.0.0.1:18443"} == {
        invitation.provider,
        invitation.trust_domain,
        invitation.address,
    }
    request = request_by_invitation(home, invitation)
    assert invitation.secret not in request.read_text()
    stored = "".join(path.read_text() for path in (provider / "invitations").iterdir())
    assert invitation.secret not in stored
    assert {path.stat().st_mode & 0o777 for path in (provider / "invitations").iterdir()} == {0o600}
    (one,) = enrol_silos(provider, [request])
    assert (one.silo, one.vouched_by) == ("hosp-1", "invitation")
    finish(home, read_reply_file(one.reply))
    assert load_identity(load_silo_config(home)).keyring.member("hosp-1")
    assert not (home / "invitation.json").exists()


def test_a_used_invitation_is_good_for_the_same_request_only(provider: Path, make_silo: MakeSilo):
    home = make_silo("hosp-2")
    invitation = invite(provider, "hosp-2")
    request = request_by_invitation(home, invitation)
    enrol_silos(provider, [request])
    assert request_by_invitation(home, invitation) == request
    assert enrol_silos(provider, [request])[0].vouched_by == "invitation"
    thief = make_silo("thief")
    (thief / "silo.toml").write_text((home / "silo.toml").read_text())
    with pytest.raises(InvitationError, match="used"):
        enrol_silos(provider, [request_by_invitation(thief, invitation)])


def test_expired_replaced_and_foreign_invitations(
    provider: Path, make_silo: MakeSilo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    home = make_silo("hosp-3")
    first = invite(provider, "hosp-3", lifetime=timedelta(hours=1))
    before = keyring(provider).version
    stale = request_by_invitation(home, first)
    fresh = invite(provider, "hosp-3", lifetime=timedelta(hours=1))
    with pytest.raises(InvitationError, match="unknown"):
        enrol_silos(provider, [stale])
    request = request_by_invitation(home, fresh)
    later = moment() + timedelta(hours=2)
    with pytest.raises(InvitationError, match="expired"):
        fresh.require_usable(silo="hosp-3", provider="prov", now=later)
    verified = EnrolmentRequest.verified(request.read_text())
    with pytest.raises(InvitationError, match="until"):
        invitations.check_invitation(load_provider_config(provider), verified, later)
    with pytest.raises(InvitationError, match="another silo"):
        request_by_invitation(make_silo("hosp-4"), fresh)
    with pytest.raises(InvitationError, match="another provider"):
        request_by_invitation(make_silo("hosp-5", provider="else"), invite(provider, "hosp-5"))
    other = tmp_path / "other-provider"
    init_provider(other, provider="prov", trust_domain="other.example", address="127.0.0.1:1")
    with pytest.raises(InvitationError, match="unknown"):
        enrol_silos(other, [request])
    assert keyring(provider).version == before
    monkeypatch.setattr(enrolment, "_now", lambda: later)
    with pytest.raises(InvitationError, match="expired"):
        request_by_invitation(home, fresh)


def test_an_invitation_of_one_silo_does_not_enrol_another(provider: Path, make_silo: MakeSilo):
    home = make_silo("hosp-6")
    invitation = invite(provider, "hosp-6")
    (home / "silo.toml").write_text((home / "silo.toml").read_text().replace("hosp-6", "hosp-7"))
    config = load_silo_config(home)
    keys = enrolment.make_key_set(enrolment.KeySet(config.keys), None)
    # A silo that does not look at the invitation itself.
    request = enrolment._request(config, keys, None, invitation=invitation)
    with pytest.raises(InvitationError, match="invited silo hosp-6"):
        enrol_silos(provider, [request])


def test_a_request_with_a_changed_mac_or_content_is_refused(provider: Path, make_silo: MakeSilo):
    home = make_silo("hosp-8")
    request = request_by_invitation(home, invite(provider, "hosp-8"))
    config = load_silo_config(home)
    other = invite(provider, "hosp-9")
    signer = enrolment.key_sets(config)[0].signer(None)
    verified = EnrolmentRequest.verified(request.read_text())
    forged = EnrolmentRequest(silo="hosp-9", key=verified.key, csr=verified.csr)
    text = forged.signed(signer, invitation_key=b"\0" * 32)
    path = home / "forged.json"
    path.write_text(text)
    with pytest.raises(InvitationError):
        enrol_silos(provider, [path])
    document = json.loads(forged.signed(signer, invitation_key=other.key))
    document["payload"] = json.loads(request.read_text())["payload"]
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="signed"):
        enrol_silos(provider, [path])


@pytest.mark.parametrize("text", ["", "{}", "[1]", "{" * 9000, '{"format": "llamdex/invitation/v1"}', "x" * 20_000])
def test_what_is_no_invitation(text: str):
    with pytest.raises(InvitationError):
        Invitation.from_json(text)


@pytest.mark.parametrize(("silo", "days"), [("A", 1), ("a/b", 1), ("a", 0), ("a", 91)])
def test_invitations_that_cannot_be_made(provider: Path, silo: str, days: int):
    with pytest.raises(InputError):
        invite(provider, silo, lifetime=timedelta(days=days))


def test_a_reply_without_invitation_or_root_is_not_believed(provider: Path, make_silo: MakeSilo):
    home = make_silo("hosp-10")
    (one,) = enrol_silos(provider, [make_keys(home)])
    assert one.vouched_by == "people"
    with pytest.raises(ConfigError, match="which root"):
        finish(home, read_reply_file(one.reply))


def test_a_reply_under_another_root_is_refused(provider: Path, make_silo: MakeSilo, tmp_path: Path):
    home = make_silo("hosp-11")
    request = request_by_invitation(home, invite(provider, "hosp-11"))
    other = tmp_path / "imposter"
    init_provider(other, provider="prov", trust_domain="heart.example", address="127.0.0.1:1")
    verified = EnrolmentRequest.verified(request.read_text())
    bare = EnrolmentRequest(silo="hosp-11", key=verified.key, csr=verified.csr)
    path = home / "bare.json"
    path.write_text(bare.signed(enrolment.key_sets(load_silo_config(home))[0].signer(None)))
    (one,) = enrol_silos(other, [path])
    with pytest.raises(KeyringError, match="fingerprint"):
        finish(home, read_reply_file(one.reply))
    assert not (home / "keyring.json").exists()


def test_a_silo_s_keys_rotate_and_the_old_ones_stay_good_for_a_while(provider: Path, make_silo: MakeSilo):
    home = make_silo("hosp-12")
    enrolled(provider, home, "hosp-12")
    config = load_silo_config(home)
    before = load_identity(config)
    request = rotate_keys(home)
    assert rotate_keys(home) == request
    assert load_identity(config).signer.public == before.signer.public
    (one,) = enrol_silos(provider, [request], grace=timedelta(days=2))
    assert one.vouched_by == "former keys"
    member = keyring(provider).member("hosp-12")
    assert before.signer.public in member.keys
    assert before.signer.public != member.key
    assert set(keyring(provider).revoked).isdisjoint(key.keyid for key in member.keys)
    later = keyring(provider).at(moment() + timedelta(days=3))
    assert later.member("hosp-12").keys == (member.key,)
    take(config, read_reply_file(one.reply))
    after = load_identity(config)
    assert after.signer.public == member.key
    assert not (config.keys / "signing.pem").exists()
    assert not (config.keys / "tls.pem").exists()


def test_new_keys_that_others_signed_are_refused(provider: Path, make_silo: MakeSilo):
    home, other = make_silo("hosp-13"), make_silo("hosp-14")
    enrolled(provider, home, "hosp-13")
    enrolled(provider, other, "hosp-14")
    request = rotate_keys(other)
    text = EnrolmentRequest.verified(request.read_text())
    sets = enrolment.key_sets(load_silo_config(other))
    stolen = EnrolmentRequest(silo="hosp-13", key=text.key, csr=text.csr)
    path = other / "stolen.json"
    path.write_text(stolen.signed(sets[0].signer(None), former=sets[1].signer(None)))
    with pytest.raises(InputError, match="enrolled now"):
        enrol_silos(provider, [path])


def test_revoked_keys_do_not_come_back(provider: Path, make_silo: MakeSilo):
    home = make_silo("hosp-15")
    enrolled(provider, home, "hosp-15")
    revoke(provider, "hosp-15")
    with pytest.raises(RefusedError):
        keyring(provider).member("hosp-15")
    invitation = invite(provider, "hosp-15")
    with pytest.raises(InputError, match="revoked"):
        enrol_silos(provider, [request_by_invitation(home, invitation)])
    request = request_by_invitation(home, invitation, new_keys=True)
    # The invitation was not used up by the refused request.
    again = enrol_silos(provider, [request_by_invitation(home, invite(provider, "hosp-15"), new_keys=True)])
    assert request.exists()
    finish(home, read_reply_file(again[0].reply))
    assert load_identity(load_silo_config(home)).keyring.member("hosp-15")


def test_an_expired_keyring_can_be_renewed(provider: Path, monkeypatch: pytest.MonkeyPatch):
    before = keyring(provider).version
    monkeypatch.setattr("provider_server.keyring_writer.moment", lambda: moment() + timedelta(days=398))
    assert enrol_silos(provider, []) == []
    assert keyring(provider).version == before + 1


def test_one_key_is_revoked_by_its_id(provider: Path):
    present = keyring(provider)
    with pytest.raises(InputError, match="present signing key"):
        revoke_key(provider, present.provider.key.keyid)
    assert "ab" * 32 in revoke_key(provider, "ab" * 32).revoked
