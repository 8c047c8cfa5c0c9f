"""Digests of spool files that were taken as the bytes came in."""

import hashlib
import os
import time
from pathlib import Path

from provider_server.spool import Digests, file_digest


def keep(digests: Digests, path: Path) -> None:
    with path.open("rb") as file:
        digests.keep(file.fileno(), "kept")


def test_a_digest_is_used_once(tmp_path: Path):
    path, digests = tmp_path / "a.part", Digests()
    path.write_bytes(b"text")
    keep(digests, path)
    assert digests.of(path) == "kept"
    assert digests.of(path) == file_digest(path) == hashlib.sha256(b"text").hexdigest()


def test_a_file_that_changed_is_read(tmp_path: Path):
    path, digests = tmp_path / "a.part", Digests()
    path.write_bytes(b"text")
    keep(digests, path)
    status = path.stat()
    # Some file systems count time in steps of milliseconds.
    time.sleep(0.02)
    path.write_bytes(b"TEXT")
    # The time of modification can be set back; that of the change of the inode cannot.
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digests.of(path) == hashlib.sha256(b"TEXT").hexdigest()


def test_another_file_of_that_name_is_read(tmp_path: Path):
    path, digests = tmp_path / "a.part", Digests()
    path.write_bytes(b"text")
    keep(digests, path)
    (tmp_path / "b").write_bytes(b"TEXT")
    (tmp_path / "b").replace(path)
    assert digests.of(path) == hashlib.sha256(b"TEXT").hexdigest()


def test_memory_is_bounded(tmp_path: Path):
    digests = Digests()
    for number in range(300):
        path = tmp_path / str(number)
        path.touch()
        keep(digests, path)
    assert digests.of(tmp_path / "299") == "kept"
    assert digests.of(tmp_path / "0") == hashlib.sha256(b"").hexdigest()
