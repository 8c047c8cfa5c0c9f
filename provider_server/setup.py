"""Make a provider's home, and enrol silos: the offline part of the protocol, step 1.

Order: the root's keys, then the CA and the provider's own keys, then a keyring without silos. Enrolment checks that
whoever made a request holds its keys, signs a certificate, and signs the next version of the keyring. Nothing here
is done over a network: requests and replies are files that people carry and compare.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from llamdex_fl.envelope import (
    EnrolmentReply,
    EnrolmentRequest,
    Keyring,
    Member,
    Passphrase,
    ProviderEntry,
    RecipientKey,
    RefusedError,
    Root,
    SignedEnvelope,
    SigningKey,
    generate_tls_key,
    issue_ca,
    issue_provider,
    issue_silo,
    load_keyring,
    load_root,
    load_signing_key,
    load_tls_key,
    read_keyring,
    read_root,
    save_recipient_key,
    save_signing_key,
    save_tls_key,
    spki_digest,
    write_atomically,
)
from llamdex_fl.errors import ConfigError, InputError
from llamdex_fl.schema import Schema
from provider_server.config import ProviderConfig, load_provider_config

__all__ = ["add_schema", "enrol", "init_provider", "revoke", "root_fingerprint"]

_ROOT_LIFETIME = timedelta(days=3650)
_KEYRING_LIFETIME = timedelta(days=397)
_REQUEST_LIMIT = 1 << 20
_SILO_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


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
    return load_root(load_provider_config(home).root, now=_now()).fingerprint()


def enrol(
    home: Path, requests: Sequence[Path], *, root_keys: Path | None = None, passphrase: Passphrase | None = None
) -> list[Path]:
    """Enrol silos: sign a certificate for each, and one new version of the keyring for all.

    A silo that is enrolled already gets its new keys; its old ones are revoked. Without requests, the keyring is
    signed again and lives longer.

    Args:
        home: the provider's directory.
        requests: the silos' ``enrolment-request.json``.
        root_keys: the directory of the root's private keys, if it was moved away from ``HOME/root``.
        passphrase: of the private keys.

    Returns:
        The replies, one a request, to be carried to the silos.

    Raises:
        InputError: a request is not usable; then none of them is enrolled.
        ConfigError: keys are missing.
    """
    config, now = load_provider_config(home), _now()
    root = load_root(config.root, now=now)
    keyring = load_keyring(config.keyring, root, now=now)
    ca = ((config.keys / "ca-certificate.pem").read_bytes(), load_tls_key(config.keys / "ca.pem", passphrase))
    members: dict[str, Member] = {}
    certificates: dict[str, bytes] = {}
    for path in requests:
        request = _read_request(path)
        if request.silo in members:
            raise _bad_request(path, f"one request of {request.silo}", "two")
        certificates[request.silo] = issue_silo(config.trust_domain, request.silo, request.csr, ca, now)
        members[request.silo] = Member(key=request.key, spki=spki_digest(certificates[request.silo]))
    replaced = _replaced(keyring, members)
    following = keyring.with_silos(members, now=now, expires_at=now + _KEYRING_LIFETIME)
    if replaced:
        following = following.with_revoked(replaced, now=now, expires_at=following.expires_at)
    signed = _publish(config, root, following, root_keys, passphrase)
    if root.envelope is None:
        raise AssertionError("a root that was read has its envelope")
    paths = []
    for silo, certificate in certificates.items():
        reply = EnrolmentReply(root=root.envelope, keyring=signed, certificate=certificate)
        config.replies.mkdir(mode=0o700, exist_ok=True)
        write_atomically(config.replies / f"{silo}.json", reply.to_json().encode())
        paths.append(config.replies / f"{silo}.json")
    return paths


def revoke(home: Path, silo: str, *, root_keys: Path | None = None, passphrase: Passphrase | None = None) -> Keyring:
    """Revoke a silo's keys; a running provider refuses it from its next call on.

    Raises:
        InputError: the silo is not enrolled.
    """
    config, now = load_provider_config(home), _now()
    root = load_root(config.root, now=now)
    keyring = load_keyring(config.keyring, root, now=now)
    member = keyring.silos.get(silo)
    if member is None:
        raise InputError(
            f"The silo {silo} is not enrolled.",
            expected="one of " + ", ".join(sorted(keyring.silos)),
            got=silo,
            next_step="mend the id",
        )
    following = keyring.with_revoked({member.key.keyid, member.spki}, now=now, expires_at=now + _KEYRING_LIFETIME)
    _publish(config, root, following, root_keys, passphrase)
    return following


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
        version=1, threshold=threshold, keys=tuple(s.public for s in signers), expires_at=_now() + _ROOT_LIFETIME
    )
    for number, signer in enumerate(signers, start=1):
        save_signing_key(config.root_keys / f"root-{number}.pem", signer, passphrase)
    signed = root.signed(signers)
    write_atomically(config.root, signed.to_json().encode())
    return read_root(signed, now=_now())


def _make_keyring(
    config: ProviderConfig, root: Root, signers: Sequence[SigningKey], passphrase: Passphrase | None
) -> None:
    now = _now()
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
        expires_at=now + _KEYRING_LIFETIME,
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


def _publish(
    config: ProviderConfig, root: Root, keyring: Keyring, root_keys: Path | None, passphrase: Passphrase | None
) -> SignedEnvelope:
    directory = root_keys or config.root_keys
    paths = sorted(directory.glob("*.pem")) if directory.is_dir() else []
    signers = [load_signing_key(path, passphrase) for path in paths]
    known = {key.keyid for key in root.keys}
    signers = [signer for signer in signers if signer.public.keyid in known]
    if len(signers) < root.threshold:
        raise ConfigError(
            "There are not enough root keys to sign a keyring.",
            expected=f"{root.threshold} of the root's keys in {directory}",
            got=str(len(signers)),
            next_step="bring the root keys back, or name their directory with --root-keys-from",
        )
    signed = keyring.signed(signers)
    # Read as silos will read it, so that nothing is published that they would refuse.
    read_keyring(signed, root, now=_now(), at_least=keyring.version)
    write_atomically(config.keyring, signed.to_json().encode())
    return signed


def _read_request(path: Path) -> EnrolmentRequest:
    try:
        if path.stat().st_size > _REQUEST_LIMIT:
            raise _bad_request(path, f"at most {_REQUEST_LIMIT} bytes", "more")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_request(path, "a file that can be read", type(error).__name__) from error
    try:
        request = EnrolmentRequest.verified(text)
    except RefusedError as error:
        raise _bad_request(path, "a request that its own keys signed", error.problem) from error
    if not _SILO_ID.fullmatch(request.silo):
        raise _bad_request(path, "a silo id of lower-case letters, digits and hyphens", repr(request.silo[:80]))
    return request


def _replaced(keyring: Keyring, members: dict[str, Member]) -> set[str]:
    """Ids of keys that their silos do not use any more."""
    old: set[str] = set()
    for silo, member in members.items():
        with suppress(KeyError):
            before = keyring.silos[silo]
            old |= {before.key.keyid, before.spki} - {member.key.keyid, member.spki}
    return old


def _bad_request(path: Path, expected: str, got: str) -> InputError:
    return InputError(
        f"The enrolment request {path} is not usable.",
        expected=expected,
        got=got,
        next_step="make it again at the silo with: llamdex-silo keys",
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
