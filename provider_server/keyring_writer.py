"""Changes to the keyring: one at a time, signed by the root's threshold, read as silos will read it, then published.

Every command that changes who is who does it under the lock of ``HOME/keyring.lock``, so that of two at a time none
is lost. The keyring's file is replaced whole, with its root if that is new, and what a killed command left is tidied up
by the next (``llamdex_fl.envelope.trust``); a provider that runs takes the new one from its next call on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from llamdex_fl.envelope import (
    EnrolmentReply,
    Keyring,
    Passphrase,
    Root,
    SignedEnvelope,
    SigningKey,
    changing_trust,
    load_signing_key,
    read_keyring,
    read_trust,
    write_atomically,
    write_trust,
)
from llamdex_fl.envelope.canonical import timestamp
from llamdex_fl.envelope.root import read_signed_file
from llamdex_fl.errors import ConfigError, KeyringError
from provider_server.config import ProviderConfig, load_provider_config

__all__ = ["KEYRING_LIFETIME", "KeyringWriter", "changing", "moment", "read_reply", "require_unexpired", "root_chain"]

KEYRING_LIFETIME = timedelta(days=397)


def moment() -> datetime:
    """The present, to the second, as signed documents hold it."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(kw_only=True, slots=True)
class KeyringWriter:
    """The root and keyring of a provider's home, while nobody else changes them.

    Attributes:
        now: the time of the change.
        root_keys: the directory of the root's private keys.
        passphrase: of private keys.
    """

    config: ProviderConfig
    now: datetime
    root: Root
    keyring: Keyring
    root_keys: Path
    passphrase: Passphrase | None

    @property
    def expires_at(self) -> datetime:
        """Until when a keyring that is signed now is good."""
        return self.now + KEYRING_LIFETIME

    def publish(self, keyring: Keyring) -> SignedEnvelope:
        """Sign a keyring with the root's keys and put it, with its root, in the place of the present one.

        Raises:
            ConfigError: there are not enough root keys.
            KeyringError: silos would refuse it.
        """
        signed = keyring.signed(self.root_signers())
        # Read as silos will read it, so that nothing is published that they would refuse.
        self.keyring = read_keyring(signed, self.root, now=self.now, at_least=self.keyring.version)
        if self.root.envelope is None:
            raise AssertionError("a root that was read has its envelope")
        write_trust(self.config.home, self.root.envelope, signed)
        return signed

    def root_signers(self) -> list[SigningKey]:
        """The present root's private keys, as many as are there; raises ``ConfigError`` under its threshold."""
        paths = sorted(self.root_keys.rglob("*.pem")) if self.root_keys.is_dir() else []
        known = {key.keyid for key in self.root.keys}
        signers = [load_signing_key(path, self.passphrase) for path in paths]
        signers = [signer for signer in signers if signer.public.keyid in known]
        if len(signers) < self.root.threshold:
            raise ConfigError(
                "There are not enough root keys to sign a keyring.",
                expected=f"{self.root.threshold} of the root's keys in {self.root_keys}",
                got=str(len(signers)),
                next_step="bring the root keys back, or name their directory with --root-keys-from",
            )
        return signers

    def reply(self, silo: str, certificate: bytes) -> Path:
        """Write what a silo gets back, with the present keyring."""
        self.config.replies.mkdir(mode=0o700, exist_ok=True)
        path = self.config.replies / f"{silo}.json"
        write_atomically(path, _reply(self.config, self.root, self.keyring, certificate).to_json().encode())
        return path


@contextmanager
def changing(
    home: Path, *, root_keys: Path | None = None, passphrase: Passphrase | None = None, expired_root: bool = False
) -> Iterator[KeyringWriter]:
    """Change a provider's keyring, alone.

    Args:
        home: the provider's directory.
        root_keys: the directory of the root's private keys, if it was moved away from ``HOME/root``.
        passphrase: of private keys.
        expired_root: take an expired root too, to sign its successor.

    Raises:
        ConfigError: it is no provider's home.
        KeyringError: its root or keyring is not usable.
    """
    config, now = load_provider_config(home), moment()
    with changing_trust(config.home):
        # An expired keyring may be renewed: whoever has the root's keys decides.
        root, keyring = read_trust(config.home, now=None)
        if not expired_root:
            require_unexpired(root, None, now)
        yield KeyringWriter(
            config=config,
            now=now,
            root=root,
            keyring=keyring,
            root_keys=root_keys or config.root_keys,
            passphrase=passphrase,
        )


def require_unexpired(root: Root, keyring: Keyring | None, now: datetime) -> None:
    """Refuse a provider's own root or keyring whose time is over, and say what renews it; raises ``KeyringError``."""
    renewal = {
        "root": (root.expires_at, "llamdex-provider rotate HOME root: the expired root's keys still sign its successor")
    }
    if keyring is not None:
        renewal["keyring"] = keyring.expires_at, "llamdex-provider enrol HOME, which renews the keyring"
    for what, (expires_at, next_step) in renewal.items():
        if now >= expires_at:
            raise KeyringError(
                f"The consortium's {what} has expired.",
                expected=f"a {what} that is still valid",
                got=f"one until {timestamp(expires_at)}",
                next_step=next_step,
            )


def root_chain(config: ProviderConfig) -> tuple[SignedEnvelope, ...]:
    """The roots before the present one, the oldest first."""
    return tuple(
        read_signed_file(path)
        for path in sorted(config.former_roots.glob("*.json"), key=lambda path: int(path.stem))
        if path.stem.isdecimal()
    )


def read_reply(config: ProviderConfig, silo: str, root: Root, keyring: Keyring) -> EnrolmentReply:
    """What a silo may fetch: the present root and keyring, and the certificate that was last made for it."""
    path = config.replies / f"{silo}.json"
    certificate = EnrolmentReply.from_json(path.read_text(encoding="utf-8")).certificate if path.is_file() else b""
    return _reply(config, root, keyring, certificate)


def _reply(config: ProviderConfig, root: Root, keyring: Keyring, certificate: bytes) -> EnrolmentReply:
    if root.envelope is None or keyring.envelope is None:
        raise AssertionError("what was read from a file has its envelope")
    return EnrolmentReply(
        root=root.envelope, keyring=keyring.envelope, certificate=certificate, former_roots=root_chain(config)
    )
