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
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

from llamdex_fl.envelope import (
    EnrolmentReply,
    Keyring,
    Passphrase,
    RecipientKey,
    RefusedError,
    Root,
    SigningKey,
    ca_digests,
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
from llamdex_fl.envelope.canonical import timestamp
from llamdex_fl.errors import InputError
from provider_server.keyring_writer import KeyringWriter, changing
from provider_server.keys import key_files, load_ca, shown_pair
from provider_server.registry import Registry

__all__ = ["ROOT_LIFETIME", "Rotated", "retire", "rotate", "rotate_root", "use"]

ROOT_LIFETIME = timedelta(days=3650)
Rotated = Literal["recipient", "signing", "tls", "ca", "root"]


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
        _publish(writer, steps[what](writer))
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
        if not announced:
            raise _refused(f"a new {what} key that was announced", f"give first: llamdex-provider rotate HOME {what}")
        (number, path), *_ = reversed(announced.items())
        if what == "ca":
            # Before the CA is the one that signs: interrupted, the same command does it again.
            _reissue(writer, (path.read_bytes(), load_tls_key(key_files(config.keys, "ca")[number], passphrase)))
        path.rename(config.keys / f"{what}-{number}-certificate.pem")
        # Signed again, so that silos notice that there is something to fetch.
        writer.publish(_next(writer))
        return writer.keyring


def retire(
    home: Path,
    what: Rotated,
    *,
    root_keys: Path | None = None,
    passphrase: Passphrase | None = None,
    force: bool = False,
) -> Keyring:
    """End the keys before the present one; see the module's table.

    Args:
        home: the provider's directory.
        what: which key.
        root_keys: the directory of the root's private keys, if it was moved away from ``HOME/root``.
        passphrase: of the private keys.
        force: retire a CA even if silos have not shown a certificate of the new one; they then need their reply by
            file.

    Raises:
        InputError: there are none, they are still needed, or ``use`` was not given yet.
    """
    with changing(home, root_keys=root_keys, passphrase=passphrase) as writer:
        steps: dict[str, Callable[[KeyringWriter], list[Path]]] = {
            "recipient": _end_recipients,
            "signing": _end_signing,
            "tls": _end_tls,
            "ca": partial(_end_cas, force=force),
            "root": _end_roots,
        }
        ended = steps[what](writer)
        if not ended:
            raise _refused(f"a {what} key before the present one", f"give first: llamdex-provider rotate HOME {what}")
        # From the disk last: until the keyring is out, the old keys are good.
        for path in ended:
            path.unlink(missing_ok=True)
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
    _require_finished(writer, "tls")
    path = _next_path(writer, "tls")
    save_tls_key(path, generate_tls_key(), _kept(writer, "tls"))
    public = load_tls_key(path, writer.passphrase).public_key()
    ca = load_ca(config, writer.passphrase)
    certificate = issue_provider(config.trust_domain, config.provider, public, ca, writer.now)
    write_atomically(config.keys / f"{path.stem}-announced.pem", certificate)
    return replace(writer.keyring, provider=replace(provider, spki=(*provider.spki, spki_digest(certificate))))


def _new_ca(writer: KeyringWriter) -> Keyring:
    config = writer.config
    _require_finished(writer, "ca")
    path = _next_path(writer, "ca")
    save_tls_key(path, generate_tls_key(), _kept(writer, "ca"))
    certificate = issue_ca(config.trust_domain, load_tls_key(path, writer.passphrase), writer.now)
    write_atomically(config.keys / f"{path.stem}-announced.pem", certificate)
    return replace(writer.keyring, ca=writer.keyring.ca + certificate.decode("ascii"))


def _end_recipients(writer: KeyringWriter) -> list[Path]:
    present, *old = writer.keyring.provider.recipients
    if old and writer.config.registry.exists():
        with Registry(writer.config.registry) as registry:
            waiting = registry.uploads.count_for(tuple(key.keyid for key in old), datetime.now(UTC))
        if waiting:
            raise InputError(
                "The old recipient key is still needed.",
                expected="no upload under way that was sealed for it",
                got=f"{waiting}",
                next_step="wait until they have arrived or expired, an hour at most by default",
            )
    if not old:
        return []
    keyring = writer.keyring.with_revoked([key.keyid for key in old], now=writer.now, expires_at=writer.expires_at)
    writer.publish(replace(keyring, provider=replace(keyring.provider, recipients=(present,))))
    return [
        path
        for path in key_files(writer.config.keys, "recipient").values()
        if load_recipient_key(path, writer.passphrase).public != present
    ]


def _end_signing(writer: KeyringWriter) -> list[Path]:
    # The old public keys stay in the keyring, for the receipts that they signed.
    return [
        path
        for path in key_files(writer.config.keys, "signing").values()
        if load_signing_key(path, writer.passphrase).public != writer.keyring.provider.key
    ]


def _end_tls(writer: KeyringWriter) -> list[Path]:
    _require_finished(writer, "tls")
    shown = shown_pair(writer.config.keys, "tls")
    digest = spki_digest(shown.certificate.read_bytes())
    old = [other for other in writer.keyring.provider.spki if other != digest]
    if old:
        keyring = writer.keyring.with_revoked(old, now=writer.now, expires_at=writer.expires_at)
        writer.publish(replace(keyring, provider=replace(keyring.provider, spki=(digest,))))
    return _older_files(writer, "tls", shown.number)


def _end_cas(writer: KeyringWriter, *, force: bool) -> list[Path]:
    _require_finished(writer, "ca")
    shown = shown_pair(writer.config.keys, "ca")
    certificate = shown.certificate.read_text(encoding="ascii")
    if writer.keyring.ca != certificate:
        behind = [] if force else _behind(writer, *ca_digests(certificate.encode()))
        if behind:
            raise InputError(
                f"{len(behind)} of the silos have not shown a certificate of the new CA: they would be locked out.",
                expected="every silo that is not revoked was seen with a certificate of the new CA",
                got="; ".join(behind),
                next_step="at each of them: llamdex-silo update HOME. Or give --force: what they lack is then brought "
                "by file, HOME/replies/SILO.json",
            )
        _publish(writer, replace(writer.keyring, ca=certificate))
    return _older_files(writer, "ca", shown.number)


def _behind(writer: KeyringWriter, present: str) -> list[str]:
    """Silos whose certificate is not known to be of the present CA, and what is known."""
    seen = {}
    if writer.config.registry.exists():
        with Registry(writer.config.registry) as registry:
            seen = registry.sightings.all()
    behind = []
    for silo in sorted(writer.keyring.silos):
        with suppress(RefusedError):
            writer.keyring.member(silo)
            if silo not in seen:
                behind.append(f"{silo} (never seen)")
            elif seen[silo].ca != present:
                behind.append(f"{silo} (seen with one of an older CA since {timestamp(seen[silo].since)})")
    return behind


def _end_roots(writer: KeyringWriter) -> list[Path]:
    present = {key.keyid for key in writer.root.keys}
    return [
        path
        for path in sorted(writer.root_keys.rglob("*.pem"))
        if load_signing_key(path, writer.passphrase).public.keyid not in present
    ]


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


def _publish(writer: KeyringWriter, changed: Keyring) -> None:
    writer.publish(changed.with_silos({}, now=writer.now, expires_at=writer.expires_at))


def _next_path(writer: KeyringWriter, name: str) -> Path:
    return writer.config.keys / f"{name}-{max(key_files(writer.config.keys, name)) + 1}.pem"


def _kept(writer: KeyringWriter, name: str) -> Passphrase | None:
    """New keys are under a passphrase where the newest old one is."""
    newest = list(key_files(writer.config.keys, name).values())[-1]
    return writer.passphrase if is_encrypted(newest) else None


def _older_files(writer: KeyringWriter, name: str, number: int) -> list[Path]:
    directory = writer.config.keys
    return [
        path
        for suffix in ("-certificate", "")
        for other, path in key_files(directory, name, suffix).items()
        if other < number
    ]


def _require_finished(writer: KeyringWriter, name: str) -> None:
    if key_files(writer.config.keys, name, "-announced"):
        raise _refused(f"no {name} key that waits to be used", f"give first: llamdex-provider rotate HOME {name} --use")


def _refused(expected: str, next_step: str) -> InputError:
    return InputError(
        "This step of a rotation cannot be taken now.", expected=expected, got="none", next_step=next_step
    )
