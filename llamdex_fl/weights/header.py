"""Parse the header of a safetensors file as hostile text, in this order: size, bytes, JSON, names, places.

Source of the format: https://github.com/huggingface/safetensors (README, "Format"). That library accepts
duplicate keys (the last wins), metadata and padding without bound, shapes such as [0, 2^60] and any name; this
parser refuses them, and accepts exactly one encoding of a set of tensors, so that a file's digest names it.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llamdex_fl.errors import WeightsError, WeightsLimitError

__all__ = ["Limits", "Place", "head_bytes", "header_bytes", "parse_header"]

#: Dotted identifiers, as torch names parameters: no separators of paths, no control characters.
_NAME = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*", re.ASCII)
_ITEM_BYTES = 4
_LENGTH_BYTES = 8
_ALIGNMENT = 8
#: How other formats begin: pickle (protocols 2 to 5; 1; legacy .pt is pickle too), zip (.pt, .npz), gzip, NumPy,
#: HDF5, GGUF. Read as a length their first 8 bytes are enormous; they are told apart only to be named rightly.
_FOREIGN = (
    *(b"\x80" + bytes([protocol]) for protocol in (2, 3, 4, 5)),
    *(opening + b"q\x00" for opening in (b"}", b"]", b")", b"(")),
    *(b"PK" + kind for kind in (b"\x03\x04", b"\x05\x06", b"\x07\x08")),
    b"\x1f\x8b",
    b"\x93NUMPY",
    b"\x89HDF\r\n",
    b"GGUF",
)
#: Printable ASCII and white space; a pickle of protocol 0 and JSON are text too.
_TEXT = frozenset([*range(0x20, 0x7F), *b"\t\n\r"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a file may hold at most; each limit is checked before the work that it bounds."""

    file_bytes: int = 1 << 30
    header_bytes: int = 1 << 18
    tensors: int = 1024
    name_characters: int = 128
    dimensions: int = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a tensor lies in the file: its shape and the half-open range of its bytes."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int


def header_bytes(shapes: Mapping[str, Sequence[int]]) -> bytes:
    """The length field and the header of the one accepted encoding of float32 tensors of these shapes."""
    entries: dict[str, Any] = {}
    offset = 0
    for name in sorted(shapes):
        end = offset + _ITEM_BYTES * math.prod(shapes[name])
        entries[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def head_bytes(limits: Limits) -> int:
    """How many of a file's first bytes ``parse_header`` needs."""
    return _LENGTH_BYTES + limits.header_bytes


def parse_header(head: bytes, size: int, limits: Limits) -> list[Place]:
    """The places of all tensors of a file, which cover it without holes, overlaps or trailing bytes.

    Args:
        head: the file's first bytes, at least its header if that is within the limits; see ``head_bytes``.
        size: bytes of the whole file.
        limits: what the file may hold at most.

    Raises:
        WeightsLimitError: more bytes, tensors or characters than ``limits`` allows.
        WeightsError: anything but the canonical header.
    """
    if size > limits.file_bytes:
        raise _over("file", f"at most {limits.file_bytes} bytes", f"{size} bytes")
    if size < _LENGTH_BYTES:
        raise _wrong("file", f"at least {_LENGTH_BYTES} bytes", f"{size} bytes")
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    if length > limits.header_bytes:
        if _is_foreign(head, length, size):
            raise _wrong("beginning", "a header's length, then an object", "pickle, an archive, or text")
        raise _over("header", f"at most {limits.header_bytes} bytes", f"{length} bytes")
    if _LENGTH_BYTES + length > min(size, len(head)):
        raise _wrong("header", "a header inside the file", f"{length} bytes of {size}")
    text = head[_LENGTH_BYTES : _LENGTH_BYTES + length]
    if not text.startswith(b"{") or not text.isascii():
        raise _wrong("header", "an object in ASCII", "another first byte or other characters")
    if len(text) - len(text.rstrip(b" ")) >= _ALIGNMENT:
        raise _over("header", f"at most {_ALIGNMENT - 1} spaces of padding", "more")
    # Counted before parsing: each tensor has one "dtype" key, and a key costs time and memory once parsed.
    if text.count(b'"dtype"') > limits.tensors:
        raise _over("header", f"at most {limits.tensors} tensors", "more")
    shapes = _shapes(_json(text), limits)
    canonical = header_bytes(shapes)
    if canonical != head[: len(canonical)]:
        raise _wrong("header", "sorted names, places one after another, no other text", "another encoding")
    return _places(shapes, start=len(canonical), size=size)


def _is_foreign(head: bytes, length: int, size: int) -> bool:
    """Whether a file whose length field is over the cap is of another format, and not weights with a huge header."""
    if head[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{" or _LENGTH_BYTES + length <= size:
        return False
    return head.startswith(_FOREIGN) or all(byte in _TEXT for byte in head[:_LENGTH_BYTES])


def _places(shapes: Mapping[str, tuple[int, ...]], *, start: int, size: int) -> list[Place]:
    places = []
    for name in sorted(shapes):
        stop = start + _ITEM_BYTES * math.prod(shapes[name])
        places.append(Place(name=name, shape=shapes[name], start=start, stop=stop))
        start = stop
    if start != size:
        raise _wrong("data", f"{start} bytes in all, as the header says", f"{size} bytes")
    return places


def _json(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates, parse_float=_no_number, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _wrong("header", "JSON with each key once and whole numbers", type(error).__name__) from error
    if not isinstance(document, dict) or not document:
        raise _wrong("header", "an object with at least one tensor", "something else")
    return document


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _no_number(_text: str) -> object:
    raise ValueError("not a whole number")


def _shapes(document: Mapping[str, Any], limits: Limits) -> dict[str, tuple[int, ...]]:
    if len(document) > limits.tensors:
        raise _over("header", f"at most {limits.tensors} tensors", f"{len(document)}")
    if "__metadata__" in document:
        raise _over("header", "no metadata", "__metadata__")
    shapes = {}
    for name, entry in document.items():
        if len(name) > limits.name_characters:
            raise _wrong("a tensor's name", f"at most {limits.name_characters} characters", f"{len(name)}")
        if not _NAME.fullmatch(name):
            raise _wrong("a tensor's name", "letters, digits, _ and single dots", repr(name))
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise _wrong(name, "the keys dtype, shape and data_offsets", "others")
        if entry["dtype"] != "F32":
            raise _wrong(name, "dtype F32", repr(entry["dtype"])[:20])
        shapes[name] = _shape(name, entry["shape"], limits)
    return shapes


def _shape(name: str, value: object, limits: Limits) -> tuple[int, ...]:
    # bool is an int in Python; no dimension is 0, or [0, 2^60] would be an innocent size.
    if not isinstance(value, list) or not all(type(size) is int and size > 0 for size in value):
        raise _wrong(name, "a shape of positive whole numbers", "something else")
    if len(value) > limits.dimensions or math.prod(value) * _ITEM_BYTES > limits.file_bytes:
        raise _wrong(name, f"at most {limits.dimensions} dimensions and {limits.file_bytes} bytes", "more")
    return tuple(value)


def _wrong(place: str, expected: str, got: str) -> WeightsError:
    return WeightsError(
        f"This is no file of weights: its {place} is wrong.",
        expected=expected,
        got=got,
        next_step="write it with llamdex_fl.weights",
    )


def _over(place: str, expected: str, got: str) -> WeightsLimitError:
    return WeightsLimitError(
        f"This file of weights is over a limit: {place}.",
        expected=expected,
        got=got,
        next_step="send less, or agree on another limit with the provider",
    )
