"""What was seen of spool files as their bytes came in."""

import hashlib
import os
import time
from pathlib import Path

from llamdex_fl import weights
from provider_server.spool import Seen, SeenFiles

KEPT = Seen("kept", finite=True)


def keep(seen: SeenFiles, path: Path) -> None:
    with path.open("rb") as file:
        seen.keep(file.fileno(), KEPT)


def read(data: bytes) -> Seen:
    """What is known of a file that had to be read: nothing about its numbers."""
    return Seen(hashlib.sha256(data).hexdigest(), finite=False)


def test_a_digest_is_used_once(tmp_path: Path):
    path, seen = tmp_path / "a.part", SeenFiles()
    path.write_bytes(b"text")
    keep(seen, path)
    assert seen.of(path) == KEPT
    assert seen.of(path) == read(b"text")
    assert weights.file_digest(path) == read(b"text").digest


def test_a_file_that_changed_is_read(tmp_path: Path):
    path, seen = tmp_path / "a.part", SeenFiles()
    path.write_bytes(b"text")
    keep(seen, path)
    status = path.stat()
    # Some file systems count time in steps of milliseconds.
    time.sleep(0.02)
    path.write_bytes(b"TEXT")
    # The time of modification can be set back; that of the change of the inode cannot.
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert seen.of(path) == read(b"TEXT")


def test_another_file_of_that_name_is_read(tmp_path: Path):
    path, seen = tmp_path / "a.part", SeenFiles()
    path.write_bytes(b"text")
    keep(seen, path)
    (tmp_path / "b").write_bytes(b"TEXT")
    (tmp_path / "b").replace(path)
    assert seen.of(path) == read(b"TEXT")


def test_memory_is_bounded(tmp_path: Path):
    seen = SeenFiles()
    for number in range(300):
        path = tmp_path / str(number)
        path.touch()
        keep(seen, path)
    assert seen.of(tmp_path / "299") == KEPT
    assert seen.of(tmp_path / "0") == read(b"")
