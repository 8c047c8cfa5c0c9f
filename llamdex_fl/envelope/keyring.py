"""Who is who: a keyring that the consortium's root signs.

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
from llamdex_fl.envelope.root import Root, distrusted, read_signed_file, read_verify_key, verify_key_document
from llamdex_fl.envelope.signing import SigningKey, VerifyKey
from llamdex_fl.envelope.suite import RecipientPublicKey

__all__ = ["FormerKeys", "Keyring", "Member", "ProviderEntry", "load_keyring", "read_keyring"]

_KEYRING_TYPE = "application/vnd.llamdex.keyring.v1+json"
_LIMIT = 16 << 20
_SILOS_LIMIT = 5000
_FORMER_LIMIT = 16
_MLKEM768_SIZE = 1184
_X25519_SIZE = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class FormerKeys:
    """Keys that a silo has replaced, which are still good until ``until``: what is under way may arrive."""

    key: VerifyKey
    spki: str
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A silo's public keys: for statements, and its TLS certificate's; and those that they replaced."""

    key: VerifyKey
    spki: str
    former: tuple[FormerKeys, ...] = ()

    @property
    def keys(self) -> tuple[VerifyKey, ...]:
        """Keys that may sign statements, the present one first; see ``Keyring.at``."""
        return (self.key, *(former.key for former in self.former))

    @property
    def spkis(self) -> tuple[str, ...]:
        """Digests of keys that its TLS certificate may have, the present one first; see ``Keyring.at``."""
        return (self.spki, *(former.spki for former in self.former))


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderEntry:
    """The provider's public keys: for receipts, for content keys (the first is for new uploads), and for TLS.

    Attributes:
        former: keys that signed receipts and tree heads before ``key`` did.
    """

    provider: str
    key: VerifyKey
    recipients: tuple[RecipientPublicKey, ...]
    spki: tuple[str, ...]
    former: tuple[VerifyKey, ...] = ()

    def recipient(self, keyid: str, *, revoked: Iterable[str] = ()) -> RecipientPublicKey:
        """The key for content keys of this id.

        Raises:
            KeyringError: the keyring does not have it, or it is revoked.
        """
        for key in self.recipients:
            if key.keyid == keyid and keyid not in revoked:
                return key
        raise distrusted("a recipient key of the keyring", keyid)


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

    @property
    def log_keys(self) -> tuple[VerifyKey, ...]:
        """Keys whose signatures under receipts and tree heads count, the present one first: what comes from outside."""
        return tuple(key for key in self.known_log_keys if key.keyid not in self.revoked)

    @property
    def known_log_keys(self) -> tuple[VerifyKey, ...]:
        """The same with revoked ones: for what was verified and kept before they were revoked.

        Alone, a signature of a revoked key proves nothing: whoever has the key may have made it at any time. With
        the log it does not have to, see ``silo_client.log_check``.
        """
        return (self.provider.key, *self.provider.former)

    def at(self, now: datetime) -> "Keyring":
        """The keyring without former keys of silos whose time is over, or that are revoked."""
        if not any(member.former for member in self.silos.values()):
            return self
        revoked = set(self.revoked)
        return replace(
            self,
            silos={
                name: replace(
                    member,
                    former=tuple(f for f in member.former if now < f.until and not {f.key.keyid, f.spki} & revoked),
                )
                for name, member in self.silos.items()
            },
        )

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
                next_step="ask the provider for an invitation, and take it with: llamdex-silo enrol",
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
        former = [verify_key_document(key) for key in self.provider.former]
        provider: dict[str, Any] = {
            "id": self.provider.provider,
            # Absent where there are none, so that such a keyring reads as it always did.
            **({"former": former} if former else {}),
            **verify_key_document(self.provider.key),
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
                "silos": {name: _member_document(member) for name, member in self.silos.items()},
                "revoked": list(self.revoked),
            }
        )


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
        raise distrusted("a keyring that the root's threshold signed", error.problem) from error
    if keyring.version < at_least:
        raise distrusted(f"version {at_least} or later", f"version {keyring.version}: a rollback")
    if now >= keyring.expires_at:
        raise distrusted("a keyring that is still valid", f"expired at {timestamp(keyring.expires_at)}")
    return keyring


def load_keyring(path: Path, root: Root, *, now: datetime, at_least: int = 1) -> Keyring:
    """Read a keyring's file as ``read_keyring`` does; raises ``KeyringError``."""
    return read_keyring(read_signed_file(path), root, now=now, at_least=at_least)


def _member_document(member: Member) -> dict[str, Any]:
    document: dict[str, Any] = {**verify_key_document(member.key), "spki": member.spki}
    if member.former:
        document["former"] = [
            {**verify_key_document(former.key), "spki": former.spki, "until": timestamp(former.until)}
            for former in member.former
        ]
    return document


def _member(fields: Fields) -> Member:
    former = []
    for item in fields.children("former", limit=_FORMER_LIMIT) if fields.has("former") else ():
        former.append(
            FormerKeys(key=read_verify_key(item), spki=item.hexadecimal("spki", size=32), until=item.moment("until"))
        )
        item.done()
    member = Member(key=read_verify_key(fields), spki=fields.hexadecimal("spki", size=32), former=tuple(former))
    fields.done()
    return member


def _provider(fields: Fields) -> ProviderEntry:
    recipients = []
    for item in fields.children("recipients", limit=16):
        key = RecipientPublicKey(item.octets("mlkem768", size=_MLKEM768_SIZE), item.octets("x25519", size=_X25519_SIZE))
        recipients.append(key)
        item.done()
    former = fields.children("former", limit=_FORMER_LIMIT) if fields.has("former") else []
    entry = ProviderEntry(
        former=tuple(read_verify_key(item, done=True) for item in former),
        provider=fields.word("id"),
        key=read_verify_key(fields),
        recipients=tuple(recipients),
        spki=fields.digests("spki", limit=16),
    )
    fields.done()
    if not entry.recipients or not entry.spki:
        raise distrusted("a provider with a recipient key and a certificate", "none")
    return entry
