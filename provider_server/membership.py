"""Who takes part: enrolment of silos, and revocation of keys, each as a new version of the keyring.

Enrolment checks that whoever made a request holds its keys, and looks for who vouches for it: an invitation, or the
keys that the silo has now; a request with neither is taken too, and people compare it by another way. Nothing here
is done over a network: requests and replies are files.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from llamdex_fl.envelope import (
    EnrolmentRequest,
    FormerKeys,
    Keyring,
    Member,
    Passphrase,
    RefusedError,
    issue_silo,
    spki_digest,
)
from llamdex_fl.errors import InputError
from provider_server.config import SILO_ID
from provider_server.invitations import check_invitation, mark_used
from provider_server.keyring_writer import KeyringWriter, changing
from provider_server.keys import load_ca

__all__ = ["GRACE", "Enrolled", "enrol", "enrol_silos", "revoke", "revoke_key"]

#: For how long keys that a silo replaced by a request of its own stay good.
GRACE = timedelta(days=7)
_REQUEST_LIMIT = 1 << 20
Vouched = Literal["invitation", "former keys", "people"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Enrolled:
    """A silo that was enrolled, what vouched for its request, and the reply to carry to it."""

    silo: str
    vouched_by: Vouched
    reply: Path


def enrol(
    home: Path, requests: Sequence[Path], *, root_keys: Path | None = None, passphrase: Passphrase | None = None
) -> list[Path]:
    """Enrol silos as ``enrol_silos`` does; only the replies."""
    return [one.reply for one in enrol_silos(home, requests, root_keys=root_keys, passphrase=passphrase)]


def enrol_silos(
    home: Path,
    requests: Sequence[Path],
    *,
    root_keys: Path | None = None,
    passphrase: Passphrase | None = None,
    grace: timedelta = GRACE,
) -> list[Enrolled]:
    """Enrol silos: sign a certificate for each, and one new version of the keyring for all.

    A silo that is enrolled already gets its new keys. If its present keys signed the request too, they stay good for
    a while, so that nothing under way is lost; otherwise they are revoked. Without requests, the keyring is signed
    again and lives longer.

    Args:
        home: the provider's directory.
        requests: the silos' ``enrolment-request.json``.
        root_keys: the directory of the root's private keys, if it was moved away from ``HOME/root``.
        passphrase: of the private keys.
        grace: for how long keys stay good that their silo replaced.

    Returns:
        One entry a request; its reply is to be carried to the silo, unless the silo can fetch it.

    Raises:
        InvitationError: a request's invitation is used, expired or another silo's.
        InputError: a request is not usable; in both cases none of them is enrolled.
        ConfigError: keys are missing.
    """
    read = [(path, _read_request(path)) for path in requests]
    with changing(home, root_keys=root_keys, passphrase=passphrase) as writer:
        ca = load_ca(writer.config, passphrase)
        certificates: dict[str, bytes] = {}
        members: dict[str, Member] = {}
        vouched: dict[str, Vouched] = {}
        for path, request in read:
            if request.silo in members:
                raise _bad_request(path, f"one request of {request.silo}", "two")
            vouched[request.silo] = _voucher(writer, path, request)
            try:
                certificate = issue_silo(writer.config.trust_domain, request.silo, request.csr, ca, writer.now)
            except RefusedError as error:
                raise _bad_request(path, error.expected, error.got) from error
            certificates[request.silo] = certificate
            member = Member(key=request.key, spki=spki_digest(certificate))
            _require_not_revoked(path, member, writer.keyring)
            members[request.silo] = _with_former(writer, request.silo, member, vouched[request.silo], grace)
        following = writer.keyring.with_silos(members, now=writer.now, expires_at=writer.expires_at)
        if replaced := _replaced(writer.keyring.at(writer.now), members):
            following = following.with_revoked(replaced, now=writer.now, expires_at=writer.expires_at)
        # Before the keyring: a crash in between leaves an invitation that only this very request may use again.
        for _, request in read:
            mark_used(writer.config, request)
        writer.publish(following)
        return [
            Enrolled(silo=silo, vouched_by=vouched[silo], reply=writer.reply(silo, certificate))
            for silo, certificate in certificates.items()
        ]


def revoke(home: Path, silo: str, *, root_keys: Path | None = None, passphrase: Passphrase | None = None) -> Keyring:
    """Revoke a silo's keys, former ones too; a running provider refuses it from its next call on.

    Raises:
        InputError: the silo is not enrolled.
    """
    with changing(home, root_keys=root_keys, passphrase=passphrase) as writer:
        member = writer.keyring.silos.get(silo)
        if member is None:
            raise InputError(
                f"The silo {silo} is not enrolled.",
                expected="one of " + (", ".join(sorted(writer.keyring.silos)) or "no silo: none is enrolled"),
                got=silo,
                next_step="mend the id",
            )
        ended = {*(key.keyid for key in member.keys), *member.spkis}
        writer.publish(writer.keyring.with_revoked(ended, now=writer.now, expires_at=writer.expires_at))
        return writer.keyring


def revoke_key(
    home: Path, digest: str, *, root_keys: Path | None = None, passphrase: Passphrase | None = None
) -> Keyring:
    """Revoke one key by its id, or one certificate's key by its SPKI digest; for example a former signing key.

    Raises:
        InputError: it is no such id, or the provider's present signing key.
    """
    with changing(home, root_keys=root_keys, passphrase=passphrase) as writer:
        provider = writer.keyring.provider
        if digest == provider.key.keyid:
            raise InputError(
                "This is the provider's present signing key: without it nothing can be accepted.",
                expected="another key",
                got=digest,
                next_step="first: llamdex-provider rotate HOME signing",
            )
        writer.publish(writer.keyring.with_revoked({digest}, now=writer.now, expires_at=writer.expires_at))
        return writer.keyring


def _voucher(writer: KeyringWriter, path: Path, request: EnrolmentRequest) -> Vouched:
    enrolled = writer.keyring.silos.get(request.silo)
    if request.proof is not None:
        check_invitation(writer.config, request, writer.now)
        return "invitation"
    # The same key again, for a new certificate, vouches for itself.
    if (
        enrolled is not None
        and enrolled.key.keyid not in writer.keyring.revoked
        and (request.key == enrolled.key or request.is_signed_by(enrolled.key))
    ):
        return "former keys"
    if request.envelope is not None and len(request.envelope.signatures) > 2:  # noqa: PLR2004 - the two of its own key
        # It claims to be vouched for by keys that are not, or no longer, the silo's.
        raise _bad_request(path, "a signature of the keys that are enrolled now", "one of other keys")
    return "people"


def _with_former(writer: KeyringWriter, silo: str, member: Member, vouched: Vouched, grace: timedelta) -> Member:
    before = writer.keyring.at(writer.now).silos.get(silo)
    if before is None or vouched != "former keys":
        return member
    former = before.former
    if (before.key, before.spki) != (member.key, member.spki):
        former = (FormerKeys(key=before.key, spki=before.spki, until=writer.now + grace), *former)
    return Member(key=member.key, spki=member.spki, former=former)


def _require_not_revoked(path: Path, member: Member, keyring: Keyring) -> None:
    if {member.key.keyid, member.spki} & set(keyring.revoked):
        raise InputError(
            f"The enrolment request {path} is for keys that were revoked.",
            expected="new keys",
            got="keys of the revocation list",
            next_step="invite the silo again; there: llamdex-silo enrol HOME INVITATION --new-keys",
        )


def _replaced(keyring: Keyring, members: dict[str, Member]) -> set[str]:
    """Ids of keys that their silos do not use any more."""
    old: set[str] = set()
    for silo, member in members.items():
        with suppress(KeyError):
            before = keyring.silos[silo]
            good = {*(key.keyid for key in member.keys), *member.spkis}
            old |= {*(key.keyid for key in before.keys), *before.spkis} - good
    return old


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
    if not SILO_ID.fullmatch(request.silo):
        raise _bad_request(path, "a silo id of lower-case letters, digits and hyphens", repr(request.silo[:80]))
    return request


def _bad_request(path: Path, expected: str, got: str) -> InputError:
    return InputError(
        f"The enrolment request {path} is not usable.",
        expected=expected,
        got=got,
        next_step="make it again at the silo with: llamdex-silo enrol, or llamdex-silo keys",
    )
