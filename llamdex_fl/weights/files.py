"""Files of weights: written atomically, read and checked through a memory map."""

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import ArtefactError, WeightsError
from llamdex_fl.weights.format import Limits, Shapes, Tensors, decode, encode, views

__all__ = ["check_file", "load", "save"]


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
    return decode(_mapped(path), expected, limits=limits)


def check_file(path: Path, expected: Shapes, *, limits: Limits | None = None) -> None:
    """Refuse a file that ``load`` would refuse, in constant memory.

    Raises:
        ArtefactError: the file is missing.
        WeightsError: see ``decode``.
    """
    for _ in views(_mapped(path), expected, limits=limits):
        pass


def _mapped(path: Path) -> mmap.mmap:
    # Never closed by hand: a refusal's traceback still holds views of the map, and closing it would raise over
    # the refusal. It goes when the last view goes.
    if not path.is_file():
        raise ArtefactError(
            f"There is no file of weights {path}.", expected="a file", got="nothing", next_step="make it again"
        )
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise WeightsError(
                f"The file of weights {path} is empty.", expected="tensors", got="0 bytes", next_step="make it again"
            )
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
