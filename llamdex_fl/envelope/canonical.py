"""Documents that are signed: RFC 8785 JSON without floats, parsed strictly.

Order: verify the signature over the exact bytes first, then parse. A document is accepted only if writing it again
gives the same bytes, so there is one text for one meaning. Numbers that are not whole travel as decimal strings,
because RFC 8785 writes 8.0 as 8 and 1e-05 as 0.00001.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import rfc8785

from llamdex_fl.envelope.refusal import DocumentError

__all__ = ["Fields", "decimal", "dumps", "parse", "timestamp"]

_T = TypeVar("_T")
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,127}")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
#: Integers in JSON are exact up to here (RFC 8785 refuses more).
_MAX_INTEGER = 2**53 - 1


def dumps(document: Mapping[str, Any]) -> bytes:
    """The canonical bytes of a document that holds texts, whole numbers, lists and objects."""
    return rfc8785.dumps(dict(document))


def timestamp(moment: datetime) -> str:
    """A moment in UTC, to the second."""
    return moment.astimezone(UTC).strftime(_TIME)


def decimal(number: float) -> str:
    """The shortest decimal text that gives this float back."""
    return repr(float(number))


def parse(data: bytes, *, limit: int) -> "Fields":
    """Parse canonical bytes.

    Raises:
        DocumentError: more than ``limit`` bytes, a duplicate key, a float, or not the canonical text.
    """
    if len(data) > limit:
        raise DocumentError("A document is too large.", expected=f"at most {limit} bytes", got=f"{len(data)} bytes")
    try:
        document = json.loads(
            data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_float=_refuse, parse_constant=_refuse
        )
        canonical = isinstance(document, dict) and rfc8785.dumps(document) == data
    except (ValueError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise DocumentError(
            "A document is not strict JSON.",
            expected="UTF-8, each key once, no floats, no deep nesting",
            got=type(error).__name__,
        ) from error
    if not canonical:
        raise DocumentError("A document is not canonical.", expected="an object as RFC 8785 writes it", got="another")
    return Fields(document, "document")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _refuse(_text: str) -> object:
    raise ValueError("not a whole number")


class Fields:
    """Reads an object field by field; ``done`` refuses what was not read."""

    def __init__(self, document: object, place: str) -> None:
        """Start to read ``document``, which is named ``place`` in refusals."""
        self._place = place
        if not isinstance(document, dict):
            raise self._wrong("an object", type(document).__name__)
        self._left = dict(document)

    def done(self) -> None:
        """Refuse fields that nobody asked for."""
        if self._left:
            raise self._wrong("no further fields", ", ".join(sorted(self._left))[:200])

    def has(self, name: str) -> bool:
        """Whether a field that may be absent is there and was not read yet."""
        return name in self._left

    def text(self, name: str, *, limit: int = 1 << 20) -> str:
        """A text of at most ``limit`` characters."""
        return self._take(name, lambda v: v if isinstance(v, str) and len(v) <= limit else None, "a text")

    def word(self, name: str) -> str:
        """An identifier: at most 128 letters, digits and ``. _ : / + -``."""
        return self._take(name, lambda v: v if isinstance(v, str) and _WORD.fullmatch(v) else None, "an identifier")

    def constant(self, name: str, value: str) -> None:
        """Exactly this text."""
        self._take(name, lambda v: True if v == value else None, repr(value))

    def hexadecimal(self, name: str, *, size: int) -> str:
        """``size`` bytes as lower-case hex."""
        return self._take(
            name,
            lambda v: v if isinstance(v, str) and len(v) == 2 * size and _HEX.fullmatch(v) else None,
            f"{size} bytes in lower-case hex",
        )

    def octets(self, name: str, *, size: int) -> bytes:
        """``size`` bytes that are written as lower-case hex."""
        return bytes.fromhex(self.hexadecimal(name, size=size))

    def integer(self, name: str, *, low: int = 0, high: int = _MAX_INTEGER) -> int:
        """A whole number from ``low`` to ``high``."""
        return self._take(
            name, lambda v: v if type(v) is int and low <= v <= high else None, f"a whole number from {low} to {high}"
        )

    def decimal(self, name: str) -> float:
        """A finite number in its shortest decimal text."""
        return self._take(name, _float, "a finite number as the shortest decimal text")

    def moment(self, name: str) -> datetime:
        """A moment in UTC, to the second."""
        return self._take(name, _moment, "a time such as 2026-01-31T12:00:00Z")

    def child(self, name: str) -> "Fields":
        """An object within."""
        return Fields(self.document(name), name)

    def document(self, name: str) -> dict[str, Any]:
        """An object within, not read any further."""
        return self._take(name, lambda v: v if isinstance(v, dict) else None, "an object")

    def children(self, name: str, *, limit: int) -> "list[Fields]":
        """A list of at most ``limit`` objects."""
        return [Fields(item, name) for item in self._list(name, limit)]

    def documents(self, name: str, *, limit: int) -> list[Any]:
        """A list of at most ``limit`` objects, not read any further."""
        return self._list(name, limit)

    def named_children(self, name: str, *, limit: int) -> "dict[str, Fields]":
        """An object of at most ``limit`` objects, each under an identifier."""
        inner = self._take(
            name,
            lambda v: v if isinstance(v, dict) and len(v) <= limit and all(map(_WORD.fullmatch, v)) else None,
            f"at most {limit} objects, each under an identifier",
        )
        return {key: Fields(value, f"{name}.{key}") for key, value in inner.items()}

    def digests(self, name: str, *, limit: int) -> tuple[str, ...]:
        """A list of at most ``limit`` SHA-256 digests in hex."""
        values = self._list(name, limit)
        if not all(isinstance(v, str) and len(v) == 64 and _HEX.fullmatch(v) for v in values):  # noqa: PLR2004 - 2 x 32
            raise self._wrong(f"SHA-256 digests in {name}", "others")
        return tuple(values)

    def _list(self, name: str, limit: int) -> list[Any]:
        return self._take(
            name, lambda v: v if isinstance(v, list) and len(v) <= limit else None, f"a list of at most {limit}"
        )

    def _take(self, name: str, read: Callable[[Any], _T | None], expected: str) -> _T:
        if name not in self._left:
            raise self._wrong(f"a field {name}", "none")
        value = read(self._left.pop(name))
        if value is None:
            # The value itself is not repeated: it may be long, and comes from elsewhere.
            raise self._wrong(f"{name}: {expected}", "another value")
        return value

    def _wrong(self, expected: str, got: str) -> DocumentError:
        return DocumentError(f"A {self._place} is wrong.", expected=expected, got=got)


def _float(value: object) -> float | None:
    if not isinstance(value, str) or len(value) > 32:  # noqa: PLR2004 - repr of a double has at most 24 characters
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and decimal(number) == value else None


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.strptime(value, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment if timestamp(moment) == value else None
