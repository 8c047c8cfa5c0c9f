"""Made-up records: inside a schema's public bounds, and after no private data."""

import math
import random

from llamdex_fl.connectors.old_money import in_pounds
from llamdex_fl.connectors.questions.saying import MOST_MONTHS, fits
from llamdex_fl.schema import Feature, Schema, Value

#: How often an age is a small child's, in whole months: chance alone would make next to none of them.
_IN_MONTHS = 0.08
#: How often an amount of pounds is one of shillings and pence.
_IN_PENCE = 0.35

__all__ = ["sample_record"]

#: Amounts of this range are round ones now and then: a whole minute, hundreds of euros.
_WIDE, _ROUND_OFTEN = 2000, 0.2
#: How often a count is a small one, whatever it could be.
_FEW_OFTEN, _MOST_SMALL = 0.3, 12
_SHORT_OFTEN = 0.1

#: A range of less than this is read to more digits.
_NARROW = 5.0


def sample_record(schema: Schema, rng: random.Random) -> dict[str, Value]:
    """A record inside the public bounds, some features absent. It follows no private data."""
    missing = rng.choice([0.0, 0.1, 0.2, 0.35, 0.6])
    return {
        feature.name: None if rng.random() < missing else _sample_value(feature, rng) for feature in schema.features
    }


def _sample_value(feature: Feature, rng: random.Random) -> Value:
    if feature.is_category:
        return rng.choice(feature.categories)
    low, high = feature.low_high()
    common = _in_parts(feature, rng) or _few(feature, rng)
    if common is not None:
        return min(max(common, low), high)
    if low <= 0 <= high and rng.random() < 0.2:  # noqa: PLR2004 - "none" is a common thing to say
        return 0.0
    if low == -1.0 and feature.kind == "integer" and rng.random() < 0.2:  # noqa: PLR2004 - a mark: "never", "none"
        return low
    # Small counts: small values are the common ones.
    spread = rng.choice([0.2, 0.2, 0.4, 1.0] if high - low <= _MOST_SMALL else [0.1, 0.4, 1.0, 1.0])
    near = spread if low < 0 <= high else 1.0
    value = low + (high - low) * spread * rng.random() if low >= 0 else rng.uniform(low, high) * near
    whole_often = 0.25 if high - low > _NARROW else 0.03  # whole numbers are common where there are many
    if feature.kind == "integer" and high - low >= _WIDE and rng.random() < _ROUND_OFTEN:
        step = 30 if fits("duration", feature) else 100
        value = min(max(round(value / step) * step, math.ceil(low)), math.floor(high))
    if feature.kind == "integer" or rng.random() < whole_often:
        whole = min(max(round(value), math.ceil(low)), math.floor(high))
        value = whole if low <= whole <= high else value
        return float(value)
    rounded = round(value, _decimals(high - low, rng))
    return min(max(rounded, low), high) + 0.0  # nobody says minus zero


def _in_parts(feature: Feature, rng: random.Random) -> float | None:
    """Now and then an age in whole months, or an amount with shillings and pence."""
    if fits("months", feature) and feature.kind == "number" and rng.random() < _IN_MONTHS:
        return round(rng.randint(1, MOST_MONTHS) / 12, 2)
    if fits("sterling", feature) and rng.random() < _IN_PENCE:
        pounds = rng.choice([rng.uniform(3, 16), rng.uniform(3, 60), rng.uniform(*feature.low_high())])
        return in_pounds(round(pounds) * 240 + rng.choice([12 * rng.randint(1, 19), rng.randint(1, 239)]))
    return None


def _few(feature: Feature, rng: random.Random) -> float | None:
    """Now and then a small count, which is what most counts are, or a short span of time."""
    low, high = feature.low_high()
    counts = feature.kind == "integer" and feature.unit is None and 0 <= low <= 1 and high - low > _MOST_SMALL
    if counts and rng.random() < _FEW_OFTEN:
        return float(low + rng.choice([0, 0, 0, 1, 1, 2, 3, 4, 5, 6]))
    short = feature.kind == "integer" and fits("duration", feature) and rng.random() < _SHORT_OFTEN
    return float(rng.randint(1, 90)) if short else None


def _decimals(span: float, rng: random.Random) -> int:
    """How exactly a number is said: a density between 0.985 and 1.04 to the third digit or the fourth."""
    usual = 1 if span > _NARROW else max(1, math.ceil(2.0 - math.log10(span)))
    return usual if rng.random() < 0.8 and span < 200 else usual + 1  # noqa: PLR2004
