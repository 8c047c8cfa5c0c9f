"""The consortium's root: k of n keys that sign keyrings, and the root after it.

A root is believed because of its fingerprint, which people compared, or because its predecessor signed it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from llamdex_fl.envelope.canonical import Fields, dumps, parse, timestamp
from llamdex_fl.envelope.dsse import SignedEnvelope, sign
from llamdex_fl.envelope.refusal import RefusedError
from llamdex_fl.envelope.signing import ED25519_SIZE, MLDSA65_SIZE, SigningKey, VerifyKey
from llamdex_fl.errors import KeyringError

__all__ = ["Root", "distrusted", "load_root", "read_root", "read_signed_file", "read_verify_key", "verify_key_document"]

_ROOT_TYPE = "application/vnd.llamdex.root.v1+json"
_LIMIT = 1 << 20


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

    def latest(self, chain: Iterable[SignedEnvelope], now: datetime) -> "Root":
        """The last root of a chain of successors; those that are not newer than this one are passed over.

        As for a client of The Update Framework (its specification, 5.3), a root says who may sign the next one even
        after it has expired: only the last one must be valid now. So a root that was forgotten until it expired can
        be rotated still, and whoever was away for long follows.

        Args:
            chain: signed roots, the oldest first.
            now: the present.

        Raises:
            KeyringError: one of them is not its predecessor's successor, or the last one has expired.
        """
        root = self
        for envelope in chain:
            # The version is only a hint here: ``successor`` verifies what it says.
            if _claimed_version(envelope) > root.version:
                root = root.successor(envelope, None)
        root.require_valid(now)
        return root

    def require_valid(self, now: datetime) -> None:
        """Refuse a root that has expired; raises ``KeyringError``."""
        if now >= self.expires_at:
            raise distrusted("a root that is still valid", f"expired at {timestamp(self.expires_at)}")

    def successor(self, envelope: SignedEnvelope, now: datetime | None) -> "Root":
        """The next root, once this root's threshold and its own signed it.

        Args:
            envelope: the signed root.
            now: the present; None where it is only a step on the way to the last root.

        Raises:
            KeyringError: it is not this root's successor, or has expired.
        """
        try:
            envelope.verified_by(_ROOT_TYPE, self.keys, self.threshold)
        except RefusedError as error:
            raise distrusted("a root that the former root signed", error.problem) from error
        root = read_root(envelope, now=now)
        if root.version != self.version + 1:
            raise distrusted(f"root version {self.version + 1}", str(root.version))
        return root

    def _payload(self) -> bytes:
        return dumps(
            {
                "version": self.version,
                "threshold": self.threshold,
                "keys": [verify_key_document(key) for key in self.keys],
                "expiresAt": timestamp(self.expires_at),
            }
        )


def read_root(envelope: SignedEnvelope, *, now: datetime | None, fingerprint: str | None = None) -> Root:
    """A root that its own threshold signed.

    Args:
        envelope: the signed root.
        now: the present; None takes an expired one too, where it only says who may sign the next.
        fingerprint: what people compared; None only for a root of our own making.

    Raises:
        KeyringError: it is not signed by itself, has expired, or has another fingerprint.
    """
    if envelope.payload_type != _ROOT_TYPE:
        raise distrusted("a root", "another document")
    if fingerprint is not None and envelope.digest().hex() != fingerprint.lower().replace(":", ""):
        raise distrusted(f"the root with the fingerprint {fingerprint}", envelope.digest().hex())
    try:
        # Parsed before it is verified, since the keys are inside; the fingerprint covers the same bytes.
        fields = parse(envelope.payload, limit=_LIMIT)
        keys = tuple(read_verify_key(item, done=True) for item in fields.children("keys", limit=32))
        root = Root(
            version=fields.integer("version", low=1),
            threshold=fields.integer("threshold", low=1, high=max(1, len(keys))),
            keys=keys,
            expires_at=fields.moment("expiresAt"),
            envelope=envelope,
        )
        fields.done()
        if len({key.keyid for key in keys}) != len(keys):
            raise distrusted("each root key once", "a key twice")
        envelope.verified_by(_ROOT_TYPE, keys, root.threshold)
    except RefusedError as error:
        raise distrusted("a root that is signed by itself", error.problem) from error
    if now is not None:
        root.require_valid(now)
    return root


def load_root(path: Path, *, now: datetime | None) -> Root:
    """Read a root that was pinned before, as ``read_root`` does; raises ``KeyringError``."""
    return read_root(read_signed_file(path), now=now)


def read_signed_file(path: Path) -> SignedEnvelope:
    """Read a signed document's file; raises ``KeyringError``."""
    try:
        return SignedEnvelope.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RefusedError) as error:
        raise distrusted(f"a signed document {path}", type(error).__name__) from error


def verify_key_document(key: VerifyKey) -> dict[str, str]:
    """A public key as documents hold it."""
    return {"ed25519": key.ed25519.hex(), "mldsa65": key.mldsa65.hex()}


def read_verify_key(fields: Fields, *, done: bool = False) -> VerifyKey:
    """Read a public key; ``done`` refuses further fields. Raises ``RefusedError`` for a weak one."""
    key = VerifyKey(fields.octets("ed25519", size=ED25519_SIZE), fields.octets("mldsa65", size=MLDSA65_SIZE))
    if done:
        fields.done()
    return key


def _claimed_version(envelope: SignedEnvelope) -> int:
    try:
        return parse(envelope.payload, limit=_LIMIT).integer("version", low=1)
    except RefusedError as error:
        raise distrusted("a root", error.problem) from error


def distrusted(expected: str, got: str) -> KeyringError:
    """The one error for a root or keyring that must not be trusted."""
    return KeyringError(
        "The keyring or its root must not be trusted.",
        expected=expected,
        got=got,
        next_step="get the present keyring from the consortium, and compare the root's fingerprint by voice",
    )
