"""What a thousand silos would each verify on a machine of their own, this process verifies once.

Every silo reads the same keyring and the same log. On one machine that makes a run quadratic in the number of silos,
and says nothing new: the same bytes under the same keys verify again. So the two pure functions that do it remember
what they verified, and what reads a keyring's file remembers the file, which all silos share until one takes another;
times, versions and everything that is a silo's own are checked each time. So does the cross-check
of a certificate by two more accountants, which takes a silo longer than its training: for the same mechanisms, delta
and epsilon it says the same. The provider, another process, is not concerned.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from llamdex_fl.envelope import Keyring, Root, SignedEnvelope, trust
from llamdex_fl.envelope import keyring as keyring_module
from llamdex_fl.envelope import root as root_module
from llamdex_fl.privacy.guarantee import Mechanism
from silo_client import enrolment, log_check, training

__all__ = ["verified_once"]

#: A keyring has megabytes; a run sees a few versions.
_KEYRINGS = 8
_PLACES = ((keyring_module, "read_keyring"), (trust, "read_keyring"), (enrolment, "read_keyring"))


@contextmanager
def verified_once() -> Iterator[None]:
    """Remember what was verified until the end of the ``with``."""
    read, check = keyring_module.read_keyring, log_check._check_entry  # noqa: SLF001 - held from outside, see above
    cross_check = training.cross_check
    certificates: set[tuple[Any, ...]] = set()
    keyrings: OrderedDict[tuple[bytes, str], Keyring] = OrderedDict()
    # By the keyring's identity; the keyring is kept with its entries, so that no other can take its place.
    entries: dict[int, tuple[Keyring, dict[Any, Any]]] = {}

    read_file = trust.read_signed_file
    files: OrderedDict[tuple[int, ...], SignedEnvelope] = OrderedDict()
    # By the envelope's identity, which is kept with its digest: a keyring of a thousand silos has megabytes.
    digests: dict[int, tuple[SignedEnvelope, bytes]] = {}

    def read_file_once(path: Path) -> SignedEnvelope:
        try:
            found = path.stat()
        except OSError:
            return read_file(path)
        key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if key not in files:
            files[key] = read_file(path)
            while len(files) > _KEYRINGS:
                files.popitem(last=False)
        return files[key]

    def digest_of(envelope: SignedEnvelope) -> bytes:
        known = digests.get(id(envelope))
        if known is None:
            if len(digests) >= _KEYRINGS:
                digests.clear()
            known = digests[id(envelope)] = envelope, envelope.digest()
        return known[1]

    def read_once(envelope: SignedEnvelope, root: Root, *, now: datetime, at_least: int = 1) -> Keyring:
        key = (digest_of(envelope), root.fingerprint())
        known = keyrings.get(key)
        if known is None or known.version < at_least or now >= known.expires_at:
            known = keyrings[key] = read(envelope, root, now=now, at_least=at_least)
            while len(keyrings) > _KEYRINGS:
                keyrings.popitem(last=False)
        return known

    def check_once(index: int, payload: bytes, signed: SignedEnvelope | None, keyring: Keyring, *, receipt: str) -> Any:  # noqa: ANN401 - as the function's
        _, seen = entries.setdefault(id(keyring), (keyring, {}))
        key = (index, payload, receipt, None if signed is None else (signed.digest(), signed.signatures))
        if key not in seen:
            seen[key] = check(index, payload, signed, keyring, receipt=receipt)
        return seen[key]

    def cross_check_once(mechanisms: Sequence[Mechanism], delta: float, certified: float) -> None:
        key = (*mechanisms, delta, certified)
        if key not in certificates:
            cross_check(mechanisms, delta, certified)
            certificates.add(key)

    _set(read_once, check_once, cross_check_once, read_file_once)
    try:
        yield
    finally:
        _set(read, check, cross_check, read_file)


def _set(
    read: Callable[..., Keyring],
    check: Callable[..., Any],
    cross_check: Callable[..., None],
    read_file: Callable[[Path], SignedEnvelope],
) -> None:
    for owner, name in _PLACES:
        setattr(owner, name, read)
    log_check._check_entry = check  # noqa: SLF001 - see verified_once
    training.cross_check = cross_check  # type: ignore[assignment]  # the same signature, as a callable
    for module in (keyring_module, trust, root_module):
        module.read_signed_file = read_file  # type: ignore[attr-defined]  # all three import it by name
