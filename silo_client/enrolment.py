"""A silo's side of enrolment, and the identity that it has afterwards.

With an invitation: ``request_by_invitation`` makes keys if there are none and a request that is bound to the
invitation; people, or a mail, carry it to the provider; ``finish`` takes the reply, which is believed because of the
root's fingerprint in the invitation. Without one: ``make_keys``, and ``join`` with a fingerprint that people
compared. A later reply is taken if its keyring is not older than the one that is there, and its root is the pinned
one or a successor. ``rotate_keys`` makes new keys and a request that the present keys sign too.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llamdex_fl.envelope import (
    EnrolmentReply,
    EnrolmentRequest,
    Invitation,
    Keyring,
    Passphrase,
    RefusedError,
    SigningKey,
    certificate_request,
    changing_trust,
    load_tls_key,
    pem_passphrase,
    read_keyring,
    read_trust,
    request_is_for,
    spki_digest,
    tls_key_pem,
    write_atomically,
    write_trust,
)
from llamdex_fl.errors import ConfigError, KeyringError
from silo_client.config import SiloConfig, load_silo_config
from silo_client.keys import KeySet, key_sets, make_key_set, next_key_set
from silo_client.pinning import root_path, stored_keyring, trusted_root

__all__ = [
    "SiloIdentity",
    "finish",
    "join",
    "load_identity",
    "make_keys",
    "read_reply_file",
    "request_by_invitation",
    "rotate_keys",
    "take",
]

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
        expires_at: when the root or the keyring expires, whichever is first.
    """

    signer: SigningKey
    tls_key: bytes
    tls_certificate: bytes
    tls: ssl.SSLContext
    keyring: Keyring
    expires_at: datetime

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
    present = key_sets(config)
    keys = present[0] if present else KeySet(config.keys)
    return _request(config, make_key_set(keys, passphrase), passphrase)


def request_by_invitation(
    home: Path, invitation: Invitation, passphrase: Passphrase | None = None, *, new_keys: bool = False
) -> Path:
    """Make keys if there are none, and an enrolment request that is bound to an invitation.

    Args:
        home: the silo's directory.
        invitation: the provider's, for this silo; it is kept until ``finish``.
        passphrase: of the private keys.
        new_keys: make new keys even if there are some, for example after they were revoked.

    Returns:
        ``HOME/enrolment-request.json``, which is not secret.

    Raises:
        InvitationError: the invitation has expired, or is another silo's or provider's.
        ConfigError: the directory is not a silo's, or its keys are not usable.
    """
    config = load_silo_config(home)
    invitation.require_usable(silo=config.silo, provider=config.provider, now=_now())
    present = key_sets(config)
    # The same invitation again goes on with the keys that it made, whatever ``new_keys`` says.
    again = _kept_invitation(config) == invitation
    if present and (not new_keys or again):
        keys = make_key_set(present[0], passphrase)
    else:
        keys = next_key_set(config, passphrase)
    write_atomically(_invitation_path(config), invitation.to_json().encode(), mode=0o600)
    return _request(config, keys, passphrase, invitation=invitation)


def finish(home: Path, answer: EnrolmentReply, passphrase: Passphrase | None = None) -> Keyring:
    """Take the provider's reply to a request that was made by invitation.

    Raises:
        KeyringError: the root, the keyring or the certificate is not what it must be; nothing is changed then.
        ConfigError: this silo has no invitation and has not joined before.
    """
    config = load_silo_config(home)
    invitation = _kept_invitation(config)
    if invitation is None and not root_path(config).exists():
        raise ConfigError(
            "This silo does not know which root to believe.",
            expected="the invitation that was taken before, or a root from an earlier enrolment",
            got="neither",
            next_step="first llamdex-silo enrol HOME INVITATION, or llamdex-silo join with the root's fingerprint",
        )
    pinned = root_path(config).exists()
    keyring = take(config, answer, None if pinned or invitation is None else invitation.root_fingerprint, passphrase)
    # It holds a secret, and is of no use any more.
    _invitation_path(config).unlink(missing_ok=True)
    return keyring


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
    return take(load_silo_config(home), read_reply_file(reply), root_fingerprint, passphrase)


def rotate_keys(home: Path, passphrase: Passphrase | None = None) -> Path:
    """Make new keys, and a request for them that the present keys sign too; the present ones go on being used.

    Returns:
        ``HOME/enrolment-request.json``, which is not secret.

    Raises:
        ConfigError, KeyringError: the silo has not joined, or its keys or keyring are not usable.
    """
    config = load_silo_config(home)
    present = _present_set(config, stored_keyring(config), passphrase)
    # One that was made before and is not enrolled yet is used again.
    newest = key_sets(config)[0]
    keys = next_key_set(config, passphrase) if newest == present else make_key_set(newest, passphrase)
    return _request(config, keys, passphrase, former=present.signer(passphrase))


def take(
    config: SiloConfig, answer: EnrolmentReply, fingerprint: str | None = None, passphrase: Passphrase | None = None
) -> Keyring:
    """Believe a reply as far as root and keyring allow, and use what is in it from now on.

    Args:
        config: the silo's.
        answer: from the provider, by whatever way.
        fingerprint: of a root, as people compared it; None where a root was pinned before.
        passphrase: of the private keys.

    Raises:
        KeyringError: the root, the keyring or the certificate is not what it must be; nothing is changed then.
        ConfigError: the silo has no keys.
    """
    now = _now()
    with changing_trust(config.home):
        root = trusted_root(config, answer, fingerprint, now)
        at_least = stored_keyring(config).version if config.keyring.exists() else 1
        keyring = read_keyring(answer.keyring, root, now=now, at_least=at_least)
        keys = _present_set(config, keyring, passphrase)
        certificate = answer.certificate or keys.certificate.read_bytes()
        _require_member(config, keyring, keys.signer(passphrase), certificate)
        # Before the keyring: it fits the old one too, or is of a key set that only the new one names.
        write_atomically(keys.certificate, certificate)
        write_trust(config.home, root.envelope or answer.root, answer.keyring)
        # Older sets only: a newer one waits for its own enrolment.
        sets = key_sets(config)
        for older in sets[sets.index(keys) + 1 :]:
            older.remove()
    return keyring


def load_identity(config: SiloConfig, passphrase: Passphrase | None = None, *, expired: bool = False) -> SiloIdentity:
    """A silo's keys and keyring, verified.

    Args:
        config: the silo's.
        passphrase: of the private keys.
        expired: take an expired root or keyring too, to ask the provider for the next, and for nothing else.

    Raises:
        ConfigError: the silo has not joined, or a key is not usable.
        KeyringError: the keyring must not be trusted, or speaks of another provider.
    """
    if not config.keyring.is_file() or not any(keys.certificate.is_file() for keys in key_sets(config)):
        raise ConfigError(
            f"The silo {config.silo} has not joined a consortium.",
            expected=f"a certificate in {config.keys}, and {config.keyring}",
            got="nothing",
            next_step="llamdex-silo enrol HOME INVITATION, and then llamdex-silo enrol HOME REPLY.json",
        )
    root, keyring = read_trust(config.home, now=None if expired else _now())
    if keyring.provider.provider != config.provider:
        raise KeyringError(
            "The keyring is of another provider than the configuration.",
            expected=config.provider,
            got=keyring.provider.provider,
            next_step="mend the key provider in silo.toml, or join the right consortium",
        )
    keys = _present_set(config, keyring, passphrase)
    identity = SiloIdentity(
        signer=keys.signer(passphrase),
        tls_key=tls_key_pem(load_tls_key(keys.tls, passphrase)),
        tls_certificate=keys.certificate.read_bytes(),
        tls=_tls_context(keyring, keys, passphrase),
        keyring=keyring,
        expires_at=min(root.expires_at, keyring.expires_at),
    )
    _require_member(config, keyring, identity.signer, identity.tls_certificate)
    return identity


def _request(
    config: SiloConfig,
    keys: KeySet,
    passphrase: Passphrase | None,
    *,
    former: SigningKey | None = None,
    invitation: Invitation | None = None,
) -> Path:
    signer, tls_key = keys.signer(passphrase), load_tls_key(keys.tls, passphrase)
    path = config.home / "enrolment-request.json"
    request = EnrolmentRequest(silo=config.silo, key=signer.public, csr=_csr(config, path, signer, tls_key))
    text = request.signed(signer, former=former, invitation_key=None if invitation is None else invitation.key)
    write_atomically(path, text.encode())
    return path


def _csr(config: SiloConfig, path: Path, signer: SigningKey, tls_key: Any) -> bytes:  # noqa: ANN401 - cryptography's
    """The signing request that stands in the request already, if it is for these keys: the same asks again the same.

    ECDSA is randomised: a second one would make another request of what is the same, and an invitation is for one.
    """
    try:
        before = EnrolmentRequest.verified(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RefusedError):
        return certificate_request(config.silo, tls_key)
    same = before.silo == config.silo and before.key == signer.public and request_is_for(before.csr, tls_key)
    return before.csr if same else certificate_request(config.silo, tls_key)


def _tls_context(keyring: Keyring, keys: KeySet, passphrase: Passphrase | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=keyring.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        # A text of no characters for no passphrase: None would make OpenSSL ask on the terminal.
        context.load_cert_chain(keys.certificate, keys.tls, password=pem_passphrase(keys.tls, passphrase))
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"The silo's certificate {keys.certificate} does not belong to its key.",
            expected="the certificate that the provider made for this key",
            got=type(error).__name__,
            next_step="join again with the provider's newest reply",
        ) from error
    return context


def _invitation_path(config: SiloConfig) -> Path:
    return config.home / "invitation.json"


def _kept_invitation(config: SiloConfig) -> Invitation | None:
    path = _invitation_path(config)
    return Invitation.from_json(path.read_text(encoding="utf-8")) if path.exists() else None


def read_reply_file(path: Path) -> EnrolmentReply:
    """A provider's reply; nothing in it is believed yet. Raises ``ConfigError``."""
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


def _present_set(config: SiloConfig, keyring: Keyring, passphrase: Passphrase | None) -> KeySet:
    """The key set that the keyring names as this silo's."""
    sets = key_sets(config)
    if not sets:
        raise ConfigError(
            f"The silo {config.silo} has no keys.",
            expected=f"private keys in {config.keys}",
            got="none",
            next_step="llamdex-silo enrol HOME INVITATION",
        )
    try:
        key = keyring.member(config.silo).key
    except RefusedError as error:
        raise _not_ours(config, error.problem) from error
    for keys in sets:
        if keys.signer(passphrase).public == key:
            return keys
    raise _not_ours(config, "keys of somebody else")


def _require_member(config: SiloConfig, keyring: Keyring, signer: SigningKey, certificate: bytes) -> None:
    try:
        member = keyring.member(config.silo)
        spki = spki_digest(certificate)
    except RefusedError as error:
        raise _not_ours(config, error.problem) from error
    if member.key != signer.public or member.spki != spki:
        raise _not_ours(config, "keys of somebody else")


def _not_ours(config: SiloConfig, got: str) -> KeyringError:
    return KeyringError(
        f"The keyring does not have this silo's keys as {config.silo}.",
        expected="the keys that were made here",
        got=got,
        next_step="ask the provider for an invitation, and take it with: llamdex-silo enrol HOME INVITATION --new-keys",
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
