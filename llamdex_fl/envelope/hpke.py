"""HPKE (RFC 9180): base mode, single shot, for any suite, so that foreign vectors run through the code that LDX1 uses.

The suite is a parameter inside this package only; ``llamdex_fl.envelope.suite`` fixes it, and nothing on the wire
can choose another.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.bindings._rust import openssl as _openssl
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    MLKEM1024P384PrivateKey,
    MLKEM1024P384PublicKey,
    Suite,
)

from llamdex_fl.envelope.refusal import damaged

__all__ = ["HpkePrivateKey", "HpkePublicKey", "hpke_open", "hpke_seal"]

HpkePublicKey = (
    X25519PublicKey
    | EllipticCurvePublicKey
    | MLKEM768PublicKey
    | MLKEM1024PublicKey
    | MLKEM768X25519PublicKey
    | MLKEM1024P384PublicKey
)
HpkePrivateKey = (
    X25519PrivateKey
    | EllipticCurvePrivateKey
    | MLKEM768PrivateKey
    | MLKEM1024PrivateKey
    | MLKEM768X25519PrivateKey
    | MLKEM1024P384PrivateKey
)


def hpke_seal(suite: Suite, text: bytes, key: HpkePublicKey, info: bytes, aad: bytes = b"") -> bytes:
    """The encapsulated key, followed by the sealed text."""
    if not aad:
        return suite.encrypt(text, key, info)
    # LDX1 binds everything through info; only foreign vectors have associated data, which the library's public
    # functions do not take.
    return _openssl.hpke._encrypt_with_aad(suite, text, key, info, aad)  # noqa: SLF001 - see above


def hpke_open(suite: Suite, sealed: bytes, key: HpkePrivateKey, info: bytes, aad: bytes = b"") -> bytes:
    """The text of what ``hpke_seal`` gave.

    Raises:
        RefusedError: DATA_LOSS, it does not open; one text for every cause.
    """
    try:
        if not aad:
            return suite.decrypt(sealed, key, info)
        return _openssl.hpke._decrypt_with_aad(suite, sealed, key, info, aad)  # noqa: SLF001 - see hpke_seal
    except (InvalidTag, ValueError):
        raise damaged() from None
