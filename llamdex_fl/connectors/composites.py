"""Several numbers that say one value together: "4 minutes and 5 seconds", "4:05 min", "a year and a half"."""

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from llamdex_fl.connectors.units import UNITS, Number, Unit, unit_after

__all__ = ["with_composites"]

_GAP = re.compile(r"[^\S\n]{0,2}(?:,|&|\+|and|plus|, and|-)?[^\S\n]{0,2}", re.IGNORECASE)
_LONGEST_GAP = 9
_HALF = re.compile(r"[^\S\n]{1,2}and[\s-]a[\s-]half\b(?![\s-](?:brother|sister))", re.IGNORECASE)
_OLD = re.compile(r"[\s-]old\b", re.IGNORECASE)
#: "a year and a half": the article counts as one where more follows, or "old".
_ARTICLE = re.compile(r"\ban?(?=[\s-](?:second|minute|hour|day|week|month|year)\b)", re.IGNORECASE)
#: 4:05 min, 4:05, 1:02:05; not 4:05 pm.
_COLONS = re.compile(
    r"(?<![\w:.,/])(?:(?P<h>\d{1,2}):)?(?P<m>\d{1,3}):(?P<s>[0-5]\d)(?![\d:]|[^\S\n]?(?:[ap]\.?m\b|o'clock|uhr\b))"
    r"(?P<unit>[^\S\n]?(?:min(?:ute)?s?|m|h(?:ours?|rs?)?)\b)?",
    re.IGNORECASE,
)
_AT = re.compile(r"\b(?:at|by|since|from|until|around) \Z", re.IGNORECASE)
#: 4m05s, 1 h 2 m 5 s, 1h02: "m" alone might as well be metres.
_COMPACT = re.compile(
    r"(?<![\w.,:])(?:(?P<h>\d{1,2})[^\S\n]?h[^\S\n]?)?(?:(?P<m>\d{1,3})[^\S\n]?m[^\S\n]?)(?P<s>[0-5]?\d)[^\S\n]?s(?:ecs?)?\b"
    r"|(?<![\w.,:])(?P<h2>\d{1,2})[^\S\n]?h[^\S\n]?(?P<m2>[0-5]?\d)(?:[^\S\n]?m)?\b",
    re.IGNORECASE,
)


def with_composites(numbers: Sequence[Number], text: str) -> list[Number]:
    """The numbers, each with the unit behind it, and the composites that they make; sorted by where they start."""
    ends: dict[Number, int] = {}
    counted: list[Number] = []
    for number in numbers:
        found = None if number.ordinal or number.composite else unit_after(text, number.end)
        known = number if found is None else replace(number, unit=found[0])
        counted.append(known)
        if known.unit is not None:
            ends[known] = found[1] if found is not None else known.end
    spans = {(number.start, number.end): number for number in _written_short(text)}
    articles = _articles(counted, text)
    ends |= articles
    chain = sorted((*counted, *articles), key=lambda number: number.start)
    kept = [n for n in chain if n not in articles or _OLD.match(text, ends[n])]
    spans |= {(number.start, number.end): number for number in _joined(chain, ends, text)}
    return sorted((*kept, *spans.values()), key=lambda number: (number.start, -number.end))


def _articles(counted: Sequence[Number], text: str) -> dict[Number, int]:
    """Articles before a unit as ones, with the end of the unit; those that no other number covers."""
    matches = list(_ARTICLE.finditer(text))
    taken = {place for number in counted for place in range(number.start, number.end)} if matches else set()
    articles = {}
    for match in matches:
        found = unit_after(text, match.end())
        if found is not None and match.start() not in taken:
            articles[Number(match.start(), match.end(), 1.0, found[0])] = found[1]
    return articles


def _written_short(text: str) -> list[Number]:
    composites = []
    for match in _COLONS.finditer(text):
        hours, minutes, seconds = int(match["h"] or 0), int(match["m"]), int(match["s"])
        unit = (match["unit"] or "").strip().lower()
        if not unit and _AT.search(text, max(0, match.start() - 8), match.start()):
            continue  # a time of day
        if unit.startswith("h") and not hours:
            hours, minutes, seconds = minutes, seconds, 0
        composites.append(_in_seconds(match, hours, minutes, seconds))
    for match in _COMPACT.finditer(text):
        hours, minutes = int(match["h"] or match["h2"] or 0), int(match["m"] or match["m2"] or 0)
        composites.append(_in_seconds(match, hours, minutes, int(match["s"] or 0)))
    return composites


def _in_seconds(match: re.Match[str], hours: int, minutes: int, seconds: int) -> Number:
    value = float(hours * 3600 + minutes * 60 + seconds)
    return Number(match.start(), match.end(), value, UNITS["seconds"], composite=True)


def _joined(chain: Sequence[Number], ends: dict[Number, int], text: str) -> list[Number]:
    """Numbers that stand next to each other in units that go on from each other, the larger first."""
    composites = []
    position = 0
    while position < len(chain):
        first = last = chain[position]
        position += 1
        if first.unit is None or first.unit.dimension not in {"clock", "calendar"}:
            continue
        total = Decimal(repr(first.value)) * first.unit.factor
        parts = 1
        while position < len(chain) and _goes_on(last, ends[last], chain[position], text):
            last = chain[position]
            total += Decimal(repr(last.value)) * _factor(last.unit)
            position, parts = position + 1, parts + 1
        end = ends[last]
        half = _HALF.match(text, end)
        if half is not None:
            total += _factor(last.unit) / 2
            end, parts = half.end(), parts + 1
        if parts > 1 and first.value >= 0:
            composites.append(Number(first.start, end, float(total / _factor(last.unit)), last.unit, composite=True))
    return composites


def _factor(unit: Unit | None) -> Decimal:
    assert unit is not None  # noqa: S101 - only numbers with a unit make a composite
    return unit.factor


def _goes_on(last: Number, end: int, following: Number, text: str) -> bool:
    larger, smaller = last.unit, following.unit
    if (
        larger is None
        or smaller is None
        or larger.dimension != smaller.dimension
        or following.start - end > _LONGEST_GAP
    ):
        return False
    fits = 0 <= following.value < larger.factor / smaller.factor
    return fits and following.start >= end and _GAP.fullmatch(text, end, following.start) is not None
