"""A silo's private keys on its disk, in sets: the one that the keyring names is used.

::

    keys/signing.pem, tls.pem, tls-certificate.pem      the first set
    keys/2/...                                          the set after a rotation, and so on

Replacing the keyring's file, which is atomic, is what makes a silo change from one set to the next.
"""

from dataclasses import dataclass
from pathlib import Path

from llamdex_fl.envelope import (
    Passphrase,
    SigningKey,
    generate_tls_key,
    is_encrypted,
    load_signing_key,
    save_signing_key,
    save_tls_key,
)
from silo_client.config import SiloConfig

__all__ = ["KeySet", "key_sets", "make_key_set", "next_key_set"]


@dataclass(frozen=True, slots=True)
class KeySet:
    """The files of one set."""

    directory: Path

    @property
    def signing(self) -> Path:
        """The key for statements."""
        return self.directory / "signing.pem"

    @property
    def tls(self) -> Path:
        """The key for TLS."""
        return self.directory / "tls.pem"

    @property
    def certificate(self) -> Path:
        """The certificate of ``tls``; there once the provider enrolled the set."""
        return self.directory / "tls-certificate.pem"

    def signer(self, passphrase: Passphrase | None) -> SigningKey:
        """Read the key for statements; raises ``ConfigError``."""
        return load_signing_key(self.signing, passphrase)

    def remove(self) -> None:
        """Remove the private keys of a set that is used no more, the signing key last: it makes the set."""
        for path in (self.certificate, self.tls, self.signing):
            path.unlink(missing_ok=True)


def key_sets(config: SiloConfig) -> list[KeySet]:
    """The sets that are there, the newest first."""
    numbered = [path for path in config.keys.glob("*") if path.name.isdecimal()]
    sets = [config.keys, *sorted(numbered, key=lambda path: int(path.name))]
    return [KeySet(path) for path in reversed(sets) if KeySet(path).signing.exists()]


def make_key_set(key_set: KeySet, passphrase: Passphrase | None) -> KeySet:
    """Make the keys of a set that are not there yet."""
    # The signing key last: a set without it is none.
    if not key_set.tls.exists():
        save_tls_key(key_set.tls, generate_tls_key(), passphrase)
    if not key_set.signing.exists():
        save_signing_key(key_set.signing, SigningKey.generate(), passphrase)
    return key_set


def next_key_set(config: SiloConfig, passphrase: Passphrase | None) -> KeySet:
    """A set after the newest that is there; under a passphrase if that one is."""
    present = key_sets(config)
    if not present:
        return make_key_set(KeySet(config.keys), passphrase)
    newest = present[0]
    number = 1 if newest.directory == config.keys else int(newest.directory.name)
    kept = passphrase if is_encrypted(newest.signing) else None
    return make_key_set(KeySet(config.keys / str(number + 1)), kept)
