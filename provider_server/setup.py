"""Make a provider's home: the root's keys, then the CA and the provider's own keys, then a keyring without silos.

Who takes part is ``provider_server.membership``'s.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from llamdex_fl.envelope import (
    Keyring,
    Passphrase,
    ProviderEntry,
    RecipientKey,
    Root,
    SigningKey,
    generate_tls_key,
    issue_ca,
    issue_provider,
    read_keyring,
    read_root,
    read_trust,
    save_recipient_key,
    save_signing_key,
    save_tls_key,
    spki_digest,
    write_atomically,
)
from llamdex_fl.errors import ConfigError
from llamdex_fl.schema import Schema
from provider_server.config import ProviderConfig, load_provider_config
from provider_server.keyring_writer import KEYRING_LIFETIME, moment
from provider_server.membership import enrol, revoke

__all__ = ["add_schema", "enrol", "init_provider", "revoke", "root_fingerprint"]

_ROOT_LIFETIME = timedelta(days=3650)


def init_provider(  # noqa: PLR0913 - each is a line of provider.toml or of the root
    home: Path,
    *,
    provider: str,
    trust_domain: str,
    address: str,
    root_keys: int = 1,
    root_threshold: int = 1,
    passphrase: Passphrase | None = None,
) -> str:
    """Make a provider's directory.

    Args:
        home: the directory; it must not be a provider's already.
        provider: the provider's id.
        trust_domain: the consortium's name, of the form of a DNS name.
        address: ``host:port`` of the upload service; port 0 takes a free one.
        root_keys: how many root keys to make.
        root_threshold: how many of them must sign.
        passphrase: protects the private keys, if given.

    Returns:
        The root's fingerprint (hex), which silos must compare by another way than the network.

    Raises:
        ConfigError: there is a provider already, or a value is not usable.
    """
    if (home / "provider.toml").exists() or (home / "keys").exists():
        raise ConfigError(
            f"{home} is a provider's directory already.",
            expected="a new or empty directory",
            got="keys or a configuration",
            next_step="use it as it is, or choose another directory",
        )
    if not 1 <= root_threshold <= root_keys:
        raise ConfigError(
            "The root's threshold is not usable.",
            expected=f"1 to {root_keys}",
            got=str(root_threshold),
            next_step="mend --root-threshold or --root-keys",
        )
    made = not home.exists()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = {"provider": provider, "trust_domain": trust_domain, "address": address}
    # Beside, and moved into place when all of it is there: an interrupted start leaves no provider.
    unfinished = home / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(mode=0o700)
        fingerprint = _make_home(unfinished, lines, root_keys, root_threshold, passphrase)
        # provider.toml last: with it the directory is a provider's.
        for path in sorted(unfinished.iterdir(), key=lambda path: path.name == "provider.toml"):
            path.rename(home / path.name)
    except ConfigError as error:
        raise ConfigError(
            "These values make no provider; nothing was written.",
            expected=error.expected,
            got=error.got,
            next_step="mend the option of llamdex-provider init",
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if made and not any(home.iterdir()):
            home.rmdir()
    return fingerprint


def _make_home(
    home: Path, lines: Mapping[str, str], root_keys: int, root_threshold: int, passphrase: Passphrase | None
) -> str:
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
    write_atomically(home / "provider.toml", text.encode())
    config = load_provider_config(home)
    signers = [SigningKey.generate() for _ in range(root_keys)]
    root = _make_root(config, signers, root_threshold, passphrase)
    _make_keyring(config, root, signers, passphrase)
    for directory in (config.schemas, config.replies, config.artefacts, config.spool):
        directory.mkdir(mode=0o700, exist_ok=True)
    return root.fingerprint()


def root_fingerprint(home: Path) -> str:
    """The fingerprint of a provider's root."""
    root, _ = read_trust(load_provider_config(home).home, now=moment())
    return root.fingerprint()


def add_schema(home: Path, schema: Schema) -> Path:
    """Serve a domain: put its schema under ``HOME/schemas``, named by its digest."""
    config = load_provider_config(home)
    config.schemas.mkdir(mode=0o700, exist_ok=True)
    path = config.schemas / f"{schema.digest()}.json"
    write_atomically(path, json.dumps(schema.as_dict(), indent=1, ensure_ascii=False).encode())
    return path


def _make_root(
    config: ProviderConfig, signers: Sequence[SigningKey], threshold: int, passphrase: Passphrase | None
) -> Root:
    root = Root(
        version=1, threshold=threshold, keys=tuple(s.public for s in signers), expires_at=moment() + _ROOT_LIFETIME
    )
    for number, signer in enumerate(signers, start=1):
        save_signing_key(config.root_keys / f"root-{number}.pem", signer, passphrase)
    signed = root.signed(signers)
    write_atomically(config.root, signed.to_json().encode())
    return read_root(signed, now=moment())


def _make_keyring(
    config: ProviderConfig, root: Root, signers: Sequence[SigningKey], passphrase: Passphrase | None
) -> None:
    now = moment()
    ca_key, tls_key, signer, recipient = (
        generate_tls_key(),
        generate_tls_key(),
        SigningKey.generate(),
        RecipientKey.generate(),
    )
    ca = issue_ca(config.trust_domain, ca_key, now)
    certificate = issue_provider(config.trust_domain, config.provider, tls_key.public_key(), (ca, ca_key), now)
    save_tls_key(config.keys / "ca.pem", ca_key, passphrase)
    save_tls_key(config.keys / "tls.pem", tls_key, passphrase)
    save_signing_key(config.keys / "signing.pem", signer, passphrase)
    save_recipient_key(config.keys / "recipient.pem", recipient, passphrase)
    write_atomically(config.keys / "ca-certificate.pem", ca)
    write_atomically(config.keys / "tls-certificate.pem", certificate)
    keyring = Keyring(
        version=1,
        trust_domain=config.trust_domain,
        issued_at=now,
        expires_at=now + KEYRING_LIFETIME,
        ca=ca.decode("ascii"),
        provider=ProviderEntry(
            provider=config.provider,
            key=signer.public,
            recipients=(recipient.public,),
            spki=(spki_digest(certificate),),
        ),
        silos={},
    )
    signed = keyring.signed(signers)
    read_keyring(signed, root, now=now)
    write_atomically(config.keyring, signed.to_json().encode())
