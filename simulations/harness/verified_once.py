"""What a thousand silos would each verify on a machine of their own, this process verifies once.

Every silo reads the same keyring and the same log. On one machine that makes a run quadratic in the number of silos,
and says nothing new: the same bytes under the same keys verify again. So the two pure functions that do it remember
what they verified, and what reads a keyring's file remembers the file, which all silos share until one takes another;
times, versions and everything that is a silo's own are checked each time. So does the cross-check of a certificate by
two more accountants, which takes a silo longer than its training: for the same mechanisms, delta and epsilon it says
the same. The provider, another process, is not concerned.
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
from llamdex_fl.privacy.crosscheck import cross_check
from llamdex_fl.privacy.guarantee import Mechanism
from silo_client import enrolment, log_check, training

__all__ = ["verified_once"]

#: A keyring has megabytes; a run sees a few versions.
_KEYRINGS = 8
#: Who calls a function by which name: module, name, the method that stands in.
_PLACES = (
    (keyring_module, "read_keyring", "read_keyring"),
    (trust, "read_keyring", "read_keyring"),
    (enrolment, "read_keyring", "read_keyring"),
    (keyring_module, "read_signed_file", "read_signed_file"),
    (trust, "read_signed_file", "read_signed_file"),
    (root_module, "read_signed_file", "read_signed_file"),
    (log_check, "_check_entry", "check_entry"),
    (training, "cross_check", "cross_check"),
)


@contextmanager
def verified_once() -> Iterator[None]:
    """Remember what was verified until the end of the ``with``."""
    before = [getattr(module, name) for module, name, _ in _PLACES]
    memory = _Memory()
    for module, name, method in _PLACES:
        setattr(module, name, getattr(memory, method))
    try:
        yield
    finally:
        for (module, name, _), function in zip(_PLACES, before, strict=True):
            setattr(module, name, function)


class _Memory:
    """What was verified."""

    def __init__(self) -> None:
        self._read: Callable[..., Keyring] = keyring_module.read_keyring
        self._read_file: Callable[[Path], SignedEnvelope] = root_module.read_signed_file
        self._check: Callable[..., Any] = log_check._check_entry  # noqa: SLF001 - held from outside, see above
        self._cross_check: Callable[..., None] = cross_check
        self._keyrings: OrderedDict[tuple[bytes, str], Keyring] = OrderedDict()
        self._files: OrderedDict[tuple[int, ...], SignedEnvelope] = OrderedDict()
        # By the envelope's identity, which is kept with its digest: that of megabytes takes a while.
        self._digests: dict[int, tuple[SignedEnvelope, bytes]] = {}
        # By the keyring's identity; the keyring is kept with its entries, so that no other can take its place.
        self._entries: dict[int, tuple[Keyring, dict[Any, Any]]] = {}
        self._certificates: set[tuple[Any, ...]] = set()

    def read_keyring(self, envelope: SignedEnvelope, root: Root, *, now: datetime, at_least: int = 1) -> Keyring:
        """As ``read_keyring``."""
        key = (self._digest(envelope), root.fingerprint())
        known = self._keyrings.get(key)
        if known is None or known.version < at_least or now >= known.expires_at:
            known = self._keyrings[key] = self._read(envelope, root, now=now, at_least=at_least)
            while len(self._keyrings) > _KEYRINGS:
                self._keyrings.popitem(last=False)
        return known

    def read_signed_file(self, path: Path) -> SignedEnvelope:
        """As ``read_signed_file``; a file is the same while its inode, size and times are."""
        try:
            found = path.stat()
        except OSError:
            return self._read_file(path)
        key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if key not in self._files:
            self._files[key] = self._read_file(path)
            while len(self._files) > _KEYRINGS:
                self._files.popitem(last=False)
        return self._files[key]

    def check_entry(
        self, index: int, payload: bytes, signed: SignedEnvelope | None, keyring: Keyring, *, receipt: str
    ) -> Any:  # noqa: ANN401 - as the function's
        """As ``log_check._check_entry``."""
        _, seen = self._entries.setdefault(id(keyring), (keyring, {}))
        key = (index, payload, receipt, None if signed is None else (signed.digest(), signed.signatures))
        if key not in seen:
            seen[key] = self._check(index, payload, signed, keyring, receipt=receipt)
        return seen[key]

    def cross_check(self, mechanisms: Sequence[Mechanism], delta: float, certified: float) -> None:
        """As ``cross_check``."""
        key = (*mechanisms, delta, certified)
        if key not in self._certificates:
            self._cross_check(mechanisms, delta, certified)
            self._certificates.add(key)

    def _digest(self, envelope: SignedEnvelope) -> bytes:
        known = self._digests.get(id(envelope))
        if known is None:
            if len(self._digests) >= _KEYRINGS:
                self._digests.clear()
            known = self._digests[id(envelope)] = envelope, envelope.digest()
        return known[1]
