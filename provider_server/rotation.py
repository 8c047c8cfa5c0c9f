"""Rotation of every key of a provider, without downtime: new ones beside the old ones, then instead of them.

===========  =============================================  =========================  ===============================
what         ``rotate``                                     ``use``                    ``retire``
===========  =============================================  =========================  ===============================
recipient    new key first in the keyring; the old one      -                          the old one is removed, from
             still opens what was sealed for it                                        keyring and disk, and revoked
signing      new key signs; receipts of the old one verify  -                          the old private key is removed
tls          new key and certificate, announced in the      shown from the next        the old one is removed from
             keyring                                        connection on              keyring and disk, and revoked
ca           new CA, trusted beside the old one             signs; every certificate   the old one is trusted no more;
                                                            is made again              refused while a silo still shows
                                                                                       a certificate of it
root         new root, signed by the old one; it signs the  -                          the old private keys are
             keyring                                                                   removed from HOME/root
===========  =============================================  =========================  ===============================

``use`` and ``retire`` wait for people: silos fetch the keyring at their next upload, or with ``llamdex-silo update``.
A running provider takes each step by itself. Interrupted, each step may be given again.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from llamdex_fl.envelope import (
    EnrolmentReply,
    Keyring,
    Passphrase,
    RecipientKey,
    Root,
    SigningKey,
    generate_tls_key,
    is_encrypted,
    issue_ca,
    issue_provider,
    load_recipient_key,
    load_signing_key,
    load_tls_key,
    renew_silo,
    save_recipient_key,
    save_signing_key,
    save_tls_key,
    spki_digest,
    write_atomically,
)
from llamdex_fl.errors import InputError
from provider_server.keyring_writer import KeyringWriter, changing
from provider_server.keys import key_files, load_ca
from provider_server.retirement import Rotated, publish, refused, retire, waiting

__all__ = ["ROOT_LIFETIME", "Rotated", "retire", "rotate", "rotate_root", "use"]

ROOT_LIFETIME = timedelta(days=3650)


def rotate(
    home: Path, what: Rotated, *, root_keys: Path | None = None, passphrase: Passphrase | None = None
) -> Keyring:
    """Make a new key and name it in the next keyring; see the module's table.

    Args:
        home: the provider's directory.
        what: which key; ``root`` keeps its number of keys and its threshold, else see ``rotate_root``.
        root_keys: the directory of the root's private keys, if it was moved away from ``HOME/root``.
        passphrase: of the private keys; new ones are under it where the old ones are.

    Raises:
        InputError: the last rotation of this key has not been finished.
        ConfigError: keys are missing.
    """
    if what == "root":
        return rotate_root(home, root_keys=root_keys, passphrase=passphrase)
    with changing(home, root_keys=root_keys, passphrase=passphrase) as writer:
        steps = {"recipient": _new_recipient, "signing": _new_signing, "tls": _new_tls, "ca": _new_ca}
        publish(writer, steps[what](writer))
        return writer.keyring


def rotate_root(
    home: Path,
    *,
    count: int | None = None,
    threshold: int | None = None,
    root_keys: Path | None = None,
    passphrase: Passphrase | None = None,
) -> Keyring:
    """Make a new root of ``count`` keys, which the present root signs too, expired or not; it signs the next keyring.

    Raises:
        InputError: the numbers are not usable.
        ConfigError: the present root's keys are missing.
    """
    with changing(home, root_keys=root_keys, passphrase=passphrase, expired_root=True) as writer:
        count, threshold = count or len(writer.root.keys), threshold or writer.root.threshold
        if not 1 <= threshold <= count:
            raise InputError(
                "The root's threshold is not usable.",
                expected=f"1 to {count}",
                got=str(threshold),
                next_step="mend --root-threshold or --root-keys",
            )
        old_signers = writer.root_signers()
        version = writer.root.version + 1
        directory = writer.root_keys / f"version-{version}"
        keys = []
        for number in range(1, count + 1):
            path = directory / f"root-{number}.pem"
            if not path.exists():
                kept = passphrase if any(map(is_encrypted, writer.root_keys.rglob("*.pem"))) else None
                save_signing_key(path, SigningKey.generate(), kept)
            keys.append(load_signing_key(path, passphrase))
        root = Root(
            version=version,
            threshold=threshold,
            keys=tuple(key.public for key in keys),
            expires_at=writer.now + ROOT_LIFETIME,
        )
        envelope = root.signed([*old_signers, *keys])
        if writer.root.envelope is None:
            raise AssertionError("a root that was read has its envelope")
        writer.config.former_roots.mkdir(mode=0o700, exist_ok=True)
        former = writer.config.former_roots / f"{writer.root.version}.json"
        write_atomically(former, writer.root.envelope.to_json().encode())
        writer.root = writer.root.successor(envelope, writer.now)
        # Root and keyring change together. Killed before, the old root counts, and the new one's keys wait for the
        # next try.
        writer.publish(_next(writer))
        return writer.keyring


def use(home: Path, what: Rotated, *, root_keys: Path | None = None, passphrase: Passphrase | None = None) -> Keyring:
    """Let an announced TLS key be shown, or an announced CA sign; see the module's table.

    Raises:
        InputError: nothing was announced, or this key needs no such step.
    """
    with changing(home, root_keys=root_keys, passphrase=passphrase) as writer:
        config = writer.config
        announced = key_files(config.keys, what, "-announced") if what in {"tls", "ca"} else {}
        # One that silos were never told of would lock them out.
        if not announced or not _is_named(writer.keyring, what, _announced(writer, what) or b""):
            raise refused(f"a new {what} key that was announced", f"give first: llamdex-provider rotate HOME {what}")
        (number, path), *_ = reversed(announced.items())
        if what == "ca":
            # Before the CA is the one that signs: interrupted, the same command does it again.
            _reissue(writer, (path.read_bytes(), load_tls_key(key_files(config.keys, "ca")[number], passphrase)))
        path.rename(config.keys / f"{what}-{number}-certificate.pem")
        # Signed again, so that silos notice that there is something to fetch.
        writer.publish(_next(writer))
        return writer.keyring


def _unfinished(
    writer: KeyringWriter,
    name: str,
    known: set[str],
    load: Callable[[Path, Passphrase | None], RecipientKey | SigningKey],
) -> Path | None:
    """A key that an interrupted rotation made and no keyring names yet."""
    newest = list(key_files(writer.config.keys, name).values())[-1]
    return None if load(newest, writer.passphrase).public.keyid in known else newest


def _new_recipient(writer: KeyringWriter) -> Keyring:
    provider = writer.keyring.provider
    path = _unfinished(writer, "recipient", {key.keyid for key in provider.recipients}, load_recipient_key)
    if path is None:
        path = _next_path(writer, "recipient")
        save_recipient_key(path, RecipientKey.generate(), _kept(writer, "recipient"))
    key = load_recipient_key(path, writer.passphrase).public
    return replace(writer.keyring, provider=replace(provider, recipients=(key, *provider.recipients)))


def _new_signing(writer: KeyringWriter) -> Keyring:
    provider = writer.keyring.provider
    known = {key.keyid for key in (provider.key, *provider.former)}
    path = _unfinished(writer, "signing", known, load_signing_key)
    if path is None:
        path = _next_path(writer, "signing")
        save_signing_key(path, SigningKey.generate(), _kept(writer, "signing"))
    key = load_signing_key(path, writer.passphrase).public
    return replace(writer.keyring, provider=replace(provider, key=key, former=(provider.key, *provider.former)))


def _new_tls(writer: KeyringWriter) -> Keyring:
    config, provider = writer.config, writer.keyring.provider
    certificate = _announced(writer, "tls")
    if certificate is None:
        path = _next_path(writer, "tls")
        save_tls_key(path, generate_tls_key(), _kept(writer, "tls"))
        public = load_tls_key(path, writer.passphrase).public_key()
        ca = load_ca(config, writer.passphrase)
        certificate = issue_provider(config.trust_domain, config.provider, public, ca, writer.now)
        write_atomically(config.keys / f"{path.stem}-announced.pem", certificate)
    elif _is_named(writer.keyring, "tls", certificate):
        raise waiting("tls")
    return replace(writer.keyring, provider=replace(provider, spki=(*provider.spki, spki_digest(certificate))))


def _new_ca(writer: KeyringWriter) -> Keyring:
    config = writer.config
    certificate = _announced(writer, "ca")
    if certificate is None:
        path = _next_path(writer, "ca")
        save_tls_key(path, generate_tls_key(), _kept(writer, "ca"))
        certificate = issue_ca(config.trust_domain, load_tls_key(path, writer.passphrase), writer.now)
        write_atomically(config.keys / f"{path.stem}-announced.pem", certificate)
    elif _is_named(writer.keyring, "ca", certificate):
        raise waiting("ca")
    return replace(writer.keyring, ca=writer.keyring.ca + certificate.decode("ascii"))


def _announced(writer: KeyringWriter, name: str) -> bytes | None:
    """The certificate that waits to be used, PEM; one that no keyring names was left by a killed rotation."""
    waiting = list(key_files(writer.config.keys, name, "-announced").values())
    return waiting[-1].read_bytes() if waiting else None


def _is_named(keyring: Keyring, name: str, certificate: bytes) -> bool:
    return (
        spki_digest(certificate) in keyring.provider.spki
        if name == "tls"
        else certificate.decode("ascii") in keyring.ca
    )


def _reissue(writer: KeyringWriter, ca: tuple[bytes, Any]) -> None:
    """Make every certificate again with a CA, for the same keys: no pinned digest changes."""
    config = writer.config
    for suffix in ("-certificate", "-announced"):
        for number, path in key_files(config.keys, "tls", suffix).items():
            public = load_tls_key(key_files(config.keys, "tls")[number], writer.passphrase).public_key()
            write_atomically(path, issue_provider(config.trust_domain, config.provider, public, ca, writer.now))
    for path in sorted(config.replies.glob("*.json")):
        if path.stem in writer.keyring.silos:
            before = EnrolmentReply.from_json(path.read_text(encoding="utf-8")).certificate
            writer.reply(path.stem, renew_silo(config.trust_domain, path.stem, before, ca, writer.now))


def _next(writer: KeyringWriter) -> Keyring:
    return writer.keyring.with_silos({}, now=writer.now, expires_at=writer.expires_at)


def _next_path(writer: KeyringWriter, name: str) -> Path:
    return writer.config.keys / f"{name}-{max(key_files(writer.config.keys, name)) + 1}.pem"


def _kept(writer: KeyringWriter, name: str) -> Passphrase | None:
    """New keys are under a passphrase where the newest old one is."""
    newest = list(key_files(writer.config.keys, name).values())[-1]
    return writer.passphrase if is_encrypted(newest) else None
