"""Several numbers that say one value together: "4 minutes and 5 seconds", "4:05 min", "a year and a half"."""

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

from llamdex_fl.connectors.kin import summed_kin
from llamdex_fl.connectors.old_money import old_money
from llamdex_fl.connectors.units import UNITS, Number, Unit, unit_after

__all__ = ["with_composites"]

_GAP = re.compile(r"\.?[^\S\n]{0,2}(?:,|&|\+|and|plus|, and|-)?[^\S\n]{0,2}", re.IGNORECASE)
_OVER = re.compile(r"\s?(?:/|over|on|by)\s?", re.IGNORECASE)
_LONGEST_GAP = 9
#: Behind a fraction only these: "half a minute, 25 seconds" says the same span twice.
_ADDED = re.compile(r"[^\S\n]{0,2}(?:&|\+|and|plus)[^\S\n]{0,2}", re.IGNORECASE)
#: Between minutes and the seconds that nobody calls so, and what may stand behind them: "8 minutes 20, and then".
_BARE_GAP = re.compile(r"\.?[^\S\n]{0,2}")
_BARE_END = re.compile(
    r"[^\S\n]?(?:[.,;:)!?\u2013\u2014](?!\d)|-\s|\n|\Z|(?:on|over|with|in|this|at|long|and|before|then)\b)",
    re.IGNORECASE,
)
_SMALLER = {"minutes": "seconds", "hours": "minutes"}
_BARE_MOST = 59
_HALF = re.compile(r"[^\S\n]{1,2}and[\s-]a[\s-]half\b(?![\s-](?:brother|sister))", re.IGNORECASE)
_OLD = re.compile(r"[\s-]old\b", re.IGNORECASE)
#: "a year and a half": the article counts as one where more follows, or "old".
_ARTICLE = re.compile(r"\ban?(?=[\s-](?:second|minute|hour|day|week|month|year)\b)", re.IGNORECASE)
_SPAN = re.compile(
    r"\b(?:lasted|lasting|took|taking|for|about|around|after|exactly|of|under|over|than|nearly|almost|just|only|barely|hardly"
    r"|within|roughly|approx\.?|duration:?|length:?|call:?)[^\S\n]\Z",
    re.IGNORECASE,
)
_SPAN_REACH = 12
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
    r"|(?<![\w.,:])(?P<m3>\d{1,3})[^\S\n]?['\u2019\u2032][^\S\n]?(?P<s3>[0-5]?\d)(?:''|\u2019\u2019|[\"\u2033\u201d])"
    r"|(?<![\w.,:])(?P<m4>\d{1,3})min(?P<s4>[0-5]\d)\b"
    r"|(?<![\w.,:])(?P<h2>\d{1,2})[^\S\n]?h[^\S\n]?(?P<m2>[0-5]?\d)(?:[^\S\n]?m)?\b",
    re.IGNORECASE,
)

#: Without a digit before a unit of one letter there is no short form.
_COMPACT_HINT = re.compile(r"\d[^\S\n]?[hm'\u2019\u2032]", re.IGNORECASE)
#: Where a number starts, where the unit behind it ends, and the number.
_Link = tuple[int, int, Number]


def with_composites(numbers: Sequence[Number], text: str) -> list[Number]:
    """The numbers, each with the unit behind it, and the composites that they make; sorted by where they start."""
    counted: list[Number] = []
    chain: list[_Link] = []
    reach = 0
    for number in numbers:
        if number.start < reach:
            continue  # "mg/100 ml", "g/cm3"
        found = None if number.ordinal or number.composite else unit_after(text, number.end)
        if found is None:
            counted.append(number)
            chain.append((number.start, number.end, number))
        else:
            counted.append(Number(number.start, number.end, number.value, found[0]))
            chain.append((number.start, found[1], counted[-1]))
            reach = found[1]
    counted = _with_pressures(counted, text)
    shorts = _written_short(text) if ":" in text or _COMPACT_HINT.search(text) else []
    shorts += [*old_money(numbers, text), *summed_kin(numbers, text)]
    articles = _articles(counted, text)
    if not (shorts or articles or any(number.unit is not None for number in counted)):
        return counted
    chain = sorted((*chain, *articles), key=lambda link: link[0])
    spans = {(number.start, number.end): number for number in (*shorts, *_joined(chain, text))}
    old = [article for _, end, article in articles if _OLD.match(text, end) or _is_span(article, text)]
    return sorted((*counted, *old, *spans.values()), key=lambda number: (number.start, -number.end))


def _with_pressures(counted: Sequence[Number], text: str) -> list[Number]:
    """The upper of two blood pressures with the unit that stands behind the lower: "13.5/8 cmHg"."""
    numbers = list(counted)
    for place, (upper, lower) in enumerate(pairwise(numbers)):
        paired = lower.unit is not None and lower.unit.dimension == "pressure" and upper.unit is None
        if paired and not upper.ordinal and _OVER.fullmatch(text, upper.end, lower.start):
            numbers[place] = replace(upper, unit=lower.unit)
    return numbers


def _is_span(article: Number, text: str) -> bool:
    """Whether an article before a unit says a span of time: "it took a minute", but not "80 beats a minute"."""
    clock = article.unit is not None and article.unit.name in {"minutes", "hours", "weeks"}
    return clock and _SPAN.search(text, max(0, article.start - _SPAN_REACH), article.start) is not None


def _articles(counted: Sequence[Number], text: str) -> list[_Link]:
    """Articles before a unit as ones; those that no other number covers."""
    matches = list(_ARTICLE.finditer(text))
    taken = {place for number in counted for place in range(number.start, number.end)} if matches else set()
    articles = []
    for match in matches:
        found = unit_after(text, match.end())
        if found is not None and match.start() not in taken:
            articles.append((match.start(), found[1], Number(match.start(), match.end(), 1.0, found[0])))
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
        hours = int(match["h"] or match["h2"] or 0)
        minutes = int(match["m"] or match["m2"] or match["m3"] or match["m4"] or 0)
        composites.append(_in_seconds(match, hours, minutes, int(match["s"] or match["s3"] or match["s4"] or 0)))
    return composites


def _in_seconds(match: re.Match[str], hours: int, minutes: int, seconds: int) -> Number:
    value = float(hours * 3600 + minutes * 60 + seconds)
    return Number(match.start(), match.end(), value, UNITS["seconds"], composite=True)


def _joined(chain: Sequence[_Link], text: str) -> list[Number]:
    """Numbers that stand next to each other in units that go on from each other, the larger first."""
    composites = []
    position = 0
    while position < len(chain):
        start, end, first = chain[position]
        position += 1
        if first.unit is None or first.unit.dimension not in {"clock", "calendar"}:
            continue
        last, parts = first, 1
        total = Decimal(repr(first.value)) * first.unit.factor
        while position < len(chain) and _goes_on(last, end, chain[position][2], text):
            _, end, last = chain[position]
            total += Decimal(repr(last.value)) * _factor(last.unit)
            position, parts = position + 1, parts + 1
        if position < len(chain) and (bare := _bare(last, end, chain[position], text)) is not None:
            end, last, parts, position = chain[position][1], bare, parts + 1, position + 1
            total += Decimal(repr(last.value)) * _factor(last.unit)
        half = _HALF.match(text, end)
        if half is not None:
            total += _factor(last.unit) / 2
            end, parts = half.end(), parts + 1
        if parts > 1 and first.value >= 0:
            composites.append(Number(start, end, float(total / _factor(last.unit)), last.unit, composite=True))
    return composites


def _bare(last: Number, end: int, following: _Link, text: str) -> Number | None:
    """The number behind minutes that says seconds without saying so, as one of seconds; None where it does not."""
    start, stop, number = following
    smaller = _SMALLER.get(last.unit.name) if last.unit is not None else None
    if smaller is None or number.unit is not None or number.ordinal or number.composite or start <= end:
        return None
    whole = number.value.is_integer() and 0 < number.value <= _BARE_MOST and last.value.is_integer()
    if not (whole and _BARE_GAP.fullmatch(text, end, start) and _BARE_END.match(text, stop)):
        return None
    return Number(number.start, number.end, number.value, UNITS[smaller])


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
    gap = _GAP if last.value.is_integer() else _ADDED
    return fits and following.start >= end and gap.fullmatch(text, end, following.start) is not None
