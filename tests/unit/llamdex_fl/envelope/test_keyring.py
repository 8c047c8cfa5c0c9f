"""Trust from a fingerprint to every key: forged, rolled back, expired and under-signed documents."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llamdex_fl.envelope import (
    Answer,
    FormerKeys,
    Keyring,
    Member,
    ProviderEntry,
    RecipientKey,
    RefusedError,
    Root,
    SignedEnvelope,
    SigningKey,
    load_keyring,
    load_root,
    read_keyring,
    read_root,
)
from llamdex_fl.envelope.canonical import dumps
from llamdex_fl.envelope.dsse import sign
from llamdex_fl.errors import KeyringError

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


KEYS = [SigningKey.generate() for _ in range(3)]
LATER = NOW + timedelta(days=30)
ROOT = Root(version=1, threshold=2, keys=tuple(key.public for key in KEYS), expires_at=LATER)


def make_keyring() -> Keyring:
    return Keyring(
        version=3,
        trust_domain="example.org",
        issued_at=NOW,
        expires_at=LATER,
        ca="-----BEGIN CERTIFICATE-----\n",
        provider=ProviderEntry(
            provider="prov",
            key=SigningKey.generate().public,
            recipients=(RecipientKey.generate().public,),
            spki=("ab" * 32,),
        ),
        silos={"a": Member(key=SigningKey.generate().public, spki="cd" * 32)},
        revoked=("ef" * 32,),
    )


def test_round_trip(tmp_path: Path):
    keyring = make_keyring()
    (tmp_path / "root.json").write_text(ROOT.signed(KEYS[:2]).to_json())
    (tmp_path / "keyring.json").write_text(keyring.signed(KEYS[1:]).to_json())
    root = load_root(tmp_path / "root.json", now=NOW)
    read = load_keyring(tmp_path / "keyring.json", root, now=NOW, at_least=3)
    assert replace(read, envelope=None) == keyring
    assert root.fingerprint() == ROOT.fingerprint()
    assert read_root(ROOT.signed(KEYS), now=NOW, fingerprint=ROOT.fingerprint().upper()).threshold == 2


def test_roots_that_are_refused():
    signed = ROOT.signed(KEYS)
    cases: list[tuple[SignedEnvelope, dict[str, object]]] = [
        (ROOT.signed(KEYS[:1]), {}),
        (ROOT.signed([SigningKey.generate(), SigningKey.generate()]), {}),
        (replace(signed, payload=signed.payload.replace(b'"threshold":2', b'"threshold":1')), {}),
        (replace(signed, payload_type="application/other"), {}),
        (replace(ROOT, keys=(KEYS[0].public, KEYS[0].public)).signed(KEYS[:1]), {}),
        (signed, {"now": LATER}),
        (signed, {"fingerprint": "00" * 32}),
        (make_keyring().signed(KEYS), {}),
    ]
    for envelope, more in cases:
        with pytest.raises(KeyringError):
            read_root(envelope, **{"now": NOW, **more})  # type: ignore[arg-type]  # a table of keywords


def test_keyrings_that_are_refused():
    root, keyring = read_root(ROOT.signed(KEYS), now=NOW), make_keyring()
    signed = keyring.signed(KEYS)
    cases: list[tuple[SignedEnvelope, dict[str, object]]] = [
        (keyring.signed(KEYS[:1]), {}),
        (keyring.signed([KEYS[0], KEYS[0]]), {}),
        (keyring.signed([SigningKey.generate()] * 2), {}),
        (replace(signed, payload=signed.payload.replace(b'"version":3', b'"version":4')), {}),
        (signed, {"at_least": 4}),
        (signed, {"now": LATER}),
        (ROOT.signed(KEYS), {}),
        (replace(keyring, provider=replace(keyring.provider, recipients=())).signed(KEYS), {}),
    ]
    for envelope, more in cases:
        with pytest.raises(KeyringError):
            read_keyring(envelope, root, **{"now": NOW, **more})  # type: ignore[arg-type]  # a table of keywords


def test_a_small_order_key_in_a_keyring_is_refused():
    keyring, root = make_keyring(), read_root(ROOT.signed(KEYS), now=NOW)
    payload = keyring.signed(KEYS).payload.replace(keyring.silos["a"].key.ed25519.hex().encode(), b"01" + b"00" * 31)
    forged = SignedEnvelope("application/vnd.llamdex.keyring.v1+json", payload, ())
    signatures = tuple(signature for key in KEYS for signature in key.sign(forged.pae()))
    with pytest.raises(KeyringError, match="small order"):
        read_keyring(replace(forged, signatures=signatures), root, now=NOW)


def test_successor_needs_the_old_and_the_new_threshold():
    root = read_root(ROOT.signed(KEYS), now=NOW)
    fresh = [SigningKey.generate() for _ in range(2)]
    following = Root(version=2, threshold=2, keys=tuple(key.public for key in fresh), expires_at=LATER)
    assert root.successor(following.signed([*KEYS[:2], *fresh]), NOW).version == 2
    for signers in (fresh, KEYS, [KEYS[0], *fresh], [*KEYS, fresh[0]]):
        with pytest.raises(KeyringError):
            root.successor(following.signed(signers), NOW)
    with pytest.raises(KeyringError):
        root.successor(replace(following, version=3).signed([*KEYS, *fresh]), NOW)


def test_a_successor_that_has_expired_is_only_a_step():
    fresh = SigningKey.generate()
    expired = Root(version=2, threshold=1, keys=(fresh.public,), expires_at=NOW).signed([*KEYS[:2], fresh])
    assert ROOT.successor(expired, None).version == 2
    assert ROOT.successor(expired, NOW - timedelta(seconds=1)).version == 2
    with pytest.raises(KeyringError):
        ROOT.successor(expired, NOW)


def former_keys(count: int) -> tuple[FormerKeys, ...]:
    key = SigningKey.generate().public
    return tuple(
        FormerKeys(key=key, spki=f"{number:02x}" * 32, until=NOW + timedelta(days=number)) for number in range(count)
    )


@pytest.mark.parametrize("count", [1, 2, 16])
def test_former_keys_are_written_and_read(count: int):
    keyring = make_keyring()
    held = replace(
        keyring,
        silos={"a": replace(keyring.silos["a"], former=former_keys(count))},
        provider=replace(keyring.provider, former=tuple(SigningKey.generate().public for _ in range(count))),
    )
    assert replace(read_keyring(held.signed(KEYS[:2]), ROOT, now=NOW), envelope=None) == held


def test_lists_of_a_keyring_that_are_too_long_or_have_more_fields():
    keyring = make_keyring()
    provider, silo, other = keyring.provider, keyring.silos["a"], SigningKey.generate().public
    one = replace(
        keyring, provider=replace(provider, former=(other,)), silos={"a": replace(silo, former=former_keys(1))}
    )
    for bad in (
        replace(keyring, silos={"a": replace(silo, former=former_keys(17))}),
        replace(keyring, provider=replace(provider, former=(other,) * 17)),
        replace(keyring, provider=replace(provider, recipients=provider.recipients * 17)),
        replace(keyring, provider=replace(provider, spki=provider.spki * 17)),
    ):
        with pytest.raises(KeyringError):
            read_keyring(bad.signed(KEYS[:2]), ROOT, now=NOW)
    document = json.loads(one.signed(KEYS[:2]).payload)
    for path in (("provider", "former", 0), ("silos", "a", "former", 0), ("provider", "recipients", 0), ("silos", "a")):
        changed = json.loads(json.dumps(document))
        place = changed
        for step in path:
            place = place[step]
        place["more"] = "x"
        envelope = sign("application/vnd.llamdex.keyring.v1+json", dumps(changed), *KEYS[:2])
        with pytest.raises(KeyringError):
            read_keyring(envelope, ROOT, now=NOW)
    read_keyring(sign("application/vnd.llamdex.keyring.v1+json", dumps(document), *KEYS[:2]), ROOT, now=NOW)


def test_former_keys_are_good_for_their_time_unless_revoked():
    keyring = make_keyring()
    present = keyring.silos["a"]
    formers = tuple(
        FormerKeys(key=SigningKey.generate().public, spki=f"{number:02x}" * 32, until=NOW + timedelta(days=number))
        for number in (1, 2, 3)
    )
    member = replace(present, former=formers)
    other = Member(key=SigningKey.generate().public, spki="99" * 32)
    held = replace(keyring, silos={"a": member, "b": other})
    assert keyring.at(NOW) is keyring
    assert held.at(NOW).silos == held.silos
    # The last second of the first is over; the others go on.
    assert held.at(NOW + timedelta(days=1)).silos == {"a": replace(member, former=formers[1:]), "b": other}
    assert held.at(NOW + timedelta(days=1, seconds=-1)).member("a") == member
    assert held.at(LATER).member("a").former == ()
    for revoked in (formers[1].key.keyid, formers[1].spki):
        after = replace(held, revoked=(revoked,)).at(NOW)
        assert after.member("a").former == (formers[0], formers[2])
        assert after.revoked == (revoked,)


def test_unknown_and_revoked_members():
    keyring = make_keyring()
    member = keyring.member("a")
    for revoked in (member.spki, member.key.keyid):
        after = keyring.with_revoked([revoked], now=NOW, expires_at=LATER)
        assert after.version == keyring.version + 1
        with pytest.raises(RefusedError) as caught:
            after.member("a")
        assert caught.value.answer is Answer.UNAUTHENTICATED
    with pytest.raises(RefusedError):
        keyring.member("b")


def test_recipient_comes_from_the_keyring_only():
    provider = make_keyring().provider
    keyid = provider.recipients[0].keyid
    assert provider.recipient(keyid) == provider.recipients[0]
    with pytest.raises(KeyringError):
        provider.recipient("00" * 32)
    with pytest.raises(KeyringError):
        provider.recipient(keyid, revoked=(keyid,))


def test_missing_and_damaged_files(tmp_path: Path):
    with pytest.raises(KeyringError):
        load_root(tmp_path / "none", now=NOW)
    (tmp_path / "bad").write_bytes(b"\xff")
    with pytest.raises(KeyringError):
        load_root(tmp_path / "bad", now=NOW)


def test_successors_of_a_keyring():
    signed = read_keyring(make_keyring().signed(KEYS[:2]), ROOT, now=NOW)
    new, soon, much_later = SigningKey.generate().public, NOW + timedelta(days=1), NOW + timedelta(days=2)
    member = Member(key=new, spki="aa" * 32)
    with_b = signed.with_silos({"b": member}, now=soon, expires_at=much_later)
    assert (with_b.version, with_b.issued_at, with_b.expires_at, with_b.envelope) == (4, soon, much_later, None)
    assert dict(with_b.silos) == {**signed.silos, "b": member}
    assert with_b.with_silos({"a": member}, now=soon, expires_at=much_later).silos["a"] == member
    revoked = signed.with_revoked(["00" * 32, "ef" * 32], now=soon, expires_at=much_later)
    assert (revoked.version, revoked.issued_at, revoked.expires_at, revoked.envelope) == (4, soon, much_later, None)
    assert revoked.revoked == ("00" * 32, "ef" * 32)
    assert replace(revoked, version=3, issued_at=NOW, expires_at=LATER, revoked=("ef" * 32,), envelope=None) == replace(
        signed, envelope=None
    )


def test_a_fingerprint_with_colons():
    fingerprint = ROOT.fingerprint()
    spoken = ":".join(fingerprint[place : place + 2] for place in range(0, 64, 2))
    assert read_root(ROOT.signed(KEYS[:2]), now=NOW, fingerprint=spoken).version == 1


def test_a_silo_whose_certificate_is_revoked():
    keyring = make_keyring()
    for digest in (keyring.silos["a"].spki, keyring.silos["a"].key.keyid):
        with pytest.raises(RefusedError) as caught:
            keyring.with_revoked([digest], now=NOW, expires_at=LATER).member("a")
        assert caught.value.answer is Answer.UNAUTHENTICATED
    assert keyring.member("a") == keyring.silos["a"]


def test_the_last_second():
    at = LATER - timedelta(seconds=1)
    signed = make_keyring().signed(KEYS[:2])
    assert read_keyring(signed, ROOT, now=at).version == 3
    with pytest.raises(KeyringError):
        read_keyring(signed, ROOT, now=LATER)
    with pytest.raises(KeyringError):
        read_root(ROOT.signed(KEYS[:2]), now=LATER)
