"""Invitations that a provider gave out: what it keeps of them, and the checks of a request that shows one.

An invitation goes ``open`` -> ``used by`` one request, whose digest is kept: the same request may come again (people
send files twice), another one is refused. A new invitation for a silo ends its older ones that were not used.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from llamdex_fl.envelope import DocumentError, EnrolmentRequest, Invitation, read_trust, write_atomically
from llamdex_fl.envelope.canonical import Fields, timestamp
from llamdex_fl.errors import InputError, InvitationError
from provider_server.config import SILO_ID, ProviderConfig, load_provider_config
from provider_server.keyring_writer import moment

__all__ = ["InvitationRecord", "check_invitation", "invite", "mark_used"]

_LONGEST = timedelta(days=90)


@dataclass(frozen=True, kw_only=True, slots=True)
class InvitationRecord:
    """An invitation without its secret.

    Attributes:
        key: the digest of the secret.
        used_by: hex digest of the request that used it; empty while it is open.
    """

    silo: str
    key: bytes
    expires_at: datetime
    used_by: str = ""


def invite(home: Path, silo: str, *, lifetime: timedelta = timedelta(days=7), address: str | None = None) -> Invitation:
    """Invite a silo; older invitations of the same silo that were not used are good no more.

    Args:
        home: the provider's directory.
        silo: the id that the silo will have.
        lifetime: until the invitation ends by itself.
        address: ``host:port`` at which silos reach the provider, if it is not the one that it listens on.

    Returns:
        The invitation, with its secret: only its digest is kept here.

    Raises:
        InputError: the id or the lifetime is not usable.
        ConfigError, KeyringError: the provider's home is not complete.
    """
    config, now = load_provider_config(home), moment()
    root, _ = read_trust(config.home, now=now)
    if not SILO_ID.fullmatch(silo):
        raise InputError(
            "This cannot be a silo's id.",
            expected="lower-case letters, digits and hyphens, at most 63",
            got=repr(silo[:80]),
            next_step="mend the id",
        )
    if not timedelta(0) < lifetime <= _LONGEST:
        raise InputError(
            "An invitation cannot last this long.",
            expected=f"more than nothing, at most {_LONGEST.days} days",
            got=str(lifetime),
            next_step="mend --days",
        )
    invitation = Invitation(
        silo=silo,
        provider=config.provider,
        address=address or config.address,
        trust_domain=config.trust_domain,
        root_fingerprint=root.fingerprint(),
        root_threshold=root.threshold,
        expires_at=now + lifetime,
        secret=Invitation.new_secret(),
    )
    config.invitations.mkdir(mode=0o700, exist_ok=True)
    for path in config.invitations.glob("*.json"):
        record = _load(path)
        if record.silo == silo and not record.used_by:
            path.unlink()
    record = InvitationRecord(silo=silo, key=invitation.key, expires_at=invitation.expires_at)
    _save(config.invitations / f"{invitation.invitation_id}.json", record)
    return invitation


def check_invitation(config: ProviderConfig, request: EnrolmentRequest, now: datetime) -> None:
    """Whether the invitation that a request shows was given to this silo, is open, and covers this request.

    Raises:
        InvitationError: it was not, is used or expired, or is for another silo.
    """
    proof = request.proof
    if proof is None:
        raise AssertionError("only a request with an invitation is checked")
    path = config.invitations / f"{proof.invitation_id}.json"
    if not path.is_file():
        raise _refused("an invitation of this provider that no newer one replaced", "an unknown one")
    record = _load(path)
    # First that the request was made with the secret: nobody else learns anything about an invitation.
    if not proof.matches(record.key, request.message):
        raise _refused("a request that was made with the invitation's secret", "another one")
    if record.silo != request.silo:
        raise _refused(f"a request of the invited silo {record.silo}", f"one of {request.silo}")
    if record.used_by and record.used_by != request.digest:
        raise _refused("an invitation that was not used yet", "one that another request used")
    if not record.used_by and now >= record.expires_at:
        raise _refused("an invitation that is still good", f"one until {timestamp(record.expires_at)}")


def mark_used(config: ProviderConfig, request: EnrolmentRequest) -> None:
    """Use up the invitation that a checked request shows."""
    if request.proof is not None:
        path = config.invitations / f"{request.proof.invitation_id}.json"
        _save(path, replace(_load(path), used_by=request.digest))


def _save(path: Path, record: InvitationRecord) -> None:
    document = {
        "silo": record.silo,
        "key": record.key.hex(),
        "expiresAt": timestamp(record.expires_at),
        "usedBy": record.used_by,
    }
    write_atomically(path, json.dumps(document, indent=1).encode(), mode=0o600)


def _load(path: Path) -> InvitationRecord:
    try:
        fields = Fields(json.loads(path.read_text(encoding="utf-8")), "record of an invitation")
        record = InvitationRecord(
            silo=fields.word("silo"),
            key=fields.octets("key", size=32),
            expires_at=fields.moment("expiresAt"),
            used_by=fields.text("usedBy", limit=64),
        )
        fields.done()
    except (OSError, ValueError, DocumentError) as error:
        raise InvitationError(
            f"The record of an invitation {path} is damaged.",
            expected="what llamdex-provider invite wrote there",
            got=type(error).__name__,
            next_step="remove the file, and invite the silo again",
        ) from error
    return record


def _refused(expected: str, got: str) -> InvitationError:
    return InvitationError(
        "The request's invitation is not good.",
        expected=expected,
        got=got,
        next_step="invite the silo again: llamdex-provider invite; it takes the new one with: llamdex-silo enrol",
    )
