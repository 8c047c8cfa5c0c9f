"""The last step of a rotation: the keys before the present one end. See the table of ``provider_server.rotation``."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from llamdex_fl.envelope import (
    Keyring,
    Passphrase,
    RefusedError,
    ca_digests,
    load_recipient_key,
    load_signing_key,
    spki_digest,
)
from llamdex_fl.envelope.canonical import timestamp
from llamdex_fl.errors import InputError
from provider_server.keyring_writer import KeyringWriter, changing
from provider_server.keys import key_files, shown_pair
from provider_server.registry import Registry

__all__ = ["Rotated", "publish", "refused", "retire", "waiting"]

Rotated = Literal["recipient", "signing", "tls", "ca", "root"]
#: Ends keys in the keyring, and names their files.
_Step = Callable[[KeyringWriter], list[Path]]


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
        steps: dict[str, _Step] = {
            "recipient": _end_recipients,
            "signing": _end_signing,
            "tls": _end_tls,
            "ca": partial(_end_cas, force=force),
            "root": _end_roots,
        }
        ended = steps[what](writer)
        if not ended:
            raise refused(f"a {what} key before the present one", f"give first: llamdex-provider rotate HOME {what}")
        # From the disk last: until the keyring is out, the old keys are good.
        for path in ended:
            path.unlink(missing_ok=True)
        return writer.keyring


def publish(writer: KeyringWriter, changed: Keyring) -> None:
    """Sign a changed keyring as the next version, and put it in the place of the present one."""
    writer.publish(changed.with_silos({}, now=writer.now, expires_at=writer.expires_at))


def refused(expected: str, next_step: str) -> InputError:
    """The error for a step that is not the next one."""
    return InputError(
        "This step of a rotation cannot be taken now.", expected=expected, got="none", next_step=next_step
    )


def waiting(name: str) -> InputError:
    """The error for a step that must wait until the announced key is in use."""
    return refused(f"no {name} key that waits to be used", f"give first: llamdex-provider rotate HOME {name} --use")


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
        publish(writer, replace(writer.keyring, ca=certificate))
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
        raise waiting(name)
