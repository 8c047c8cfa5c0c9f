"""Private keys on disk: modes, links, passphrases, damage."""

from pathlib import Path

import pytest

from llamdex_fl.envelope import (
    RecipientKey,
    SigningKey,
    generate_tls_key,
    load_recipient_key,
    load_signing_key,
    load_tls_key,
    save_recipient_key,
    save_signing_key,
    save_tls_key,
    write_atomically,
)
from llamdex_fl.errors import ConfigError


@pytest.mark.parametrize("passphrase", [None, lambda: b"correct horse"])
def test_round_trip(passphrase: object, tmp_path: Path):
    signing, recipient, tls = SigningKey.generate(), RecipientKey.generate(), generate_tls_key()
    save_signing_key(tmp_path / "keys" / "s", signing, passphrase)  # type: ignore[arg-type]  # a parameter
    save_recipient_key(tmp_path / "keys" / "r", recipient, passphrase)  # type: ignore[arg-type]  # a parameter
    save_tls_key(tmp_path / "keys" / "t", tls, passphrase)  # type: ignore[arg-type]  # a parameter
    assert load_signing_key(tmp_path / "keys" / "s", passphrase).public == signing.public  # type: ignore[arg-type]  # a parameter
    assert load_recipient_key(tmp_path / "keys" / "r", passphrase).public == recipient.public  # type: ignore[arg-type]  # a parameter
    assert load_tls_key(tmp_path / "keys" / "t", passphrase).private_numbers() == tls.private_numbers()  # type: ignore[arg-type]  # a parameter
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {0o600}
    if passphrase is not None:
        with pytest.raises(ConfigError):
            load_signing_key(tmp_path / "keys" / "s")
        with pytest.raises(ConfigError):
            load_signing_key(tmp_path / "keys" / "s", lambda: b"wrong")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_keys_that_others_may_read_are_refused(mode: int, tmp_path: Path):
    save_signing_key(tmp_path / "s", SigningKey.generate())
    (tmp_path / "s").chmod(mode)
    with pytest.raises(ConfigError, match="Others"):
        load_signing_key(tmp_path / "s")


def test_missing_linked_damaged_and_other_keys(tmp_path: Path):
    save_signing_key(tmp_path / "s", SigningKey.generate())
    save_tls_key(tmp_path / "t", generate_tls_key())
    (tmp_path / "link").symlink_to(tmp_path / "s")
    (tmp_path / "half").write_bytes((tmp_path / "s").read_bytes().split(b"-----END")[0])
    (tmp_path / "half").chmod(0o600)
    for name in ("none", "link", "half", "t"):
        with pytest.raises(ConfigError) as caught:
            load_signing_key(tmp_path / name)
        assert "BEGIN" not in str(caught.value)
    with pytest.raises(ConfigError):
        load_recipient_key(tmp_path / "s")


def test_keys_are_never_overwritten(tmp_path: Path):
    save_signing_key(tmp_path / "s", SigningKey.generate())
    before = (tmp_path / "s").read_bytes()
    with pytest.raises(ConfigError):
        save_signing_key(tmp_path / "s", SigningKey.generate())
    assert (tmp_path / "s").read_bytes() == before


def test_write_atomically(tmp_path: Path):
    for data in (b"one", b"two"):
        write_atomically(tmp_path / "f", data, mode=0o600)
        assert (tmp_path / "f").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
