"""A silo's side of enrolment, and the identity that it has afterwards.

Order: ``make_keys`` writes private keys and a request; people carry the request to the provider and the reply back,
and compare the root's fingerprint by another way; ``join`` believes the reply because of that fingerprint only.
A later reply is taken if its keyring is not older than the one that is there.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from llamdex_fl.envelope import (
    EnrolmentReply,
    EnrolmentRequest,
    Keyring,
    Passphrase,
    RefusedError,
    Root,
    SigningKey,
    certificate_request,
    generate_tls_key,
    load_keyring,
    load_root,
    load_signing_key,
    load_tls_key,
    read_keyring,
    read_root,
    save_signing_key,
    save_tls_key,
    spki_digest,
    tls_key_pem,
    write_atomically,
)
from llamdex_fl.errors import ConfigError, KeyringError
from silo_client.config import SiloConfig, load_silo_config

__all__ = ["SiloIdentity", "join", "load_identity", "make_keys"]

_REPLY_LIMIT = 32 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SiloIdentity:
    """What a silo shows and believes: its keys, its certificate, and the keyring.

    Attributes:
        signer: for statements.
        tls_key: PEM, in memory only; it does not show in the repr.
        tls_certificate: PEM.
        tls: the same for Python's own TLS, which trusts the consortium's CA only.
        keyring: verified.
    """

    signer: SigningKey
    tls_key: bytes
    tls_certificate: bytes
    tls: ssl.SSLContext
    keyring: Keyring

    def __repr__(self) -> str:
        """Name the key only."""
        return f"SiloIdentity({self.signer!r})"


def make_keys(home: Path, passphrase: Passphrase | None = None) -> Path:
    """Make a silo's private keys and its enrolment request; keys that are there are kept.

    Returns:
        ``HOME/enrolment-request.json``, which is not secret.

    Raises:
        ConfigError: the directory is not a silo's, or its keys are not usable.
    """
    config = load_silo_config(home)
    signing, tls = config.keys / "signing.pem", config.keys / "tls.pem"
    if not signing.exists():
        save_signing_key(signing, SigningKey.generate(), passphrase)
    if not tls.exists():
        save_tls_key(tls, generate_tls_key(), passphrase)
    signer, tls_key = load_signing_key(signing, passphrase), load_tls_key(tls, passphrase)
    request = EnrolmentRequest(silo=config.silo, key=signer.public, csr=certificate_request(config.silo, tls_key))
    path = config.home / "enrolment-request.json"
    write_atomically(path, request.signed(signer).encode())
    return path


def join(home: Path, reply: Path, root_fingerprint: str, passphrase: Passphrase | None = None) -> Keyring:
    """Take the provider's reply: the root, the keyring, and this silo's certificate.

    Args:
        home: the silo's directory.
        reply: the file that the provider made for this silo.
        root_fingerprint: hex, as it was told by another way than the reply came.
        passphrase: of the private keys.

    Raises:
        KeyringError: the root, the keyring or the certificate is not what it must be; nothing is changed then.
        ConfigError: the silo has no keys, or the reply cannot be read.
    """
    config, now = load_silo_config(home), _now()
    signer = load_signing_key(config.keys / "signing.pem", passphrase)
    answer = _read_reply(reply)
    root = _trusted_root(config, answer, root_fingerprint, now)
    at_least = 1
    if config.keyring.exists():
        # The version that was seen last, expired or not: a rollback is a rollback.
        at_least = load_keyring(config.keyring, _stored_root(config), now=datetime.min.replace(tzinfo=UTC)).version
    keyring = read_keyring(answer.keyring, root, now=now, at_least=at_least)
    _require_member(config, keyring, signer, answer.certificate, now)
    write_atomically(config.home / "root.json", answer.root.to_json().encode())
    write_atomically(config.keys / "tls-certificate.pem", answer.certificate)
    write_atomically(config.keyring, answer.keyring.to_json().encode())
    return keyring


def load_identity(config: SiloConfig, passphrase: Passphrase | None = None) -> SiloIdentity:
    """A silo's keys and keyring, verified.

    Raises:
        ConfigError: the silo has not joined, or a key is not usable.
        KeyringError: the keyring must not be trusted, or speaks of another provider.
    """
    certificate = config.keys / "tls-certificate.pem"
    if not certificate.is_file() or not config.keyring.is_file():
        raise ConfigError(
            f"The silo {config.silo} has not joined a consortium.",
            expected=f"{certificate} and {config.keyring}",
            got="nothing",
            next_step="llamdex-silo keys HOME, then llamdex-silo join HOME REPLY.json --root-fingerprint HEX",
        )
    now = _now()
    keyring = load_keyring(config.keyring, load_root(config.home / "root.json", now=now), now=now)
    if keyring.provider.provider != config.provider:
        raise KeyringError(
            "The keyring is of another provider than the configuration.",
            expected=config.provider,
            got=keyring.provider.provider,
            next_step="mend the key provider in silo.toml, or join the right consortium",
        )
    identity = SiloIdentity(
        signer=load_signing_key(config.keys / "signing.pem", passphrase),
        tls_key=tls_key_pem(load_tls_key(config.keys / "tls.pem", passphrase)),
        tls_certificate=certificate.read_bytes(),
        tls=_tls_context(keyring, certificate, config.keys / "tls.pem", passphrase),
        keyring=keyring,
    )
    _require_member(config, keyring, identity.signer, identity.tls_certificate, now)
    return identity


def _tls_context(keyring: Keyring, certificate: Path, key: Path, passphrase: Passphrase | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=keyring.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        # A text of no characters for no passphrase: None would make OpenSSL ask on the terminal.
        context.load_cert_chain(certificate, key, password="" if passphrase is None else passphrase())
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"The silo's certificate {certificate} does not belong to its key.",
            expected="the certificate that the provider made for this key",
            got=type(error).__name__,
            next_step="join again with the provider's newest reply",
        ) from error
    return context


def _trusted_root(config: SiloConfig, answer: EnrolmentReply, fingerprint: str, now: datetime) -> Root:
    root = read_root(answer.root, now=now, fingerprint=fingerprint)
    if not (config.home / "root.json").exists():
        return root
    stored = _stored_root(config)
    if stored.fingerprint() == root.fingerprint():
        return root
    return stored.successor(answer.root, now)


def _stored_root(config: SiloConfig) -> Root:
    # Pinned before; only its keys matter here, so an expired one still says which version was seen.
    return load_root(config.home / "root.json", now=datetime.min.replace(tzinfo=UTC))


def _read_reply(path: Path) -> EnrolmentReply:
    try:
        if path.stat().st_size <= _REPLY_LIMIT:
            return EnrolmentReply.from_json(path.read_text(encoding="utf-8"))
        got = "a larger file"
    except (OSError, UnicodeDecodeError, RefusedError) as error:
        got = type(error).__name__
    raise ConfigError(
        f"The reply {path} cannot be read.",
        expected="the file that llamdex-provider enrol made for this silo",
        got=got,
        next_step="get it again from the provider",
    )


def _require_member(
    config: SiloConfig, keyring: Keyring, signer: SigningKey, certificate: bytes, now: datetime
) -> None:
    try:
        member = keyring.member(config.silo)
        spki = spki_digest(certificate)
    except RefusedError as error:
        raise _not_ours(config, error.problem) from error
    if member.key != signer.public or member.spki != spki:
        raise _not_ours(config, f"keys of somebody else, at {now}")


def _not_ours(config: SiloConfig, got: str) -> KeyringError:
    return KeyringError(
        f"The keyring does not have this silo's keys as {config.silo}.",
        expected="the keys that were made here",
        got=got,
        next_step="send HOME/enrolment-request.json to the provider again",
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
