"""The keys that a running provider uses, and its view of the keyring, which is read again when the file changes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from llamdex_fl.envelope import (
    Answer,
    Keyring,
    Passphrase,
    RecipientKey,
    RefusedError,
    Root,
    SigningKey,
    load_keyring,
    load_recipient_key,
    load_root,
    load_signing_key,
    load_tls_key,
    tls_key_pem,
)
from llamdex_fl.errors import ConfigError, KeyringError
from provider_server.config import ProviderConfig

__all__ = ["KeyringFile", "ProviderKeys", "load_provider_keys"]

Clock = Callable[[], datetime]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderKeys:
    """The private keys of a provider; none of them shows in a repr.

    Attributes:
        signer: for receipts and tree heads.
        recipient: for content keys.
        tls_key: PEM, in memory only.
        tls_certificate: PEM.
    """

    signer: SigningKey
    recipient: RecipientKey
    tls_key: bytes
    tls_certificate: bytes

    def __repr__(self) -> str:
        """Name the keys only."""
        return f"ProviderKeys({self.signer!r}, {self.recipient!r})"


def load_provider_keys(config: ProviderConfig, passphrase: Passphrase | None = None) -> ProviderKeys:
    """Read the keys of a provider's home; raises ``ConfigError``."""
    certificate = config.keys / "tls-certificate.pem"
    if not certificate.is_file():
        raise ConfigError(
            f"There is no certificate {certificate}.",
            expected="the provider's TLS certificate",
            got="nothing",
            next_step="restore it from a backup",
        )
    return ProviderKeys(
        signer=load_signing_key(config.keys / "signing.pem", passphrase),
        recipient=load_recipient_key(config.keys / "recipient.pem", passphrase),
        tls_key=tls_key_pem(load_tls_key(config.keys / "tls.pem", passphrase)),
        tls_certificate=certificate.read_bytes(),
    )


class KeyringFile:
    """The newest keyring on the disk: a revocation counts from the next call on, without a restart."""

    def __init__(self, config: ProviderConfig, clock: Clock) -> None:
        """Read root and keyring; raises ``KeyringError``."""
        self._path = config.keyring
        self._clock = clock
        self._root: Root = load_root(config.root, now=clock())
        self._stamp: tuple[int, int, int] | None = None
        self._keyring = self._read(at_least=1)

    def current(self) -> Keyring:
        """The keyring as it is now; a version that went back is refused, and so is an expired one."""
        if self._stat() != self._stamp:
            self._keyring = self._read(at_least=self._keyring.version)
        if self._clock() >= self._keyring.expires_at:
            raise RefusedError(
                Answer.FAILED_PRECONDITION,
                "The provider's keyring has expired.",
                expected="a keyring that is valid now",
                got=f"one until {self._keyring.expires_at}",
                next_step="at the provider: llamdex-provider enrol HOME (renews the keyring)",
            )
        return self._keyring

    def _read(self, *, at_least: int) -> Keyring:
        stamp = self._stat()
        keyring = load_keyring(self._path, self._root, now=self._clock(), at_least=at_least)
        self._stamp = stamp
        return keyring

    def _stat(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise KeyringError(
                f"There is no keyring {self._path}.",
                expected="the signed keyring",
                got=error.strerror or "an error",
                next_step="at the provider: llamdex-provider init, or restore the file",
            ) from error
        return status.st_ino, status.st_mtime_ns, status.st_size
