"""What a thousand silos would each verify on a machine of their own, this process verifies once.

Every silo reads the same keyring and the same log. On one machine that makes a run quadratic in the number of silos,
and says nothing new: the same bytes under the same keys verify again. So the two pure functions that do it remember
what they verified; times, versions and everything that is a silo's own are checked each time. So does the cross-check
of a certificate by two more accountants, which takes a silo longer than its training: for the same mechanisms, delta
and epsilon it says the same. The provider, another process, is not concerned.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from llamdex_fl.envelope import Keyring, Root, SignedEnvelope, trust
from llamdex_fl.envelope import keyring as keyring_module
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

    def read_once(envelope: SignedEnvelope, root: Root, *, now: datetime, at_least: int = 1) -> Keyring:
        key = (envelope.digest(), root.fingerprint())
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

    _set(read_once, check_once, cross_check_once)
    try:
        yield
    finally:
        _set(read, check, cross_check)


def _set(read: Callable[..., Keyring], check: Callable[..., Any], cross_check: Callable[..., None]) -> None:
    for owner, name in _PLACES:
        setattr(owner, name, read)
    log_check._check_entry = check  # noqa: SLF001 - see verified_once
    training.cross_check = cross_check  # type: ignore[assignment]  # the same signature, as a callable
