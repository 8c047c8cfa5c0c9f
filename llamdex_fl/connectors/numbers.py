"""Numbers in running text: find every one that is written, and write one in the ways that people do.

Finding is exact and knows nothing of schemas: which number belongs to which feature is the reader's business.
``find_numbers(write_number(x))`` always holds a number equal to ``x``; a property test keeps it so.
"""

import random
import re
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["Number", "find_numbers", "write_number"]

_SMALL = (  # noqa: SIM905 - words are read more easily in a line than in quotes
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = {
    word: 10 * ten
    for ten, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)  # noqa: SIM905 - as above
}
_UNITS = {word: value for value, word in enumerate(_SMALL)} | {"nought": 0, "nil": 0, "fourty": 40}
_SCALES = {"hundred": 100, "thousand": 1000}
_DIGIT_WORDS = {word: value for value, word in enumerate(_SMALL[:10])} | {"nought": 0, "oh": 0}

_DIGITS = re.compile(
    r"""
    (?<![\d.,])                       # not inside another number
    (?P<sign>(?<![\w)\]/])[-\u2212\u2013](?=[\d.]))?  # a minus, not a hyphen or a dash between words
    (?:
        \d{1,3}(?:,\d{3})+(?:\.\d+)?   # 2,688 or 2,688.50
      | \d+,\d{1,2}(?![\d,])           # 1,5 as continental writers put it
      | \d+(?:\.\d+)?                  # 51 or 39.69
      | \.\d+                          # .5
    )
    """,
    re.VERBOSE,
)
_WORD = re.compile(r"[A-Za-z]+")
_BETWEEN = re.compile(r"[^\S\n]+|[-\u2010\u2011]")  # not a dash with spaces, nor the end of a line
_HALF_AFTER = re.compile(r"\s+(?:and|&)\s+(?:a\s+|one\s+)?half\b|\s*\u00bd|\s+1/2\b", re.IGNORECASE)
_HALF_ALONE = re.compile(r"\bhalf\s+(?:a|an|of\s+a)\b|\u00bd", re.IGNORECASE)
#: As far back as a minus may stand before its number: without a bound, a long text takes quadratic time.
_MINUS_REACH = 24
_MINUS_WORD = re.compile(r"\b(?:minus|negative)\s+\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written: ``text[start:end]`` says ``value``."""

    start: int
    end: int
    value: float


def find_numbers(text: str) -> list[Number]:
    """All numbers in a text, in order: digits, number words, decimals, halves, minus signs."""
    found = [_digits(match) for match in _DIGITS.finditer(text)]
    found += _worded(text)
    found = [_with_half(_with_minus_word(number, text), text) for number in found]
    taken = {place for number in found for place in range(number.start, number.end)}
    for match in _HALF_ALONE.finditer(text):
        if not taken.intersection(range(match.start(), match.end())):
            found.append(Number(match.start(), match.end(), 0.5))
    return sorted(found, key=lambda number: number.start)


def _digits(match: re.Match[str]) -> Number:
    body = match.group().lstrip("-\u2212\u2013")
    if re.fullmatch(r"\d+,\d{1,2}", body):
        body = body.replace(",", ".")
    value = float(Decimal(body.replace(",", "")))
    return Number(match.start(), match.end(), -value if match.group("sign") else value)


def _with_half(number: Number, text: str) -> Number:
    match = _HALF_AFTER.match(text, number.end)
    if match is None or not number.value.is_integer():
        return number
    return Number(number.start, match.end(), number.value + (0.5 if number.value >= 0 else -0.5))


def _with_minus_word(number: Number, text: str) -> Number:
    match = _MINUS_WORD.search(text, max(0, number.start - _MINUS_REACH), number.start)
    return number if match is None else Number(match.start(), number.end, -number.value)


def _worded(text: str) -> list[Number]:
    """Number words, joined by spaces or hyphens: fifty-one, two hundred and five, thirteen point two."""
    words = [(match.start(), match.end(), match.group().lower()) for match in _WORD.finditer(text)]
    found, position = [], 0
    while position < len(words):
        stop, value = _cardinal(words, position, text)
        if stop > position:
            stop, value = _point(words, stop, text, value)
            found.append(Number(words[position][0], words[stop - 1][1], value))
            position = stop
        else:
            position += 1
    return found


def _joined(words: list[tuple[int, int, str]], position: int, text: str) -> bool:
    """Whether the word at ``position`` follows the one before it with nothing but a space or hyphen between."""
    return position < len(words) and bool(_BETWEEN.fullmatch(text, words[position - 1][1], words[position][0]))


def _cardinal(words: list[tuple[int, int, str]], start: int, text: str) -> tuple[int, float]:
    total, group, stop, last = 0, 0, start, ""
    position = start
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
            total, group = (total, group * 100) if word == "hundred" else (total + group * 1000, 0)
        else:
            break
        last = word
        position += 1
        stop = position
    return stop, float(total + group)


def _point(words: list[tuple[int, int, str]], position: int, text: str, value: float) -> tuple[int, float]:
    if not (_joined(words, position, text) and words[position][2] == "point"):
        return position, value
    digits, stop = "", position + 1
    while _joined(words, stop, text) and words[stop][2] in _DIGIT_WORDS:
        digits += str(_DIGIT_WORDS[words[stop][2]])
        stop += 1
    return (stop, float(Decimal(f"{value:.0f}.{digits}"))) if digits else (position, value)


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
