"""The forms in which a slot may say a number: a duration, months of age, milligrams, millimoles, an ordinal, ...

Each form says some values only; ``can_say`` tells which, so that a generator takes another phrase for the others.
What ``say`` writes, ``find_numbers`` finds again with the value that was said; a property test keeps it so.
"""

import random
import re
from collections.abc import Callable, Mapping
from decimal import Decimal

from llamdex_fl.connectors.numbers import ordinal_words, write_number
from llamdex_fl.connectors.old_money import in_pounds
from llamdex_fl.connectors.units import unit_of
from llamdex_fl.schema import Feature, Value

__all__ = [
    "FORMS_OF_NUMBERS",
    "MOST_MONTHS",
    "OTHER_NUMBER",
    "can_say",
    "fits",
    "months_of",
    "other_numbers",
    "say",
]

#: Each form of a slot, with what a feature must be to take it.
FORMS_OF_NUMBERS = {
    "duration": "a feature whose unit is seconds",
    "months": "a feature whose unit is years",
    "milli": "a feature whose unit is g/l",
    "molar": "cholesterol, an integer in mg/dl",
    "centimetres": "an integer whose unit is mm Hg",
    "sterling": "a feature whose unit is pounds",
    "ordinal": "an integer",
    "times": "an integer",
}
#: A slot for a number between two bounds that is no feature's: "BP {v}/{n:55-105}"; decimals where a bound has some.
OTHER_NUMBER = re.compile(r"n:(?P<low>\d+(?:\.\d+)?)-(?P<high>\d+(?:\.\d+)?)")
_UNIT = {"duration": "seconds", "months": "years", "milli": "g/l", "sterling": "pounds"}
_UNIT |= {"molar": "mg/dl", "centimetres": "mm Hg"}
#: Grams in a mole (``substances.py``).
_CHOLESTEROL = 386.65
MOST_MONTHS, _MOST_ORDINAL, _MOST_TIMES = 36, 99, 99
_HALF_A_MINUTE, _MINUTE, _HOUR = 30, 60, 3600


def fits(form: str, feature: Feature) -> bool:
    """Whether a feature's slot may have this form: what it measures decides."""
    if form not in _UNIT:
        return form in FORMS_OF_NUMBERS and feature.kind == "integer"
    unit = unit_of(feature.unit)
    if form in {"molar", "centimetres"} and feature.kind != "integer":
        return False
    if form == "molar" and "cholesterol" not in feature.name:
        return False
    return not feature.is_category and unit is not None and unit.name == _UNIT[form]


def can_say(form: str, value: Value) -> bool:
    """Whether a form says this value, and exactly."""
    if not isinstance(value, float):
        return False
    if form in _EXACTLY:
        return _EXACTLY[form](value)
    least, most = {"duration": (0, 1e6), "ordinal": (1, _MOST_ORDINAL), "times": (1, _MOST_TIMES)}[form]
    return value.is_integer() and least <= value <= most


def months_of(years: float) -> int | None:
    """The months, 1 to 36, that an age in years says, rounded to two decimals as lists have it; else None."""
    months = round(years * 12) if 0 < years <= MOST_MONTHS else 0
    return months if 1 <= months <= MOST_MONTHS and round(months / 12, 2) == years else None


def say(form: str, value: float, rng: random.Random, *, worded: float = 0.3) -> str:
    """Write a number in a form that can say it; ``worded`` is the chance of number words for its digits."""
    words = 1.0 if rng.random() < worded else 0.0
    whole = int(value)
    if form == "duration":
        return _duration(whole, rng, words)
    if form == "months":
        return _months(months_of(value) or 0, rng, words)
    if form in {"milli", "molar", "centimetres"}:
        return _measured(form, value, rng, words)
    if form == "sterling":
        return _sterling(_pence_of(value) or 0, rng, words)
    if form == "ordinal":
        return ordinal_words(whole, rng) if words else f"{whole}{_suffix(whole)}"
    return {1: "once", 2: "twice"}.get(whole) or f"{_digits(whole, rng, words)} times"


def _measured(form: str, value: float, rng: random.Random, words: float) -> str:
    """A measured value with its unit; in words only where it is in milligrams."""
    if form == "milli":
        milli = float(Decimal(repr(value)) * 1000)
        return _digits(milli, rng, words) + rng.choice(
            [" mg/l", " mg/l", " mg/L", "mg/l" if not words else " mg/l", " mg per litre", " milligrams per liter"]
        )
    if form == "centimetres":
        return f"{Decimal(repr(value)) / 10:f}".removesuffix(".0") + rng.choice([" cmHg", " cm Hg", "cmHg"])
    millimoles = _millimoles(value) or 0.0
    # A whole number without its unit would be any number.
    bare = [] if millimoles.is_integer() else ["", "", " mmol"]
    return f"{millimoles:.1f}" + rng.choice([" mmol/l", " mmol/L", "mmol/L", *bare])


def _millimoles(value: float) -> float | None:
    """The millimoles of cholesterol in a litre, to one decimal, that so many mg/dl are; None where they are others."""
    rounded = round(value * 10 / _CHOLESTEROL, 1)
    return rounded if round(rounded * _CHOLESTEROL / 10) == value else None


def _pence_of(pounds: float) -> int | None:
    """The pence that an amount of pounds says, rounded to four decimals as lists have it; None where it is whole."""
    pence = round(pounds * 240)
    return pence if in_pounds(pence) == pounds and pence % 240 else None


#: Of forms that are not for every whole number: whether they say a value exactly.
_EXACTLY: Mapping[str, Callable[[float], bool]] = {
    "months": lambda value: months_of(value) is not None,
    "milli": lambda value: value >= 0 and Decimal(repr(value)) * 10_000 % 1 == 0,
    "molar": lambda value: _millimoles(value) is not None,
    "centimetres": lambda value: value >= 0 and value.is_integer(),
    "sterling": lambda value: value > 0 and _pence_of(value) is not None,
}


def _sterling(pence: int, rng: random.Random, words: float) -> str:
    """Pounds, shillings and pence; no pounds and no pence where there are none."""
    pounds, rest = divmod(pence, 240)
    shillings, left = divmod(rest, 12)
    if pounds and not pence % 252 and rng.random() < 0.5:  # noqa: PLR2004 - as often as not
        return _several(pence // 252, "guinea", rng, words)
    parts = [_several(pounds, "pound", rng, words)] if pounds else []
    parts += [_several(shillings, "shilling", rng, words)] if shillings else []
    if words and parts and left > 1 and rng.random() < 0.5:  # noqa: PLR2004 - "and sixpence"
        parts.append(f"{'tup' if left == 2 else write_number(float(left), rng, worded=1.0)}pence")  # noqa: PLR2004
    elif left:
        parts.append(_digits(left, rng, words) + (" pence" if left > 1 else " penny"))
    long = ["".join([*(f"{part}, " for part in parts[:-2]), parts[-2], " and ", parts[-1]]) if parts[1:] else parts[0]]
    long += [" ".join(parts), ", ".join(parts)]
    if words:
        return rng.choice(long)
    dots = rng.choice(["", "", "."])
    short = [f"£{pounds}"] if pounds else []
    short += [f"{shillings}s{dots}"] if shillings else []
    short += [f"{left}d{dots}"] if left else []
    ways = [*long, " ".join(short)] if pounds or (shillings and left) else long
    if pounds:
        ways += [" ".join(short), ", ".join(short)]
        mark = rng.choice("/-.")
        ways += [f"£{pounds}{mark}{shillings}{mark}{left}"] if left else []
    return rng.choice(ways)


def other_numbers(text: str, rng: random.Random) -> str:
    """A text with numbers for its slots of numbers that are no feature's."""

    def drawn(match: re.Match[str]) -> str:
        low, high = match["low"], match["high"]
        decimals = max(len(bound.partition(".")[2]) for bound in (low, high))
        return f"{rng.uniform(float(low), float(high)):.{decimals}f}"

    return re.sub(r"\{" + OTHER_NUMBER.pattern + r"\}", drawn, text) if "{n:" in text else text


def _digits(value: float, rng: random.Random, words: float) -> str:
    """Plain digits or words: no thousands separators, no ".0"."""
    if words:
        return write_number(float(value), rng, worded=1.0)
    return format(Decimal(repr(float(value))).normalize(), "f")


def _suffix(whole: int) -> str:
    teens = whole % 100 in {11, 12, 13}
    return "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(whole % 10, "th")


def _several(count: float, noun: str, rng: random.Random, words: float) -> str:
    return f"{_digits(count, rng, words)} {noun}{'' if count == 1 else 's'}"


def _months(months: int, rng: random.Random, words: float) -> str:
    years, rest = divmod(months, 12)
    ways = [_several(months, "month", rng, words)] * 3 + [_several(months, rng.choice(["mo", "mth"]), rng, 0.0)]
    if years and rest:
        glue = rng.choice([" and ", " ", ", "])
        ways.append(_several(years, "year", rng, words) + glue + _several(rest, "month", rng, words))
    if rest == 6:  # noqa: PLR2004 - half a year
        ways.append(
            {0: "half a year", 1: "a year and a half"}.get(years) or f"{_digits(years, rng, words)} and a half years"
        )
    return rng.choice(ways)


def _duration(seconds: int, rng: random.Random, words: float) -> str:
    minutes, rest = divmod(seconds, _MINUTE)
    plain = [_several(seconds, "second", rng, words), f"{seconds} {rng.choice(['s', 'sec', 'secs', 'seconds'])}"]
    if not minutes:
        return rng.choice([*plain, "half a minute"] if rest == _HALF_A_MINUTE else plain)
    return rng.choice(plain if rng.random() < 0.25 else _minutes(minutes, rest, rng, words))  # noqa: PLR2004 - some


def _minutes(minutes: int, rest: int, rng: random.Random, words: float) -> list[str]:
    """Ways to say whole minutes and what remains of the next; the long form more often than any short one."""
    long = _several(minutes, "minute", rng, words)
    short = f"{minutes} {rng.choice(['min', 'mins', 'm' if rest else 'min'])}"
    if not rest:
        article = ["about a minute", "just a minute"] if minutes == 1 else []
        return [long, long, short, f"{minutes}:00 min", f"{minutes} min", *article]
    seconds = _several(rest, "second", rng, words)
    ways = [f"{long} and {seconds}", f"{long} and {seconds}", f"{long} {seconds}", f"{long}, {seconds}"]
    ways += [
        f"{short} {rest} {'s' if short.endswith('m') else rng.choice(['s', 'sec', 'secs'])}",
        f"{minutes}m{rest:02d}s",
    ]
    ways += [f"{long} {_digits(rest, rng, words)}", f"{minutes}'{rest:02d}''", f"{minutes}min{rest:02d}"]
    ways += [f"{minutes} min. {rest} sec", f"{minutes}m {rest}s"]
    ways += [f"{minutes}:{rest:02d} {rng.choice(['min', 'minutes', 'mins'])}", f"{minutes}:{rest:02d}"]
    if rest >= _HALF_A_MINUTE:
        half = "half a minute" if not minutes else f"{_digits(minutes, rng, words)} and a half minutes"
        more = rest - _HALF_A_MINUTE
        ways.append(
            half if not more else f"{half} {rng.choice(['plus', 'and'])} {_several(more, 'second', rng, words)}"
        )
    if rest % 6 == 0:
        ways.append(f"{minutes}.{rest // 6} {rng.choice(['minutes', 'min'])}")
    if minutes >= _MINUTE:
        hours, left = divmod(minutes, _MINUTE)
        parts = [_several(n, u, rng, words) for n, u in ((hours, "hour"), (left, "minute"), (rest, "second")) if n]
        ways += [" ".join(parts), " and ".join(parts), f"{hours}:{left:02d}:{rest:02d}"]
    return ways
