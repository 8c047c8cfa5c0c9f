"""Numbers with their units, and what a number in one unit is in another: the value that a feature takes from it.

Only units with an exact relation are known: clock time (seconds to weeks), age (months and years), mass, mass in a
volume, pressure, pounds of twenty shillings, and millimoles in a litre, which are a mass where the feature tells of
what (``substances.py``). Everything else ("beats", "euros") is no unit here, so that a number before it stays as it
stands.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Literal

from llamdex_fl.connectors.substances import grams_a_mole
from llamdex_fl.schema import Feature

__all__ = ["STERLING", "UNITS", "Number", "Unit", "unit_after", "unit_of", "value_for", "values_for"]

Dimension = Literal["clock", "calendar", "mass", "concentration", "molar", "pressure", "money"]
_DAYS_A_YEAR = Decimal("365.25")
_HUNDREDTH = Decimal("0.01")
#: Beyond this no value is rounded: it is none anyway.
_MOST_EXACT = 1e6


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as a multiple of its dimension's own: seconds, months, grams, grams in a litre, mm Hg.

    ``mass`` is the numerator of a concentration, in grams.
    """

    name: str
    dimension: Dimension
    factor: Decimal
    mass: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written: ``text[start:end]`` says ``value``.

    Attributes:
        start: where it begins in the text.
        end: where it ends; a unit behind it stands outside, but a composite holds its units.
        value: the number.
        unit: what it counts, where that stands behind it and is known.
        composite: its unit is part of it; mostly several numbers that make one ("4 minutes and 5 seconds"), which
            are found beside it. One without a unit is a sum of relatives (``kin.py``).
        ordinal: "14th", "fourteenth".
    """

    start: int
    end: int
    value: float
    unit: Unit | None = None
    composite: bool = False
    ordinal: bool = False


def _unit(name: str, dimension: Dimension, factor: str, mass: str | None = None) -> Unit:
    return Unit(name, dimension, Decimal(factor), None if mass is None else Decimal(mass))


_LITRE = r"(?:l|lit(?:re|er)s?)"
_PER = r"\s?(?:/|per|a)\s?"
_GRAM, _MILLI, _MICRO = (
    r"(?:g|gm|gr|grams?|grammes?)",
    r"(?:mg|milligram(?:me)?s?)",
    r"(?:[u\u00b5\u03bc]g|mcg|microgram(?:me)?s?)",
)
_CUBIC_CENTIMETRE = r"(?:ml|cc|cm3|cm\u00b3|cm\^3|millilit(?:re|er)s?)"
_DECILITRE = r"(?:dl|decilit(?:re|er)s?|100\s?ml)"
#: Each unit with the ways in which people write it; the first that fits counts, so the longer come first.
_WRITTEN: tuple[tuple[Unit, str], ...] = (
    (_unit("mg/dl", "concentration", "0.01", "0.001"), rf"{_MILLI}{_PER}{_DECILITRE}|mg\s?%"),
    (_unit("g/dl", "concentration", "10", "1"), rf"{_GRAM}{_PER}{_DECILITRE}"),
    (_unit("g/ml", "concentration", "1000", "1"), rf"{_GRAM}{_PER}{_CUBIC_CENTIMETRE}"),
    (_unit("kg/l", "concentration", "1000", "1000"), rf"kg{_PER}{_LITRE}"),
    (_unit("kg/m3", "concentration", "1", "1000"), rf"kg{_PER}(?:m3|m\u00b3|m\^3|cubic\s+met(?:re|er))"),
    (_unit("g/l", "concentration", "1", "1"), rf"{_GRAM}{_PER}{_LITRE}|g\s?l-1"),
    (_unit("mg/l", "concentration", "0.001", "0.001"), rf"{_MILLI}{_PER}{_LITRE}|mg\s?l-1"),
    (_unit("ug/l", "concentration", "0.000001", "0.000001"), rf"{_MICRO}{_PER}{_LITRE}"),
    (_unit("mmol/l", "molar", "1"), rf"(?:mmols?|millimoles?){_PER}{_LITRE}|mmol\s?l-1"),
    (_unit("mm Hg", "pressure", "1"), r"mm\s?hg|torr|millimet(?:re|er)s?\s+of\s+mercury"),
    (_unit("cm Hg", "pressure", "10"), r"cm\s?hg|centimet(?:re|er)s?\s+of\s+mercury"),
    (_unit("kPa", "pressure", "7.50062"), r"kpa|kilopascals?"),
    (_unit("kg", "mass", "1000"), r"(?:kg|kilos?|kilogram(?:me)?s?)"),
    (_unit("g", "mass", "1"), _GRAM),
    (_unit("mg", "mass", "0.001"), _MILLI),
    (_unit("years", "calendar", "12"), r"y/o|y\.o\.|yo|y|yrs?|years?"),
    (_unit("months", "calendar", "1"), r"months?|mths?|mos?"),
    (_unit("weeks", "clock", "604800"), r"weeks?|wks?"),
    (_unit("days", "clock", "86400"), r"days?"),
    (_unit("hours", "clock", "3600"), r"hours?|hrs?|h"),
    (_unit("minutes", "clock", "60"), r"minutes?|mins?"),
    (_unit("seconds", "clock", "1"), r"seconds?|secs?|s"),
)
#: Pounds of twenty shillings: no number has this unit but an amount in shillings or pence (``old_money.py``).
STERLING = _unit("pounds", "money", "1")
_STERLING = re.compile(r"(?:pounds?(?: sterling)?|GBP|\u00a3)", re.IGNORECASE)
#: The units by name.
UNITS = {unit.name: unit for unit, _ in _WRITTEN}
_ANY = "|".join(f"(?P<u{index}>{pattern})" for index, (_, pattern) in enumerate(_WRITTEN))
_LETTER = re.compile(r"[^\S\n]{0,2}[-\u2010\u2011]?[^\W\d_]")
#: Behind a number: a space or a hyphen, then a unit that no letter and no slash goes on from.
_AFTER = re.compile(rf"(?:[^\S\n]{{0,2}}|[-\u2010\u2011])(?:{_ANY})(?![^\W\d_]|/)", re.IGNORECASE)


def unit_after(text: str, position: int) -> tuple[Unit, int] | None:
    """The unit that stands directly behind a number, and where its letters end; None where there is none."""
    if _LETTER.match(text, position) is None:  # most numbers have no letters behind them, and this is faster
        return None
    match = _AFTER.match(text, position)
    if match is None or match.lastgroup is None:
        return None
    return _WRITTEN[int(match.lastgroup[1:])][0], match.end()


@cache
def unit_of(written: str | None) -> Unit | None:
    """The unit that a schema gives a feature, None where it gives none or one that is not known here."""
    if written and _STERLING.fullmatch(written.strip()):
        return STERLING
    found = unit_after(written, 0) if written else None
    if found is None or re.match(r"\s*(?:per|a|an|/)\b", str(written)[found[1] :]):
        return None
    return found[0]


@cache
def _mentions(written: str, unit: str) -> bool:
    """Whether a unit that is not known here has this one in it: "completed weeks"."""
    return any(found[0].name == unit for word in written.split() if (found := unit_after(word, 0)) is not None)


def value_for(number: Number, feature: Feature) -> float | None:
    """What a number is in a feature's unit; None where it cannot be a value of it, whatever the feature's range.

    A number without a unit stands as it is, and so does any simple number for a feature without a unit. Ages that are
    not given in years are rounded to two decimals, as passenger lists have them: 11 months are 0.92 years. An ordinal
    says a count or an age ("her 53rd birthday"), and nothing that is measured.
    """
    wanted, unit = unit_of(feature.unit), number.unit
    uncounted = number.ordinal and feature.unit is not None and (wanted is None or wanted.dimension != "calendar")
    if feature.is_category or feature.is_text or uncounted:
        return None
    if feature.unit is None or (number.composite and unit is None):
        kin = unit is None and feature.unit is None and feature.kind == "integer"  # a sum of relatives
        return number.value if kin or not number.composite else None
    if unit is None and not float(number.value).is_integer() and not feature.contains(number.value):
        return _millimoles(number.value, feature) or number.value  # "cholesterol 5.4", as most of the world measures it
    if unit is None or wanted is unit:
        return number.value
    if wanted is None:
        return number.value if _mentions(feature.unit, unit.name) and not number.composite else None
    return _converted(number.value, unit, wanted, feature)


def values_for(numbers: Sequence[Number], feature: Feature) -> list[float | None]:
    """For each number the value that a feature can take from it, None where it can take none.

    Where a composite is a value of the feature, its parts are none: "4 minutes and 5 seconds" is not 240 seconds. The
    numbers are in the order in which they were found.
    """
    values = [value_for(number, feature) for number in numbers]
    values = [value if value is not None and feature.contains(value) else None for value in values]
    end = 0  # of the last composite that is a value: its parts stand behind it, and are none
    for place, number in enumerate(numbers):
        if number.end <= end:
            values[place] = None
        elif number.composite and values[place] is not None:
            end = number.end
    return values


@cache
def _molar(feature: Feature) -> Decimal | None:
    """What a millimole in a litre is in a feature's unit, None where the feature is no known substance in a volume."""
    wanted, grams = unit_of(feature.unit), grams_a_mole(feature)
    if wanted is None or wanted.dimension != "concentration" or grams is None:
        return None
    return grams / 1000 / wanted.factor


def _millimoles(value: float, feature: Feature) -> float | None:
    """What so many millimoles in a litre are in a feature's unit; whole where the feature is, else to two decimals."""
    factor = _molar(feature)
    if factor is None or abs(value) >= _MOST_EXACT:
        return None
    return _rounded(Decimal(repr(value)) * factor, whole=feature.kind == "integer")


def _rounded(value: Decimal, *, whole: bool) -> float:
    return float(value.quantize(Decimal(1) if whole else _HUNDREDTH, ROUND_HALF_UP))


def _converted(value: float, unit: Unit, wanted: Unit, feature: Feature) -> float | None:
    if unit.dimension == "molar":
        return _millimoles(value, feature)
    exact = Decimal(repr(value))
    if wanted.dimension == unit.dimension:
        result = exact * unit.factor / wanted.factor
    elif wanted.dimension == "concentration" and unit.dimension == "mass" and wanted.mass is not None:
        result = exact * unit.factor / wanted.mass  # "95 mg of chlorides": in what the feature is measured in
    elif wanted.dimension == "calendar" and unit.name in {"weeks", "days"}:
        result = exact * unit.factor / UNITS["days"].factor * 12 / _DAYS_A_YEAR / wanted.factor
    else:
        return None
    if wanted.name == "years":
        result = result.quantize(_HUNDREDTH, ROUND_HALF_UP) if abs(result) < _MOST_EXACT else result
    if wanted.dimension == "pressure" and abs(result) < _MOST_EXACT:
        return _rounded(result, whole=feature.kind == "integer")
    return float(result)
