"""Made-up records: inside a schema's public bounds, and after no private data."""

import math
import random

from llamdex_fl.connectors.questions.saying import MOST_MONTHS, fits
from llamdex_fl.schema import Feature, Schema, Value

#: How often an age is a small child's, in whole months: chance alone would make next to none of them.
_IN_MONTHS = 0.08

__all__ = ["sample_record"]


def sample_record(schema: Schema, rng: random.Random) -> dict[str, Value]:
    """A record inside the public bounds, some features absent. It follows no private data."""
    missing = rng.choice([0.0, 0.1, 0.2, 0.35])
    return {
        feature.name: None if rng.random() < missing else _sample_value(feature, rng) for feature in schema.features
    }


def _sample_value(feature: Feature, rng: random.Random) -> Value:
    if feature.is_category:
        return rng.choice(feature.categories)
    low, high = feature.low_high()
    if fits("months", feature) and feature.kind == "number" and rng.random() < _IN_MONTHS:
        months = round(rng.randint(1, MOST_MONTHS) / 12, 2)
        return min(max(months, low), high)
    if low <= 0 <= high and rng.random() < 0.2:  # noqa: PLR2004 - "none" is a common thing to say
        return 0.0
    # Small counts: small values are the common ones.
    spread = rng.choice([0.2, 0.2, 0.4, 1.0] if high - low <= 12 else [0.1, 0.4, 1.0, 1.0])  # noqa: PLR2004
    value = low + (high - low) * spread * rng.random() if low >= 0 else rng.uniform(low, high)
    if feature.kind == "integer" or rng.random() < 0.25:  # noqa: PLR2004 - whole numbers are common
        whole = min(max(round(value), math.ceil(low)), math.floor(high))
        value = whole if low <= whole <= high else value
        return float(value)
    rounded = round(value, 1 if high - low < 200 and rng.random() < 0.8 else 2)  # noqa: PLR2004
    return min(max(rounded, low), high) + 0.0  # nobody says minus zero
