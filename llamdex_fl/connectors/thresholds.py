"""Categories that a measured level decides: "fasting blood sugar above 120 mg/dl" is yes where somebody writes 146.

Whether 104 is more than 120 is no matter of language: the reader points at the number, and this compares it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from llamdex_fl.connectors.numbers import find_numbers, value_for, values_for
from llamdex_fl.connectors.units import Number
from llamdex_fl.schema import Feature, Value

__all__ = ["said_by"]

_ABOVE = re.compile(r"\b(?:above|over|more than|greater than|higher than|exceeding)\s+(?=[\d.])", re.IGNORECASE)
_BELOW = re.compile(r"\b(?:below|under|less than|lower than)\s+(?=[\d.])", re.IGNORECASE)
_NO_AND_YES = {"no", "yes"}
#: So far from the limit, as shares of it, a level may lie.
_LEAST, _MOST = 0.3, 5.0
#: So near it, a number is the limit itself: "not above 120", "below 6.7 mmol/l".
_NEAR = 0.007


@dataclass(frozen=True, slots=True)
class _Threshold:
    """What is measured, the limit in its unit, and what a level above it and one below say."""

    level: Feature
    limit: float
    above: str
    below: str


def said_by(numbers: Sequence[Number], feature: Feature) -> list[Value]:
    """For each number the value of a feature that it says, None where it says none.

    Of a number's feature that is what it is in the feature's unit; of a category that the description sets a limit for
    ("above 120 mg/dl", no and yes), the category of that level.
    """
    if not feature.is_category:
        return list(values_for(numbers, feature))
    threshold = _threshold_of(feature)
    return [None if threshold is None else _category(number, threshold) for number in numbers]


def _category(number: Number, threshold: _Threshold) -> str | None:
    level = value_for(number, threshold.level)
    if level is None or not threshold.level.contains(level):
        return None
    if abs(level - threshold.limit) <= _NEAR * threshold.limit:
        return None
    return threshold.above if level > threshold.limit else threshold.below


@cache
def _threshold_of(feature: Feature) -> _Threshold | None:
    words = {category.lower(): category for category in feature.categories}
    above = _ABOVE.search(feature.description)
    found = above or _BELOW.search(feature.description)
    if found is None or set(words) != _NO_AND_YES:
        return None
    limit = next((one for one in find_numbers(feature.description) if one.start >= found.end()), None)
    if limit is None or limit.value <= 0:
        return None
    level = Feature(
        name=feature.name,
        kind="number",
        description=feature.description,
        bounds=(_LEAST * limit.value, _MOST * limit.value),
        unit=limit.unit.name if limit.unit else None,
    )
    yes, no = words["yes"], words["no"]
    return _Threshold(level, limit.value, yes if above else no, no if above else yes)
