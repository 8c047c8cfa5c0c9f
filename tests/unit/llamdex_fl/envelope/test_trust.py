"""The pair of root and keyring: between any two writes, while somebody reads, and after what nobody foresaw."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llamdex_fl.envelope import (
    Keyring,
    ProviderEntry,
    RecipientKey,
    Root,
    SignedEnvelope,
    SigningKey,
    changing_trust,
    read_trust,
    write_trust,
)
from llamdex_fl.errors import KeyringError

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
PROVIDER = ProviderEntry(
    provider="prov",
    key=SigningKey.generate().public,
    recipients=(RecipientKey.generate().public,),
    spki=("ab" * 32,),
)


def make_pair(version: int, key: SigningKey) -> tuple[SignedEnvelope, SignedEnvelope]:
    root = Root(version=version, threshold=1, keys=(key.public,), expires_at=LATER)
    keyring = Keyring(
        version=version, trust_domain="x", issued_at=NOW, expires_at=LATER, ca="", provider=PROVIDER, silos={}
    )
    return root.signed([key]), keyring.signed([key])


PAIRS = [make_pair(version, SigningKey.generate()) for version in (1, 2)]


def versions(directory: Path) -> tuple[int, int]:
    root, keyring = read_trust(directory, now=NOW)
    return root.version, keyring.version


def test_each_state_that_a_killed_writer_leaves(tmp_path: Path):
    (old_root, old_keyring), (new_root, new_keyring) = PAIRS
    for state, (next_root, keyring, expected) in enumerate(
        [(False, old_keyring, (1, 1)), (True, old_keyring, (1, 1)), (True, new_keyring, (2, 2))]
    ):
        directory = tmp_path / str(state)
        directory.mkdir()
        write_trust(directory, old_root, old_keyring)
        if next_root:
            (directory / "root-next.json").write_text(new_root.to_json())
        (directory / "keyring.json").write_text(keyring.to_json())
        assert versions(directory) == expected
        with changing_trust(directory):
            assert not (directory / "root-next.json").exists()
            assert versions(directory) == expected


def test_a_newer_keyring_of_the_same_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    key = SigningKey.generate()
    root, first = make_pair(1, key)
    _, second = make_pair(2, key)
    write_trust(tmp_path, root, first)
    assert versions(tmp_path) == (1, 1)
    # The root stays where it is: nothing is between the two versions.
    monkeypatch.setattr(Path, "replace", _only_for("keyring.json", Path.replace))
    write_trust(tmp_path, root, second)
    assert versions(tmp_path) == (1, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keyring.json", "root.json"]


def _only_for(name: str, replace: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
    def checked(path: Path, target: Path) -> Path:
        assert target.name == name
        return replace(path, target)

    return checked


def test_a_first_pair_that_was_interrupted(tmp_path: Path):
    root, keyring = PAIRS[0]
    (tmp_path / "root-next.json").write_text(root.to_json())
    with pytest.raises(KeyringError):
        read_trust(tmp_path, now=NOW)
    with changing_trust(tmp_path):
        assert list(tmp_path.glob("*.json")) == []
    (tmp_path / "root-next.json").write_text(root.to_json())
    (tmp_path / "keyring.json").write_text(keyring.to_json())
    assert versions(tmp_path) == (1, 1)
    with changing_trust(tmp_path):
        assert sorted(path.name for path in tmp_path.glob("*.json")) == ["keyring.json", "root.json"]


def test_what_is_damaged_expired_or_rolled_back_is_refused(tmp_path: Path):
    write_trust(tmp_path, *PAIRS[1])
    with pytest.raises(KeyringError, match="rollback"):
        read_trust(tmp_path, now=NOW, at_least=3)
    with pytest.raises(KeyringError, match="expired"):
        read_trust(tmp_path, now=LATER)
    assert read_trust(tmp_path, now=None)[1].version == 2
    (tmp_path / "keyring.json").write_text(PAIRS[0][1].to_json())
    with pytest.raises(KeyringError):
        read_trust(tmp_path, now=None)
    with changing_trust(tmp_path):
        assert (tmp_path / "root.json").exists()


def test_a_reader_never_sees_a_mixed_pair(tmp_path: Path):
    write_trust(tmp_path, *PAIRS[0])
    seen, stop = set(), threading.Event()

    def write() -> None:
        while not stop.is_set():
            for pair in reversed(PAIRS):
                with changing_trust(tmp_path):
                    write_trust(tmp_path, *pair)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(40):
            # Two changes within one look are possible here, where they follow each other at once; nothing is mixed.
            try:
                seen.add(versions(tmp_path))
            except KeyringError:
                continue
    finally:
        stop.set()
        thread.join()
    assert seen <= {(1, 1), (2, 2)}
    assert seen
