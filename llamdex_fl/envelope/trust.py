"""The root and the keyring of a directory: two files that belong together, and are replaced together.

No system replaces two files at once, so a new root waits beside until the keyring that it signs is in place::

    1  root-next.json               keyring.json is still root.json's: the old pair counts
    2  keyring.json                 now it is root-next.json's: the new pair counts
    3  root-next.json -> root.json

A process that is killed between any two of them leaves the old pair or the new one, which ``read_trust`` tells apart
by whose signatures are on the keyring. Whoever changes the pair next tidies up (``changing_trust``).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from llamdex_fl.envelope.dsse import SignedEnvelope
from llamdex_fl.envelope.keyring import Keyring, load_keyring, read_keyring
from llamdex_fl.envelope.keystore import write_atomically
from llamdex_fl.envelope.root import Root, load_root, read_signed_file
from llamdex_fl.errors import KeyringError

__all__ = ["changing_trust", "read_trust", "write_trust"]

_EVER = datetime.min.replace(tzinfo=UTC)
_ROOT, _NEXT, _KEYRING, _LOCK = "root.json", "root-next.json", "keyring.json", "keyring.lock"


def read_trust(directory: Path, *, now: datetime | None, at_least: int = 1) -> tuple[Root, Keyring]:
    """The root that was pinned, or its successor, and the keyring that it signed.

    Args:
        directory: a provider's or a silo's home.
        now: the present; None takes an expired root or keyring too, where only what was seen last matters.
        at_least: the keyring's version that was seen last.

    Raises:
        KeyringError: one of the two is missing, forged, expired or rolled back.
    """
    root, keyring = _pair(directory)
    if now is None and keyring.version >= at_least:
        return root, keyring  # verified a moment ago, and nothing more is asked of it
    if now is not None:
        root.require_valid(now)
    envelope = keyring.envelope
    if envelope is None:
        raise AssertionError("a keyring that was read has its envelope")
    return root, read_keyring(envelope, root, now=now or _EVER, at_least=at_least)


def write_trust(directory: Path, root: SignedEnvelope, keyring: SignedEnvelope) -> None:
    """Put a root and the keyring that it signed in the place of those that are there: both, or neither.

    Both were verified, and the caller is within ``changing_trust``.
    """
    path, following = directory / _ROOT, directory / _NEXT
    if not path.exists() or read_signed_file(path).digest() != root.digest():
        write_atomically(following, root.to_json().encode())
        write_atomically(directory / _KEYRING, keyring.to_json().encode())
        following.replace(path)
    else:
        write_atomically(directory / _KEYRING, keyring.to_json().encode())


@contextmanager
def changing_trust(directory: Path) -> Iterator[None]:
    """Change a directory's root and keyring, alone; what a killed process left is finished or undone first."""
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _tidy(directory)
        yield
    finally:
        os.close(descriptor)


def _pair(directory: Path) -> tuple[Root, Keyring]:
    problem: KeyringError | None = None
    # The first once more: a writer may be between its steps 2 and 3 while this reads.
    for name in (_ROOT, _NEXT, _ROOT):
        try:
            root = load_root(directory / name, now=None)
            return root, load_keyring(directory / _KEYRING, root, now=_EVER)
        except KeyringError as error:
            problem = problem or error
    raise problem or AssertionError("three tries, and no error")


def _tidy(directory: Path) -> None:
    following = directory / _NEXT
    if not following.exists():
        return
    try:
        load_keyring(directory / _KEYRING, load_root(following, now=None), now=_EVER)
    except KeyringError:
        # Killed before step 2: whatever the keyring is, it is not of this root.
        following.unlink()
    else:
        following.replace(directory / _ROOT)
