"""The Titanic's 891 passengers of the usual training file.

They lie in the source distribution of the package shapash and not in its wheel, so a fetch step downloads it once,
takes the one file out, checks its SHA-256 and keeps it in the user's cache. The file has missing ages filled in
with 29.5, which no passenger had: here they are absent again.
"""

import csv
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from platformdirs import user_cache_path

from llamdex_fl.errors import ArtefactError
from simulations.datasets.records import LabelledRecord

if TYPE_CHECKING:
    from llamdex_fl.schema import Value

__all__ = ["fetch_titanic", "load_titanic", "titanic_silos"]

_REQUIREMENT = "shapash==2.10.0"
_MEMBER = "shapash-2.10.0/data/titanicdata.csv"
_SHA256 = "a86cd38e914d8383b1c19592dec6c3dcad182835dcd72298ca5607e77cb8be07"
_MAX_BYTES = 1 << 20
_DOWNLOAD_SECONDS = 600
_IMPUTED_AGE = 29.5
_CLASSES = {"First class": "first", "Second class": "second", "Third class": "third"}
#: Shares of the passengers in a consortium of four unequal silos.
_SHARES = (0.4, 0.3, 0.2, 0.1)


def load_titanic() -> tuple[LabelledRecord, ...]:
    """The passengers, in the file's order.

    Raises:
        ArtefactError: the file was not fetched, or is damaged.
    """
    path = _cached()
    if not path.is_file():
        raise _missing("no such file")
    text = path.read_bytes()
    _require_content(text)
    return tuple(_record(row) for row in csv.DictReader(text.decode("utf-8").splitlines()))


def titanic_silos(seed: int = 0) -> dict[str, tuple[LabelledRecord, ...]]:
    """The passengers dealt at random to four silos of unequal size.

    Raises:
        ArtefactError: as ``load_titanic``.
    """
    passengers = load_titanic()
    order = np.random.default_rng(seed).permutation(len(passengers))
    ends = np.rint(np.cumsum(_SHARES) * len(order)).astype(int)
    parts = np.split(order, ends[:-1])
    return {f"line-{number}": tuple(passengers[i] for i in part) for number, part in enumerate(parts, start=1)}


def fetch_titanic() -> Path:
    """Put the file into the user's cache, by pip, unless it is there.

    Returns:
        Where it is.

    Raises:
        ArtefactError: the download failed, or brought another file.
    """
    path = _cached()
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == _SHA256:
        return path
    with tempfile.TemporaryDirectory() as folder:
        text = _take_out(_download(Path(folder)))
    _require_content(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(text)
    unfinished.replace(path)
    return path


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", ":all:", "--dest", str(folder), _REQUIREMENT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise _missing(f"pip took longer than {_DOWNLOAD_SECONDS} s") from error
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode != 0 or len(archives) != 1:
        lines = done.stderr.strip().splitlines() or ["pip brought no source distribution"]
        raise _missing(lines[-1][:300])
    return archives[0]


def _take_out(archive: Path) -> bytes:
    try:
        with tarfile.open(archive, "r:gz") as files:
            member = files.extractfile(_MEMBER)
            if member is None:
                raise _missing("no plain file of this name in the archive")
            return member.read(_MAX_BYTES)
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise _missing(f"an archive without {_MEMBER}") from error


def _require_content(text: bytes) -> None:
    digest = hashlib.sha256(text).hexdigest()
    if digest != _SHA256:
        raise _missing(f"a file with SHA-256 {digest}")


def _record(row: Mapping[str, str]) -> LabelledRecord:
    features: dict[str, Value] = {
        "ticket_class": _CLASSES[row["Pclass"]],
        "sex": row["Sex"],
        "siblings_spouses": int(row["SibSp"]),
        "parents_children": int(row["Parch"]),
        "fare": float(row["Fare"]),
        "embarked": row["Embarked"],
    }
    if float(row["Age"]) != _IMPUTED_AGE:
        features["age"] = float(row["Age"])
    return LabelledRecord(features=features, label=int(row["Survived"]))


def _cached() -> Path:
    return user_cache_path("llamdex-fl") / "datasets" / "titanicdata.csv"


def _missing(got: str) -> ArtefactError:
    return ArtefactError(
        "The Titanic's passengers cannot be loaded.",
        expected=f"{_MEMBER} of {_REQUIREMENT}, SHA-256 {_SHA256}",
        got=got,
        next_step="python -m simulations.datasets fetch",
    )
