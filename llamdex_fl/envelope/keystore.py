"""Private keys on disk: PEM files that only their owner may read, refused otherwise.

A key of two halves is a file of two PEM blocks. An optional passphrase encrypts each block; it comes from a
callable, so that a program decides whether it is asked for, mounted or fetched, and it is called only where a file
is encrypted. Since PEM's own derivation (PBKDF2, 2048 rounds) is cheap to guess against, the PEM passphrase is what
scrypt makes of the person's, with the salt that stands in the file's first line.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from llamdex_fl.envelope.signing import SigningKey
from llamdex_fl.envelope.suite import RecipientKey
from llamdex_fl.errors import ConfigError

__all__ = [
    "Passphrase",
    "generate_tls_key",
    "is_encrypted",
    "load_recipient_key",
    "load_signing_key",
    "load_tls_key",
    "pem_passphrase",
    "save_recipient_key",
    "save_signing_key",
    "save_tls_key",
    "tls_key_pem",
    "write_atomically",
]

#: Gives the passphrase that protects private keys.
Passphrase = Callable[[], bytes]
#: OWASP's parameters for scrypt at 32 MiB; a quarter of a second on one core.
_SCRYPT = {"n": 1 << 15, "r": 8, "p": 3, "maxmem": 64 << 20, "dklen": 32}
_SALT = re.compile(rb"scrypt-32768-8-3 ([0-9a-f]{32})\n")
_ENCRYPTED = b"-----BEGIN ENCRYPTED"
_BLOCK = re.compile(rb"-----BEGIN [A-Z ]+-----\n.*?-----END [A-Z ]+-----\n", re.DOTALL)


def save_signing_key(path: Path, key: SigningKey, passphrase: Passphrase | None = None) -> None:
    """Write a signing key; an existing file is never overwritten."""
    _save(path, key.halves, passphrase)


def load_signing_key(path: Path, passphrase: Passphrase | None = None) -> SigningKey:
    """Read a signing key.

    Raises:
        ConfigError: the file is missing, others may read it, or it is not such a key.
    """
    ed25519, mldsa65 = _load(path, 2, passphrase)
    if not isinstance(ed25519, Ed25519PrivateKey) or not isinstance(mldsa65, MLDSA65PrivateKey):
        raise _not_a_key(path, "another kind of key")
    return SigningKey(ed25519, mldsa65)


def save_recipient_key(path: Path, key: RecipientKey, passphrase: Passphrase | None = None) -> None:
    """Write a recipient key; an existing file is never overwritten."""
    _save(path, key.halves, passphrase)


def load_recipient_key(path: Path, passphrase: Passphrase | None = None) -> RecipientKey:
    """Read a recipient key; raises as ``load_signing_key``."""
    mlkem768, x25519 = _load(path, 2, passphrase)
    if not isinstance(mlkem768, MLKEM768PrivateKey) or not isinstance(x25519, X25519PrivateKey):
        raise _not_a_key(path, "another kind of key")
    return RecipientKey(mlkem768, x25519)


def generate_tls_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key for TLS."""
    return ec.generate_private_key(ec.SECP256R1())


def save_tls_key(path: Path, key: ec.EllipticCurvePrivateKey, passphrase: Passphrase | None = None) -> None:
    """Write a TLS key; an existing file is never overwritten."""
    _save(path, (key,), passphrase)


def load_tls_key(path: Path, passphrase: Passphrase | None = None) -> ec.EllipticCurvePrivateKey:
    """Read a TLS key; raises as ``load_signing_key``."""
    (key,) = _load(path, 1, passphrase)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _not_a_key(path, "another kind of key")
    return key


def tls_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The TLS key in the form that grpc takes in memory; never write it to a disk."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def is_encrypted(path: Path) -> bool:
    """Whether a private key's file is under a passphrase; False where there is no such file."""
    return path.is_file() and _ENCRYPTED in path.read_bytes()


def pem_passphrase(path: Path, passphrase: Passphrase | None) -> bytes:
    """What opens the PEM blocks of a file; empty where they are not encrypted.

    Raises:
        ConfigError: they are, and there is no passphrase.
    """
    data = path.read_bytes()
    return (_pem_passphrase(path, data, passphrase) or b"") if _ENCRYPTED in data else b""


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file, whole or not at all, and durably."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        # A disk that is full must not be left with a part of the file besides.
        part.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _save(path: Path, halves: tuple[PrivateKeyTypes, ...], passphrase: Passphrase | None) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    encryption: KeySerializationEncryption = NoEncryption()
    data = b""
    if passphrase is not None:
        salt = os.urandom(16)
        data = b"scrypt-32768-8-3 %b\n" % salt.hex().encode()
        encryption = BestAvailableEncryption(_stretched(passphrase(), salt))
    data += b"".join(half.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption) for half in halves)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigError(
            f"There is a private key {path} already.",
            expected="no file, keys are never overwritten",
            got="a file",
            next_step="keep using it, or move it away first",
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _load(path: Path, count: int, passphrase: Passphrase | None) -> list[PrivateKeyTypes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise ConfigError(
            f"The private key {path} cannot be read.",
            expected="a file, not a link",
            got=error.strerror or "an error",
            next_step="mend the path, or enrol",
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        data = file.read(1 << 16)
    if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid not in {os.geteuid(), 0}:
        raise ConfigError(
            f"Others than its owner may read the private key {path}.",
            expected="mode 0600 and your own user",
            got=f"mode {stat.S_IMODE(status.st_mode):04o}, user {status.st_uid}",
            next_step=f"chmod 600 {path}, and enrol again with new keys if somebody may have read it",
        )
    blocks = _BLOCK.findall(data)
    secret = _pem_passphrase(path, data, passphrase)
    try:
        keys = [load_pem_private_key(block, secret) for block in blocks]
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's text is not repeated: it may speak of the key's content.
        raise _not_a_key(path, type(error).__name__) from None
    if len(keys) != count:
        raise _not_a_key(path, f"{len(keys)} PEM blocks")
    return keys


def _pem_passphrase(path: Path, data: bytes, passphrase: Passphrase | None) -> bytes | None:
    if _ENCRYPTED not in data:
        return None
    if passphrase is None:
        raise ConfigError(
            f"The private key {path} is under a passphrase.",
            expected="the passphrase",
            got="none",
            next_step="give --passphrase-file FILE, or set LLAMDEX_PASSPHRASE_FILE, or run on a terminal to be asked",
        )
    salt = _SALT.match(data)
    return passphrase() if salt is None else _stretched(passphrase(), bytes.fromhex(salt[1].decode()))


def _stretched(passphrase: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(passphrase, salt=salt, **_SCRYPT).hex().encode()


def _not_a_key(path: Path, got: str) -> ConfigError:
    return ConfigError(
        f"{path} does not hold the private key it should.",
        expected="the PEM blocks that were written at enrolment, and the right passphrase if one was set",
        got=got,
        next_step="restore the file or the passphrase, or enrol again",
    )
