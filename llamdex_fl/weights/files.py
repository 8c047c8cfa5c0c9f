"""Files of weights: written atomically, checked in constant memory."""

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import ArtefactError, WeightsError
from llamdex_fl.weights.format import Limits, Shapes, Tensors, decode, encode, require_expected, require_finite
from llamdex_fl.weights.header import Place, head_bytes, parse_header

__all__ = ["check_file", "file_digest", "load", "read_shapes", "save", "slices"]

#: Elements read in one go: 256 KiB stay in a core's cache while they are read and looked at.
_SLICE = 1 << 16
_ITEM_BYTES = 4


def save(path: Path, tensors: Tensors) -> None:
    """Write a file, whole or not at all."""
    data = encode(tensors)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load(path: Path, expected: Shapes | None = None, *, limits: Limits | None = None) -> dict[str, NDArray[np.float32]]:
    """Read a file of weights; see ``decode``.

    Raises:
        ArtefactError: the file is missing.
        WeightsError: see ``decode``.
    """
    limits = limits or Limits()
    _require_file(path)
    with path.open("rb") as file:
        # One byte over the limit is enough to be refused.
        return decode(file.read(limits.file_bytes + 1), expected, limits=limits)


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file of weights."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, expected: Shapes, *, limits: Limits | None = None, finite: bool = False) -> None:
    """Refuse a file that ``load`` would refuse, without holding more than a slice of it.

    Args:
        path: the file.
        expected: names and shapes.
        limits: what the file may hold at most.
        finite: its numbers are known to be finite, and only its header is read.

    Raises:
        ArtefactError: the file is missing.
        WeightsError: see ``decode``.
    """
    if finite:
        require_expected(_places(path, limits or Limits()), expected)
        return
    for name, flat in slices(path, expected, limits=limits):
        require_finite(name, flat)


def read_shapes(path: Path, *, limits: Limits | None = None) -> dict[str, tuple[int, ...]]:
    """The names and shapes in a file's header; raises as ``check_file``."""
    return {place.name: place.shape for place in _places(path, limits or Limits())}


def slices(
    path: Path, expected: Shapes | None = None, *, limits: Limits | None = None
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """All elements in the order of the file, at most 2^16 at a time, each with its tensor's name.

    Two files with the same shapes are cut at the same places. Finiteness is not checked here.

    Raises:
        ArtefactError: the file is missing.
        WeightsError: as ``decode``.
    """
    limits = limits or Limits()
    _require_file(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        places = parse_header(file.read(head_bytes(limits)), size, limits)
        require_expected(places, expected)
        for place in places:
            file.seek(place.start)
            left = math.prod(place.shape)
            while left:
                wanted = min(left, _SLICE) * _ITEM_BYTES
                data = file.read(wanted)
                if len(data) != wanted:
                    raise WeightsError(
                        f"The file of weights {path} became shorter while it was read.",
                        expected=f"{size} bytes",
                        got="fewer",
                        next_step="let nobody else write to this directory",
                    )
                flat = np.frombuffer(data, dtype="<f4")
                yield place.name, flat
                left -= flat.size


def _places(path: Path, limits: Limits) -> list[Place]:
    _require_file(path)
    with path.open("rb") as file:
        return parse_header(file.read(head_bytes(limits)), os.fstat(file.fileno()).st_size, limits)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ArtefactError(
            f"There is no file of weights {path}.", expected="a file", got="nothing", next_step="make it again"
        )
