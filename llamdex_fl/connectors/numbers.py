"""Numbers in running text: find every one that is written, and write one in the ways that people do.

Finding is exact and knows nothing of schemas: which number belongs to which feature is the reader's business. What
stands behind a number as its unit is found with it (``units.py``), and so are numbers that say one value together
(``composites.py``).
``find_numbers(write_number(x))`` always holds a number equal to ``x``; a property test keeps it so.
"""

import random
import re
from dataclasses import replace
from decimal import Decimal

from llamdex_fl.connectors.composites import with_composites
from llamdex_fl.connectors.loose_hundreds import with_loose_hundreds
from llamdex_fl.connectors.units import UNITS, Number, value_for, values_for

__all__ = ["Number", "find_numbers", "ordinal_words", "value_for", "values_for", "write_number"]

_SMALL = (  # noqa: SIM905 - words are read more easily in a line than in quotes
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = {
    word: 10 * ten
    for ten, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)  # noqa: SIM905 - as above
}
_UNITS = {word: value for value, word in enumerate(_SMALL)} | {"nought": 0, "nil": 0, "forteen": 14, "eightteen": 18}
_TENS |= {"fourty": 40, "fivety": 50, "ninty": 90}
_ORDINAL_UNITS = {
    word: value
    for value, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "  # noqa: SIM905 - as above
        "fifteenth sixteenth seventeenth eighteenth nineteenth".split(),
        1,
    )
}
_ORDINAL_TENS = {f"{word.removesuffix('y')}ieth": ten for word, ten in _TENS.items()}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "grand": 1000}
_DOZEN, _THOUSAND = 12, 1000
#: What says that there are more than one, without saying how many.
_SOME = frozenset({"few", "several", "couple", "many", "some", "odd"})
_TIMES = {"once": 1, "twice": 2, "thrice": 3}
_OPENING = {*_UNITS, *_TENS, *_ORDINAL_UNITS, *_ORDINAL_TENS, *_TIMES}
_DIGIT_WORDS = {word: value for value, word in enumerate(_SMALL[:10])} | {"nought": 0, "oh": 0}

_DIGITS = re.compile(
    r"""
    (?<![\d.,])                       # not inside another number
    (?P<sign>(?<![\w)\]/])[-\u2212\u2013](?=[\d.]))?  # a minus, not a hyphen or a dash between words
    (?P<body>
        # 1 945 euros, EUR 1 945: a blank parts thousands beside a currency only
        [1-9]\d{0,2}(?:[\ \u00a0\u202f]\d{3})+(?:,\d{1,2})?(?=[^\S\n]?(?:\u20ac|[Ee][Uu][Rr](?:[Oo][Ss]?)?\b))
      | (?:(?<=\u20ac)|(?<=\u20ac\s)|(?<=[Ee][Uu][Rr]\s))[1-9]\d{0,2}(?:[\ \u00a0\u202f]\d{3})+(?:,\d{1,2})?(?!\d)
      | \d{1,3}(?:\.\d{3})+,\d{1,2}(?!\d)  # 1.467,50 as continental writers put it
      | \d{1,3}(?:,\d{3})+(?:\.\d+)?   # 2,688 or 2,688.50
      | \d+,\d{1,2}(?![\d,])           # 1,5 as continental writers put it
      | \d+(?:\.\d+)?                  # 51 or 39.69
      | \.\d+                          # .5
    )
    (?:(?P<thousands>(?i:k|[^\S\n]?(?:thousand|thou|grand|tsd\.?)))(?![^\W_])  # 2k, 2 grand
      | (?P<ordinal>st|nd|rd|th|ST|ND|RD|TH)(?![^\W_]))?
    """,
    re.VERBOSE,
)
_EURO_AFTER = re.compile(r"[^\S\n]?(?:\u20ac|eur(?:os?)?\b)", re.IGNORECASE)
_EURO_BEFORE = re.compile(r"(?:\u20ac|\beur(?:os?)?)[^\S\n]?-?\Z", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+")
_BETWEEN = re.compile(r"[^\S\n]+|[-\u2010\u2011]")  # not a dash with spaces, nor the end of a line
_FRACTION_AFTER = re.compile(
    r"[\s-]+(?:and|&)[\s-]+(?:(?P<three>three[\s-]quarters)|(?:(?:a|one)[\s-]+)?half|(?:a|one)[\s-]+(?P<one>quarter))\b"
    r"|\s*(?P<sign>[\u00bc\u00bd\u00be])|\s+(?P<slash>1/2|1/4|3/4)\b",
    re.IGNORECASE,
)
_FRACTION_ALONE = re.compile(
    r"\bhalf[\s-]+(?:a|an|of\s+an?)\b|\b(?P<three>three[\s-]quarters)\b(?:\s+of\s+an?\b)?"
    r"|\b(?:(?:a|one)\s+)?(?P<one>quarter)\s+of\s+an?\b|(?P<sign>[\u00bc\u00bd\u00be])",
    re.IGNORECASE,
)
_DOZENS = re.compile(r"\b(?P<half>half[\s-]+)?a[\s-]+dozen\b", re.IGNORECASE)
_FRACTIONS = {"\u00bc": 0.25, "\u00bd": 0.5, "\u00be": 0.75, "1/4": 0.25, "1/2": 0.5, "3/4": 0.75}
_FRACTION_HINTS = ("half", "quarter", "dozen", "\u00bc", "\u00bd", "\u00be")
#: As far back as a minus may stand before its number: without a bound, a long text takes quadratic time.
_MINUS_REACH = 28
#: The last letters of what may stand before a number and turn it round: minus, negative, by, EUR, a sign, a currency.
_BEFORE_MINUS = frozenset("sSeEyYrR-\u2212\u00a3$\u20ac")
_CURRENCY = r"(?:[\u00a3$\u20ac]\s?|EUR\s)?"
_MINUS_WORD = re.compile(
    rf"(?:\b(?:minus|negative)\s+{_CURRENCY}|(?<![\w)\]/])[-\u2212][\u00a3$\u20ac])\Z", re.IGNORECASE
)
#: What says that an amount is owed; a minus sign may still stand there.
_OWED = re.compile(rf"\b(?:overdrawn|in\s+the\s+red|in\s+debt)\s+by\s+{_CURRENCY}\Z", re.IGNORECASE)


def find_numbers(text: str) -> list[Number]:
    """All numbers in a text, in order of where they start: digits, words, ordinals, decimals, fractions, minus signs.

    A number knows the unit behind it where that is one of ``units.py``. Where numbers make one value together, the
    composite stands before its parts.
    """
    found = _with_wholes([_digits(match, text) for match in _DIGITS.finditer(text)] + _worded(text), text)
    found = [_with_minus_word(number, text) for number in found]
    return with_loose_hundreds(with_composites(found, text), text)


def _with_wholes(simple: list[Number], text: str) -> list[Number]:
    """Fractions behind numbers and alone, and dozens; what stands within one of them is no number of its own."""
    simple.sort(key=lambda number: number.start)
    found: list[Number] = []
    dropped: set[int] = set()
    reach = 0  # up to here a fraction has taken the words
    for number in simple:
        if number.start >= reach:
            whole = _with_fraction(number, text)
            if whole is not number:
                reach = whole.end
            found.append(whole)
    lowered = text.lower()
    if not any(hint in lowered for hint in _FRACTION_HINTS):
        return found
    alone = [(match, 0.5 * _DOZEN if match["half"] else float(_DOZEN)) for match in _DOZENS.finditer(text)]
    alone += [(match, _fraction(match)) for match in _FRACTION_ALONE.finditer(text)]
    owners = {place: index for index, number in enumerate(found) for place in range(number.start, number.end)}
    reach = 0
    for match, value in sorted(alone, key=lambda one: (one[0].start(), -one[0].end())):
        start, end = match.span()
        met = {owners[place] for place in range(start, end) if place in owners}
        if start >= reach and all(start <= found[index].start and found[index].end <= end for index in met):
            dropped |= met
            found.append(Number(start, end, value))
            reach = end
    kept = [number for index, number in enumerate(found) if index not in dropped]
    return sorted(kept, key=lambda number: number.start)


def _fraction(match: re.Match[str]) -> float:
    written = match["sign"] or match.groupdict().get("slash")
    return _FRACTIONS[written] if written else 0.75 if match["three"] else 0.25 if match["one"] else 0.5


def _digits(match: re.Match[str], text: str) -> Number:
    body = re.sub(r"\s", "", match["body"])
    if "," in body or "." in body:
        near_euro = _EURO_AFTER.match(text, match.end()) or _EURO_BEFORE.search(
            text, max(0, match.start() - 6), match.start()
        )
        # "1.467 euros" is a thousand and more where euros are used; "1.467" alone is not.
        if (near_euro and re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", body)) or re.fullmatch(r"[\d.]*,\d{1,2}", body):
            body = body.replace(".", "").replace(",", ".")
    value = Decimal(body.replace(",", "")) * (1000 if match["thousands"] else 1)
    ordinal = bool(match["ordinal"]) and body.isdigit() and not match["sign"]
    end = match.end() if ordinal or not match["ordinal"] else match.end("body")
    return Number(match.start(), end, float(-value if match["sign"] else value), ordinal=ordinal)


def _with_fraction(number: Number, text: str) -> Number:
    match = None if number.ordinal or not number.value.is_integer() else _FRACTION_AFTER.match(text, number.end)
    if match is None:
        return number
    fraction = _fraction(match)
    return Number(number.start, match.end(), number.value + (fraction if number.value >= 0 else -fraction))


def _with_minus_word(number: Number, text: str) -> Number:
    reach = max(0, number.start - _MINUS_REACH)
    if text[reach : number.start].rstrip()[-1:] not in _BEFORE_MINUS:
        return number  # most numbers; the searches take longer
    match = _MINUS_WORD.search(text, reach, number.start)
    if match is not None:
        return replace(number, start=match.start(), value=-number.value)
    owed = number.value > 0 and _OWED.search(text, reach, number.start)
    return replace(number, value=-number.value) if owed else number


def _worded(text: str) -> list[Number]:
    """Number words, joined by spaces or hyphens: fifty-one, two hundred and five, thirteen point two, twenty-third."""
    words = [(match.start(), match.end(), match.group().lower()) for match in _WORD.finditer(text)]
    found, position = [], 0
    while position < len(words):
        start, end, word = words[position]
        if word == "point" and _joined(words, position + 1, text):
            # "point eight" for 0.8; "at this point one of them" is why the digit stays a number of its own, too.
            stop, value = _decimals(words, position + 1, text, 0.0)
            found += [Number(start, words[stop - 1][1], value)] if stop > position + 1 else []
        if word not in _OPENING and not _is_one_scale(words, position, text):
            position += 1
            continue
        stop, value = _cardinal(words, position, text)
        rank = _ordinal(words, position, stop, text)
        if rank is not None:
            if stop > position and words[stop][2] == "second":
                # The 22nd, or twenty seconds: what a feature measures tells the two apart.
                found.append(Number(start, words[stop][1], value, UNITS["seconds"], composite=True))
            found.append(Number(start, words[stop][1], value + rank, ordinal=True))
            position = stop + 1
        elif stop > position:
            stop, value = _point(words, stop, text, value)
            found.append(Number(start, words[stop - 1][1], value))
            position = stop
        else:
            if word in _TIMES:
                found.append(Number(start, end, float(_TIMES[word])))
            position += 1
    return found


def _joined(words: list[tuple[int, int, str]], position: int, text: str) -> bool:
    """Whether the word at ``position`` follows the one before it with nothing but a space or hyphen between."""
    return position < len(words) and bool(_BETWEEN.fullmatch(text, words[position - 1][1], words[position][0]))


def _is_one_scale(words: list[tuple[int, int, str]], position: int, text: str) -> bool:
    """Whether "hundred" or "thousand" stands for one: "a hundred and ten", "hundred and twenty over eighty"."""
    word = words[position][2]
    if word not in {"hundred", "thousand"}:
        return False
    before = words[position - 1][2] if position and _joined(words, position, text) else ""
    if before == "a":
        return True
    follows = position + 2 < len(words) and words[position + 1][2] == "and"
    follows = follows and _joined(words, position + 1, text) and _joined(words, position + 2, text)
    return follows and words[position + 2][2] in {*_UNITS, *_TENS} and before not in _SOME


def _cardinal(words: list[tuple[int, int, str]], start: int, text: str) -> tuple[int, float]:
    total, group, stop, last = 0, 0, start, ""
    position = start
    if words[start][2] in _SCALES:  # one of them
        group, last = 1, "a"
    while position < len(words) and (position == start or _joined(words, position, text)):
        word = words[position][2]
        if word == "and" and last in _SCALES and position + 1 < len(words):
            following = words[position + 1][2]
            if not (_joined(words, position + 1, text) and (following in _UNITS or following in _TENS)):
                break
            position += 1
            continue
        if word in _UNITS and (not last or last in _SCALES or (last in _TENS and 0 < _UNITS[word] < 10)):  # noqa: PLR2004 - units after tens
            group += _UNITS[word]
        elif word in _TENS and (not last or last in _SCALES):
            group += _TENS[word]
        elif word in _SCALES and last and group:
            factor = _SCALES[word]
            total, group = (total + group * factor, 0) if factor == _THOUSAND else (total, group * factor)
        else:
            break
        last = word
        position += 1
        stop = position
    return stop, float(total + group)


def _ordinal(words: list[tuple[int, int, str]], start: int, stop: int, text: str) -> int | None:
    """What the word at ``stop`` adds as an ordinal to the number words from ``start``; None where it is no ordinal."""
    if stop >= len(words):
        return None
    word = words[stop][2]
    if stop == start:
        time = word == "second" and _is_time(words, stop, text)
        return None if time else _ORDINAL_UNITS.get(word) or _ORDINAL_TENS.get(word)
    rank = _ORDINAL_UNITS.get(word, 10)
    follows = words[stop - 1][2] in _TENS and _joined(words, stop, text)
    return rank if follows and rank < 10 else None  # noqa: PLR2004 - units after tens


def _is_time(words: list[tuple[int, int, str]], position: int, text: str) -> bool:
    """Whether the word "second" is a span of time here: behind a number, or "a second"."""
    start = words[position][0]
    if text[max(0, start - 3) : start].rstrip(" -\u2010\u2011")[-1:].isnumeric():
        return True
    before = words[position - 1][2] if position and _joined(words, position, text) else ""
    return before in {"a", "per", "each", "every", "half", "point", *_UNITS, *_TENS, *_SCALES}


def _point(words: list[tuple[int, int, str]], position: int, text: str, value: float) -> tuple[int, float]:
    if not (_joined(words, position, text) and words[position][2] == "point"):
        return position, value
    stop, whole = _decimals(words, position + 1, text, value)
    return (stop, whole) if stop > position + 1 else (position, value)


def _decimals(words: list[tuple[int, int, str]], start: int, text: str, value: float) -> tuple[int, float]:
    """Where the digits behind a point end, and the whole number with them; ``start`` where there are none."""
    digits, stop = "", start
    while _joined(words, stop, text) and words[stop][2] in _DIGIT_WORDS:
        digits += str(_DIGIT_WORDS[words[stop][2]])
        stop += 1
    return stop, float(Decimal(f"{value:.0f}.{digits or 0}"))


def write_number(value: float, rng: random.Random, *, worded: float = 0.2) -> str:
    """Write a number as a person might; ``worded`` is the chance of words where words are natural."""
    magnitude = abs(value)
    sign = "" if value >= 0 else rng.choice(["-", "-", "minus "])
    whole = float(magnitude).is_integer()
    if rng.random() < worded:
        spoken = _spoken(magnitude, rng)
        if spoken is not None:
            return ("minus " if value < 0 else "") + spoken
    if whole:
        if magnitude >= _THOUSAND and magnitude % 100 == 0 and rng.random() < 0.3:  # noqa: PLR2004 - round thousands
            thousands = format((Decimal(int(magnitude)) / _THOUSAND).normalize(), "f")
            return sign + thousands + rng.choice(["k", "k", "K", " thousand", " grand"])
        digits = str(int(magnitude))
        if magnitude >= 1000 and rng.random() < 0.5:  # noqa: PLR2004 - thousands separator
            digits = f"{int(magnitude):,}"
        return sign + digits + (".0" if rng.random() < 0.04 else "")  # noqa: PLR2004 - a printout's zero
    return sign + format(Decimal(repr(magnitude)), "f")


def _spoken(magnitude: float, rng: random.Random) -> str | None:
    whole = int(magnitude)
    if magnitude > 999:  # noqa: PLR2004 - nobody writes longer ones out
        return None
    said = _cardinal_words(whole, rng)
    if magnitude == whole:
        return said
    if magnitude - whole == 0.5 and whole and rng.random() < 0.6:  # noqa: PLR2004 - a half
        return f"{said} and a half"
    decimals = format(Decimal(repr(magnitude)), "f").split(".")[1]
    return f"{said} point " + " ".join(_SMALL[int(digit)] for digit in decimals)


def _cardinal_words(whole: int, rng: random.Random) -> str:
    if whole < len(_SMALL):
        return _SMALL[whole]
    if whole < 100:  # noqa: PLR2004 - tens
        tens = next(word for word, value in _TENS.items() if value == whole // 10 * 10)
        return tens + (rng.choice("--- ") + _SMALL[whole % 10] if whole % 10 else "")
    rest = whole % 100
    joiner = rng.choice([" ", " and "])
    return f"{_SMALL[whole // 100]} hundred" + (joiner + _cardinal_words(rest, rng) if rest else "")


def ordinal_words(whole: int, rng: random.Random) -> str:
    """An integer from 1 to 99 as an ordinal in words: fourteenth, twenty-third."""
    if whole <= len(_ORDINAL_UNITS):
        return next(word for word, value in _ORDINAL_UNITS.items() if value == whole)
    tens, rest = whole // 10 * 10, whole % 10
    if not rest:
        return next(word for word, value in _ORDINAL_TENS.items() if value == tens)
    return next(w for w, v in _TENS.items() if v == tens) + rng.choice("--- ") + ordinal_words(rest, rng)
