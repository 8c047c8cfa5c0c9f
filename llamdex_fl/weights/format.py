"""Tensors to bytes and back; what is read back is checked first: header, names and shapes, finiteness."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import WeightsError
from llamdex_fl.weights.header import Limits, Place, head_bytes, header_bytes, parse_header

__all__ = ["Limits", "Shapes", "Tensors", "decode", "digest", "encode"]

Tensors = Mapping[str, NDArray[np.float32]]
#: What is expected: each tensor's name and shape.
Shapes = Mapping[str, Sequence[int]]
Buffer = bytes | bytearray | memoryview

_LITTLE_FLOAT32 = np.dtype("<f4")
#: Elements looked at in one go, so that a check of a mapped file stays small in memory.
_SLICE = 1 << 20


def encode(tensors: Tensors) -> bytes:
    """The canonical safetensors bytes of some tensors: names sorted, float32, no metadata.

    Raises:
        WeightsError: an array is not float32, is empty, or holds NaN or an infinity.
    """
    for name, array in tensors.items():
        if array.dtype != np.float32 or array.size == 0:
            raise WeightsError(
                f"The tensor {name} cannot be written.",
                expected="float32, at least one element",
                got=f"{array.dtype} of shape {array.shape}",
                next_step="convert it first",
            )
        require_finite(name, array.reshape(-1))
    header = header_bytes({name: array.shape for name, array in tensors.items()})
    data = header + b"".join(np.ascontiguousarray(tensors[name], _LITTLE_FLOAT32).tobytes() for name in sorted(tensors))
    parse_header(header, len(data), Limits())
    return data


def decode(
    data: Buffer, expected: Shapes | None = None, *, limits: Limits | None = None
) -> dict[str, NDArray[np.float32]]:
    """Read tensors, and refuse everything that is not exactly what was expected.

    Args:
        data: a whole file.
        expected: names and shapes; None takes any (only for files of our own making).
        limits: what the file may hold at most.

    Returns:
        Copies, free of ``data``.

    Raises:
        WeightsLimitError: the file is over a limit.
        WeightsError: the file is not the canonical encoding of the expected, finite tensors.
    """
    buffer, limits = memoryview(data), limits or Limits()
    places = parse_header(bytes(buffer[: head_bytes(limits)]), len(buffer), limits)
    require_expected(places, expected)
    tensors = {}
    for place in places:
        flat = np.frombuffer(buffer[place.start : place.stop], dtype=_LITTLE_FLOAT32)
        require_finite(place.name, flat)
        tensors[place.name] = flat.reshape(place.shape).copy()
    return tensors


def digest(data: Buffer) -> str:
    """SHA-256 (hex) of a file of weights."""
    return hashlib.sha256(data).hexdigest()


def require_expected(places: Sequence[Place], expected: Shapes | None) -> None:
    """Refuse other tensors than the expected ones; None expects nothing."""
    if expected is None:
        return
    got = {place.name: place.shape for place in places}
    missing, unknown = sorted(set(expected) - set(got)), sorted(set(got) - set(expected))
    if missing or unknown:
        raise WeightsError(
            "The tensors are not those of this architecture.",
            expected=f"{len(expected)} tensors: {', '.join(sorted(expected))}",
            got=f"missing: {missing}, unknown: {unknown}",
            next_step="send the expert that the statement names",
        )
    for name, shape in expected.items():
        if got[name] != tuple(shape):
            raise WeightsError(
                f"The tensor {name} has another shape.",
                expected=str(tuple(shape)),
                got=str(got[name]),
                next_step="train with the schema and architecture that the statement names",
            )


def require_finite(name: str, flat: NDArray[np.float32]) -> None:
    """Refuse NaN and infinities."""
    for start in range(0, flat.size, _SLICE):
        if not np.isfinite(flat[start : start + _SLICE]).all():
            raise WeightsError(
                f"The tensor {name} holds a number that is not finite.",
                expected="finite numbers",
                got="NaN or an infinity",
                next_step="train again with a smaller learning rate",
            )
