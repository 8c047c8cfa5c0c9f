"""Hybrid signatures: Ed25519 and ML-DSA-65 over the same bytes, and both must verify."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from llamdex_fl.envelope.refusal import Answer, RefusedError

__all__ = ["ED25519_SIZE", "MLDSA65_SIZE", "Signature", "SigningKey", "VerifyKey"]

ED25519_SIZE = 32
MLDSA65_SIZE = 1952
_KEYID_LABEL = b"llamdex/signer/v1"
_FIELD = 2**255 - 19
#: The y coordinates of edwards25519's points of order 1, 2, 4 and 8. With such a key, a signature can verify for
#: messages that were never signed. tests/unit/llamdex_fl/envelope/test_signing.py derives them from the curve.
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _FIELD - 1,
        int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
        int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    }
)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature and the id of the half of a key that made it."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """The public halves of a signing key.

    Raises:
        RefusedError: UNAUTHENTICATED, the sizes are wrong, or the Ed25519 half is of small order or not canonical.
    """

    ed25519: bytes
    mldsa65: bytes
    #: Hex SHA-256 that names the key.
    keyid: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse weak keys wherever they come from."""
        if len(self.ed25519) != ED25519_SIZE or len(self.mldsa65) != MLDSA65_SIZE:
            raise _unauthenticated("A public key has another size.")
        y = int.from_bytes(self.ed25519, "little") & (2**255 - 1)
        if y >= _FIELD or y in _SMALL_ORDER_Y:
            raise _unauthenticated("An Ed25519 key is of small order or not canonical.")
        # Once: a stream asks for it with every chunk.
        keyid = hashlib.sha256(_KEYID_LABEL + self.ed25519 + self.mldsa65).hexdigest()
        object.__setattr__(self, "keyid", keyid)

    def verify(self, message: bytes, signatures: Iterable[Signature]) -> None:
        """Verify both signatures.

        Raises:
            RefusedError: UNAUTHENTICATED, one is missing, occurs twice, or does not verify.
        """
        found = [signature for signature in signatures if signature.keyid in self._halves()]
        by_keyid = {signature.keyid: signature.sig for signature in found}
        if set(by_keyid) != set(self._halves()) or len(found) != len(by_keyid):
            raise _unauthenticated("Both signatures of the signer's key are needed.")
        classical, quantum_safe = self._halves()
        try:
            Ed25519PublicKey.from_public_bytes(self.ed25519).verify(by_keyid[classical], message)
            MLDSA65PublicKey.from_public_bytes(self.mldsa65).verify(by_keyid[quantum_safe], message)
        except (InvalidSignature, ValueError):
            raise _unauthenticated("A signature does not verify.") from None

    def _halves(self) -> tuple[str, str]:
        return f"{self.keyid}/ed25519", f"{self.keyid}/mldsa65"


class SigningKey:
    """The private halves; the repr shows the key's id only."""

    def __init__(self, ed25519: Ed25519PrivateKey, mldsa65: MLDSA65PrivateKey) -> None:
        """Join the two halves."""
        self.halves = (ed25519, mldsa65)
        self.public = VerifyKey(ed25519.public_key().public_bytes_raw(), mldsa65.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        """Name the key."""
        return f"SigningKey({self.public.keyid})"

    @classmethod
    def generate(cls) -> "SigningKey":
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate(), MLDSA65PrivateKey.generate())

    def sign(self, message: bytes) -> tuple[Signature, Signature]:
        """Sign with both halves."""
        keyid = self.public.keyid
        return (
            Signature(f"{keyid}/ed25519", self.halves[0].sign(message)),
            Signature(f"{keyid}/mldsa65", self.halves[1].sign(message)),
        )


def _unauthenticated(problem: str) -> RefusedError:
    return RefusedError(
        Answer.UNAUTHENTICATED,
        problem,
        expected="an Ed25519 and an ML-DSA-65 signature by an enrolled key",
        got="something else",
        next_step="sign with the enrolled key, or enrol again",
    )
