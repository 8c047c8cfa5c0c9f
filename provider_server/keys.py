"""The keys that a running provider uses, and its view of the keyring, which is read again when the file changes.

::

    keys/signing.pem    keys/signing-2.pem      signing keys; the keyring says which one signs now
    keys/recipient.pem  keys/recipient-2.pem    recipient keys; each opens what was sealed for it, until it is removed
    keys/tls.pem        keys/tls-2.pem          TLS keys; the last one that has a certificate is shown:
    keys/tls-certificate.pem, tls-2-certificate.pem    (named -announced until it is to be shown)
    keys/ca.pem, ca-certificate.pem, ca-2.pem, ...     the CA, in the same way

A rotation (``provider_server.rotation``) adds files and renames whole ones, so a reader never sees half of one.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llamdex_fl.envelope import (
    Answer,
    Keyring,
    Passphrase,
    RecipientKey,
    RefusedError,
    Root,
    SigningKey,
    load_recipient_key,
    load_signing_key,
    load_tls_key,
    read_trust,
    require_certificate,
    tls_key_pem,
)
from llamdex_fl.envelope.root import distrusted
from llamdex_fl.errors import ConfigError, KeyringError
from provider_server.config import ProviderConfig
from provider_server.keyring_writer import require_unexpired, root_chain

__all__ = ["KeyringFile", "ProviderKeys", "TlsPair", "key_files", "load_ca", "load_provider_keys", "shown_pair"]


Clock = Callable[[], datetime]


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsPair:
    """A private key's file and its certificate's; ``number`` grows with each rotation."""

    number: int
    key: Path
    certificate: Path


def key_files(directory: Path, name: str, suffix: str = "") -> dict[int, Path]:
    """The files of one kind of key by their number: ``NAME.pem`` is 1, ``NAME-2.pem`` is 2."""
    pattern = re.compile(rf"{name}(?:-([2-9]|[1-9]\d+))?{suffix}\.pem")
    found = ((pattern.fullmatch(path.name), path) for path in directory.glob("*.pem"))
    return dict(sorted((int(match[1] or 1), path) for match, path in found if match))


def shown_pair(directory: Path, name: str) -> TlsPair:
    """The last key of a kind that has a certificate: what TLS shows, or the CA that signs.

    Raises:
        ConfigError: there is none.
    """
    keys, certificates = key_files(directory, name), key_files(directory, name, "-certificate")
    both = sorted(set(keys) & set(certificates))
    if not both:
        raise ConfigError(
            f"There is no certificate {directory / f'{name}-certificate.pem'} with its key.",
            expected=f"{name}.pem and {name}-certificate.pem, or numbered ones",
            got="nothing",
            next_step="restore it from a backup",
        )
    return TlsPair(number=both[-1], key=keys[both[-1]], certificate=certificates[both[-1]])


def load_ca(config: ProviderConfig, passphrase: Passphrase | None = None) -> tuple[bytes, Any]:
    """The CA that signs certificates now: its certificate (PEM) and its private key; raises ``ConfigError``."""
    pair = shown_pair(config.keys, "ca")
    return pair.certificate.read_bytes(), load_tls_key(pair.key, passphrase)


class ProviderKeys:
    """The private keys of a provider; none of them shows in a repr. ``reload`` takes what a rotation changed."""

    def __init__(self, config: ProviderConfig, passphrase: Passphrase | None = None) -> None:
        """Read the keys; raises ``ConfigError``."""
        self._directory = config.keys
        self._passphrase = passphrase
        self._lock = threading.Lock()
        self._tls_stamp: tuple[object, ...] = ()
        self._tls = (b"", b"")
        self.reload()
        self.tls_pair()

    def __repr__(self) -> str:
        """Name the directory only."""
        return f"ProviderKeys({self._directory})"

    def reload(self) -> None:
        """Read signing and recipient keys again; raises ``ConfigError``."""
        signers = [load_signing_key(path, self._passphrase) for path in key_files(self._directory, "signing").values()]
        recipients = [
            load_recipient_key(path, self._passphrase) for path in key_files(self._directory, "recipient").values()
        ]
        for name, found in (("signing", signers), ("recipient", recipients)):
            if not found:
                raise _missing(self._directory / f"{name}.pem", "no such key")
        self._signers = {key.public.keyid: key for key in signers}
        self._recipients = {key.public.keyid: key for key in recipients}

    def signer(self, keyring: Keyring) -> SigningKey:
        """The key that signs receipts and tree heads under this keyring; raises ``ConfigError``."""
        signer = self._signers.get(keyring.provider.key.keyid)
        if signer is None:
            raise _missing(self._directory / "signing.pem", "keys that the keyring does not name")
        return signer

    def recipient(self, keyid: str) -> RecipientKey:
        """The key that opens what was sealed for it.

        Raises:
            RefusedError: DATA_LOSS, it was retired; a new upload uses the present one.
        """
        recipient = self._recipients.get(keyid)
        if recipient is None:
            raise RefusedError(
                Answer.DATA_LOSS,
                "The key that this upload was sealed for was retired.",
                expected="a recipient key of the present keyring",
                got=keyid,
                next_step="begin a new upload",
            )
        return recipient

    def tls_pair(self) -> tuple[bytes, bytes]:
        """The TLS key (PEM, in memory only) and certificate that are shown now; read again when they change.

        Raises:
            CertificateError: the certificate is damaged or expired, or not this key's.
            ConfigError: one of the two is missing, or the key is not usable.
        """
        with self._lock:
            pair = shown_pair(self._directory, "tls")
            status = pair.certificate.stat()
            stamp = (pair.number, status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._tls_stamp:
                key, certificate = load_tls_key(pair.key, self._passphrase), pair.certificate.read_bytes()
                require_certificate(certificate, where=str(pair.certificate), now=datetime.now(UTC), key=key)
                self._tls, self._tls_stamp = (tls_key_pem(key), certificate), stamp
            return self._tls


def load_provider_keys(config: ProviderConfig, passphrase: Passphrase | None = None) -> ProviderKeys:
    """Read the keys of a provider's home; raises ``ConfigError``."""
    return ProviderKeys(config, passphrase)


class KeyringFile:
    """The newest keyring on the disk: a revocation counts from the next call on, without a restart."""

    def __init__(self, config: ProviderConfig, clock: Clock) -> None:
        """Read root and keyring; raises ``KeyringError``."""
        self._config = config
        self._path = config.keyring
        self._clock = clock
        self._stamp = self._stat()
        self._root, self._keyring = read_trust(config.home, now=None)
        require_unexpired(self._root, self._keyring, clock())

    @property
    def root(self) -> Root:
        """The root that signed the present keyring."""
        return self._root

    def current(self) -> Keyring:
        """The keyring as it is now; a version that went back is refused, and so is an expired one."""
        if self._stat() != self._stamp:
            self._read()
        now = self._clock()
        for what, expires_at, command in (
            ("keyring", self._keyring.expires_at, "enrol HOME (renews the keyring)"),
            ("root", self._root.expires_at, "rotate HOME root"),
        ):
            if now >= expires_at:
                raise RefusedError(
                    Answer.FAILED_PRECONDITION,
                    f"The provider's {what} has expired.",
                    expected=f"a {what} that is valid now",
                    got=f"one until {expires_at}",
                    next_step=f"at the provider: llamdex-provider {command}",
                )
        return self._keyring.at(now)

    def _read(self) -> None:
        stamp, now = self._stat(), self._clock()
        root, keyring = read_trust(self._config.home, now=now, at_least=self._keyring.version)
        if root.fingerprint() != self._root.fingerprint() and root.envelope is not None:
            # A root is followed from the one before, not taken because it lies there.
            followed = self._root.latest((*root_chain(self._config), root.envelope), now)
            if followed.fingerprint() != root.fingerprint():
                raise distrusted("a successor of the root that was read before", "another root")
        self._root, self._keyring, self._stamp = root, keyring, stamp

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


def _missing(path: Path, got: str) -> ConfigError:
    return ConfigError(
        f"There is no usable private key {path}.",
        expected="the key that the keyring names",
        got=got,
        next_step="restore it from a backup",
    )
