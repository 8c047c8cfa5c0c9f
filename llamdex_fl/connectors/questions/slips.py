"""What people take back: "44, no wait, 45", "single - sorry, divorced", "not 39 but 49".

The taken-back value belongs to no feature: only the words behind it are marked by whoever calls these.
"""

import math
import random

from llamdex_fl.connectors.numbers import write_number
from llamdex_fl.connectors.questions.saying import can_say, say
from llamdex_fl.schema import Feature

__all__ = ["CORRECTED", "corrected", "other_value"]

#: How often a number or a category is said wrongly first.
CORRECTED = 0.015
_LINKS = (
    ", no wait, ",
    ", no, ",
    ", sorry, ",
    " - sorry, ",
    ", or rather ",
    ", I mean ",
    " - scratch that, ",
    ", correction: ",
    " (no, wrong) ",
    ", wait, ",
    "... no, ",
    ", oops, ",
    ", well, actually ",
)


def other_value(feature: Feature, value: float, form: str | None, rng: random.Random) -> str | None:
    """Another number of a feature, near the right one, as a person might write it; None where there is none."""
    low, high = feature.low_high()
    step = max(1.0, round(abs(value) * rng.choice([0.02, 0.1, 0.3])))
    other = value + rng.choice([-1, 1]) * step
    other = float(round(other)) if feature.kind == "integer" or value.is_integer() else round(other, 2)
    if not low <= other <= high or other == value or not math.isfinite(other):
        return None
    if form is None:
        return write_number(other, rng)
    return say(form, other, rng) if can_say(form, other) else None


def corrected(wrong: str, right: str, rng: random.Random, *, clause: bool = False) -> str:
    """The right words behind wrong ones that are taken back; ``clause`` where both are whole clauses."""
    if rng.random() < 0.2:  # noqa: PLR2004 - said to be wrong from the start
        return f"it is not true that {wrong}: {right}" if clause else f"not {wrong} but {right}"
    return f"{wrong}{rng.choice(_LINKS)}{right}"
