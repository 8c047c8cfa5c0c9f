"""An invitation: lets one silo, once and for a few days, ask to be enrolled without anybody comparing fingerprints.

Whoever runs the provider gives it to the silo's people by a way that they trust: it names the root's fingerprint,
and holds a secret. The silo's enrolment request carries a MAC under that secret, never the secret itself, so the
request may travel by any way. The provider keeps a digest of the secret, which is the MAC's key.
"""

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from llamdex_fl.envelope.canonical import Fields, timestamp
from llamdex_fl.envelope.refusal import DocumentError
from llamdex_fl.errors import InvitationError

__all__ = ["Invitation", "InvitationProof"]

_FORMAT = "llamdex/invitation/v1"
_KEY_LABEL = b"llamdex/invitation/v1/key"
_ID_LABEL = b"llamdex/invitation/v1/id"
_SECRET_SIZE = 32
_LIMIT = 1 << 14


@dataclass(frozen=True, kw_only=True, slots=True)
class InvitationProof:
    """What a request shows of an invitation: its id, and a MAC over the rest of the request; both hex."""

    invitation_id: str
    mac: str

    @classmethod
    def make(cls, key: bytes, message: bytes) -> "InvitationProof":
        """Prove knowledge of the invitation's secret for one message."""
        return cls(
            invitation_id=hashlib.sha256(_ID_LABEL + key).hexdigest(),
            mac=hmac.new(key, message, hashlib.sha256).hexdigest(),
        )

    def matches(self, key: bytes, message: bytes) -> bool:
        """Whether the proof was made with this key for this message; in constant time."""
        made = InvitationProof.make(key, message)
        return hmac.compare_digest(made.mac, self.mac) and hmac.compare_digest(made.invitation_id, self.invitation_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Invitation:
    """What a silo must know to ask for its enrolment and to believe the answer.

    Attributes:
        silo: the id that the silo will have.
        address: ``host:port`` of the provider's upload service.
        root_fingerprint: hex; the answer is believed because of it.
        root_threshold: how many root keys sign a keyring; for people to read.
        secret: 32 bytes, hex; it does not show in the repr.
    """

    silo: str
    provider: str
    address: str
    trust_domain: str
    root_fingerprint: str
    root_threshold: int
    expires_at: datetime
    secret: str = field(repr=False)

    @staticmethod
    def new_secret() -> str:
        """A fresh secret."""
        return secrets.token_hex(_SECRET_SIZE)

    @property
    def key(self) -> bytes:
        """The digest of the secret: all that the provider keeps of it, and the key of the request's MAC."""
        return hashlib.sha256(_KEY_LABEL + bytes.fromhex(self.secret)).digest()

    @property
    def invitation_id(self) -> str:
        """Hex; names the invitation, and is not secret."""
        return hashlib.sha256(_ID_LABEL + self.key).hexdigest()

    def to_json(self) -> str:
        """The invitation's file: a secret until it is used."""
        return json.dumps(
            {
                "format": _FORMAT,
                "silo": self.silo,
                "provider": self.provider,
                "address": self.address,
                "trustDomain": self.trust_domain,
                "rootFingerprint": self.root_fingerprint,
                "rootThreshold": self.root_threshold,
                "expiresAt": timestamp(self.expires_at),
                "secret": self.secret,
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> "Invitation":
        """Read an invitation's file.

        Raises:
            InvitationError: it is something else.
        """
        try:
            fields = Fields(_object(text), "invitation")
            fields.constant("format", _FORMAT)
            invitation = cls(
                silo=fields.word("silo"),
                provider=fields.word("provider"),
                address=fields.text("address", limit=300),
                trust_domain=fields.word("trustDomain"),
                root_fingerprint=fields.hexadecimal("rootFingerprint", size=32),
                root_threshold=fields.integer("rootThreshold", low=1, high=32),
                expires_at=fields.moment("expiresAt"),
                secret=fields.hexadecimal("secret", size=_SECRET_SIZE),
            )
            fields.done()
        except DocumentError as error:
            raise InvitationError(
                "This is no invitation.",
                expected=error.expected,
                # Not the text itself: it may be a damaged invitation, and so hold a secret.
                got=error.got,
                next_step="get it again from the provider: llamdex-provider invite",
            ) from error
        return invitation

    def require_usable(self, *, silo: str, provider: str, now: datetime) -> None:
        """Refuse an invitation that is over, or not for this silo at this provider.

        Raises:
            InvitationError: it must not be used.
        """
        for what, expected, got in (("silo", silo, self.silo), ("provider", provider, self.provider)):
            if expected != got:
                raise InvitationError(
                    f"The invitation is for another {what}.",
                    expected=expected,
                    got=got,
                    next_step="ask the provider for an invitation of your own, or mend silo.toml",
                )
        if now >= self.expires_at:
            raise InvitationError(
                "The invitation has expired.",
                expected="one that is still good",
                got=f"one until {timestamp(self.expires_at)}",
                next_step="ask the provider for a new one: llamdex-provider invite",
            )


def _object(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds; the fields are checked one by one
    if len(text) > _LIMIT:
        raise DocumentError("An invitation is wrong.", expected=f"at most {_LIMIT} characters", got="more")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError("An invitation is wrong.", expected="JSON", got=type(error).__name__) from error
