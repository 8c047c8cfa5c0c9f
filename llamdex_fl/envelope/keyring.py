"""Who is who: a keyring that the consortium's root signs, and the root itself.

Order in which a silo trusts: a fingerprint that was compared by people -> the root -> the keyring -> every key.
A keyring is taken only if the root's threshold signed it, it has not expired, and its version is not below the one
that the silo already has. Everything that names a key is looked up here, never taken from a message.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from llamdex_fl.envelope.canonical import Fields, dumps, parse, timestamp
from llamdex_fl.envelope.dsse import SignedEnvelope, sign
from llamdex_fl.envelope.refusal import Answer, RefusedError
from llamdex_fl.envelope.signing import ED25519_SIZE, MLDSA65_SIZE, SigningKey, VerifyKey
from llamdex_fl.envelope.suite import RecipientPublicKey
from llamdex_fl.errors import KeyringError

__all__ = ["Keyring", "Member", "ProviderEntry", "Root", "load_keyring", "load_root", "read_keyring", "read_root"]

_ROOT_TYPE = "application/vnd.llamdex.root.v1+json"
_KEYRING_TYPE = "application/vnd.llamdex.keyring.v1+json"
_LIMIT = 16 << 20
_SILOS_LIMIT = 5000
_MLKEM768_SIZE = 1184
_X25519_SIZE = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Root:
    """The consortium's root keys; its fingerprint is compared by people."""

    version: int
    threshold: int
    keys: tuple[VerifyKey, ...]
    expires_at: datetime
    envelope: SignedEnvelope | None = field(default=None, repr=False)

    def fingerprint(self) -> str:
        """Hex SHA-256 over what the root's signatures cover."""
        return SignedEnvelope(_ROOT_TYPE, self._payload(), ()).digest().hex()

    def signed(self, keys: Sequence[SigningKey]) -> SignedEnvelope:
        """Sign the root with its keys, and with those of its predecessor if there is one."""
        return sign(_ROOT_TYPE, self._payload(), *keys)

    def successor(self, envelope: SignedEnvelope, now: datetime) -> "Root":
        """The next root, once this root's threshold and its own signed it.

        Raises:
            KeyringError: it is not this root's successor.
        """
        try:
            envelope.verified_by(_ROOT_TYPE, self.keys, self.threshold)
        except RefusedError as error:
            raise _wrong("a root that the former root signed", error.problem) from error
        root = read_root(envelope, now=now)
        if root.version != self.version + 1:
            raise _wrong(f"root version {self.version + 1}", str(root.version))
        return root

    def _payload(self) -> bytes:
        return dumps(
            {
                "version": self.version,
                "threshold": self.threshold,
                "keys": [_verify_key_document(key) for key in self.keys],
                "expiresAt": timestamp(self.expires_at),
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A silo's public keys: for statements, and its TLS certificate's."""

    key: VerifyKey
    spki: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderEntry:
    """The provider's public keys: for receipts, for content keys (the first is for new uploads), and for TLS."""

    provider: str
    key: VerifyKey
    recipients: tuple[RecipientPublicKey, ...]
    spki: tuple[str, ...]

    def recipient(self, keyid: str, *, revoked: Iterable[str] = ()) -> RecipientPublicKey:
        """The key for content keys of this id.

        Raises:
            KeyringError: the keyring does not have it, or it is revoked.
        """
        for key in self.recipients:
            if key.keyid == keyid and keyid not in revoked:
                return key
        raise _wrong("a recipient key of the keyring", keyid)


@dataclass(frozen=True, kw_only=True, slots=True)
class Keyring:
    """One version of who is who.

    Attributes:
        ca: the CA's certificate, PEM.
        revoked: ids of keys, and SPKI digests, that are not good any more.
    """

    version: int
    trust_domain: str
    issued_at: datetime
    expires_at: datetime
    ca: str
    provider: ProviderEntry
    silos: Mapping[str, Member]
    revoked: tuple[str, ...] = ()
    envelope: SignedEnvelope | None = field(default=None, repr=False)

    def member(self, silo: str) -> Member:
        """An enrolled silo whose keys are not revoked.

        Raises:
            RefusedError: UNAUTHENTICATED, it is unknown or revoked.
        """
        member = self.silos.get(silo)
        if member is None or member.key.keyid in self.revoked or member.spki in self.revoked:
            raise RefusedError(
                Answer.UNAUTHENTICATED,
                "The silo is not enrolled, or its keys are revoked.",
                expected="a silo of the keyring",
                got=silo[:80],
                next_step="enrol (again) with: llamdex-silo keys",
            )
        return member

    def signed(self, keys: Sequence[SigningKey]) -> SignedEnvelope:
        """Sign the keyring with the root's keys."""
        return sign(_KEYRING_TYPE, self._payload(), *keys)

    def with_silos(self, silos: Mapping[str, Member], *, now: datetime, expires_at: datetime) -> "Keyring":
        """The next version, with some silos added or replaced."""
        return replace(
            self,
            version=self.version + 1,
            silos={**self.silos, **silos},
            issued_at=now,
            expires_at=expires_at,
            envelope=None,
        )

    def with_revoked(self, digests: Iterable[str], *, now: datetime, expires_at: datetime) -> "Keyring":
        """The next version, with some keys revoked."""
        return replace(
            self,
            version=self.version + 1,
            revoked=tuple(sorted({*self.revoked, *digests})),
            issued_at=now,
            expires_at=expires_at,
            envelope=None,
        )

    def _payload(self) -> bytes:
        provider: dict[str, Any] = {
            "id": self.provider.provider,
            **_verify_key_document(self.provider.key),
            "recipients": [{"mlkem768": r.mlkem768.hex(), "x25519": r.x25519.hex()} for r in self.provider.recipients],
            "spki": list(self.provider.spki),
        }
        return dumps(
            {
                "version": self.version,
                "trustDomain": self.trust_domain,
                "issuedAt": timestamp(self.issued_at),
                "expiresAt": timestamp(self.expires_at),
                "ca": self.ca,
                "provider": provider,
                "silos": {
                    name: {**_verify_key_document(member.key), "spki": member.spki}
                    for name, member in self.silos.items()
                },
                "revoked": list(self.revoked),
            }
        )


def read_root(envelope: SignedEnvelope, *, now: datetime, fingerprint: str | None = None) -> Root:
    """A root that its own threshold signed.

    Args:
        envelope: the signed root.
        now: the present.
        fingerprint: what people compared; None only for a root of our own making.

    Raises:
        KeyringError: it is not signed by itself, has expired, or has another fingerprint.
    """
    if envelope.payload_type != _ROOT_TYPE:
        raise _wrong("a root", "another document")
    if fingerprint is not None and envelope.digest().hex() != fingerprint.lower().replace(":", ""):
        raise _wrong(f"the root with the fingerprint {fingerprint}", envelope.digest().hex())
    try:
        # Parsed before it is verified, since the keys are inside; the fingerprint covers the same bytes.
        fields = parse(envelope.payload, limit=_LIMIT)
        keys = tuple(_verify_key(item, done=True) for item in fields.children("keys", limit=32))
        root = Root(
            version=fields.integer("version", low=1),
            threshold=fields.integer("threshold", low=1, high=max(1, len(keys))),
            keys=keys,
            expires_at=fields.moment("expiresAt"),
            envelope=envelope,
        )
        fields.done()
        if len({key.keyid for key in keys}) != len(keys):
            raise _wrong("each root key once", "a key twice")
        envelope.verified_by(_ROOT_TYPE, keys, root.threshold)
    except RefusedError as error:
        raise _wrong("a root that is signed by itself", error.problem) from error
    if now >= root.expires_at:
        raise _wrong("a root that is still valid", f"expired at {timestamp(root.expires_at)}")
    return root


def read_keyring(envelope: SignedEnvelope, root: Root, *, now: datetime, at_least: int = 1) -> Keyring:
    """A keyring that the root signed.

    Args:
        envelope: the signed keyring.
        root: the consortium's root.
        now: the present.
        at_least: the version that was seen last; an older one is a rollback.

    Raises:
        KeyringError: it is forged or under the threshold, malformed, expired or rolled back.
    """
    try:
        fields = parse(envelope.verified_by(_KEYRING_TYPE, root.keys, root.threshold), limit=_LIMIT)
        keyring = Keyring(
            version=fields.integer("version", low=1),
            trust_domain=fields.word("trustDomain"),
            issued_at=fields.moment("issuedAt"),
            expires_at=fields.moment("expiresAt"),
            ca=fields.text("ca", limit=1 << 16),
            provider=_provider(fields.child("provider")),
            silos={name: _member(item) for name, item in fields.named_children("silos", limit=_SILOS_LIMIT).items()},
            revoked=fields.digests("revoked", limit=1 << 16),
            envelope=envelope,
        )
        fields.done()
    except RefusedError as error:
        raise _wrong("a keyring that the root's threshold signed", error.problem) from error
    if keyring.version < at_least:
        raise _wrong(f"version {at_least} or later", f"version {keyring.version}: a rollback")
    if now >= keyring.expires_at:
        raise _wrong("a keyring that is still valid", f"expired at {timestamp(keyring.expires_at)}")
    return keyring


def load_root(path: Path, *, now: datetime) -> Root:
    """Read a root that was pinned before; raises ``KeyringError``."""
    return read_root(_read_envelope(path), now=now)


def load_keyring(path: Path, root: Root, *, now: datetime, at_least: int = 1) -> Keyring:
    """Read a keyring's file as ``read_keyring`` does; raises ``KeyringError``."""
    return read_keyring(_read_envelope(path), root, now=now, at_least=at_least)


def _read_envelope(path: Path) -> SignedEnvelope:
    try:
        return SignedEnvelope.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RefusedError) as error:
        raise _wrong(f"a signed document {path}", type(error).__name__) from error


def _verify_key_document(key: VerifyKey) -> dict[str, str]:
    return {"ed25519": key.ed25519.hex(), "mldsa65": key.mldsa65.hex()}


def _verify_key(fields: Fields, *, done: bool = False) -> VerifyKey:
    key = VerifyKey(fields.octets("ed25519", size=ED25519_SIZE), fields.octets("mldsa65", size=MLDSA65_SIZE))
    if done:
        fields.done()
    return key


def _member(fields: Fields) -> Member:
    member = Member(key=_verify_key(fields), spki=fields.hexadecimal("spki", size=32))
    fields.done()
    return member


def _provider(fields: Fields) -> ProviderEntry:
    recipients = []
    for item in fields.children("recipients", limit=16):
        key = RecipientPublicKey(item.octets("mlkem768", size=_MLKEM768_SIZE), item.octets("x25519", size=_X25519_SIZE))
        recipients.append(key)
        item.done()
    entry = ProviderEntry(
        provider=fields.word("id"),
        key=_verify_key(fields),
        recipients=tuple(recipients),
        spki=fields.digests("spki", limit=16),
    )
    fields.done()
    if not entry.recipients or not entry.spki:
        raise _wrong("a provider with a recipient key and a certificate", "none")
    return entry


def _wrong(expected: str, got: str) -> KeyringError:
    return KeyringError(
        "The keyring or its root must not be trusted.",
        expected=expected,
        got=got,
        next_step="get the present keyring from the consortium, and compare the root's fingerprint by voice",
    )
