"""What people get out: numbers spoken loosely, numbers and categories that are wrong at first and then corrected."""

import random
from decimal import Decimal

from llamdex_fl.connectors.loose_hundreds import loosely
from llamdex_fl.connectors.numbers import write_number

__all__ = ["CORRECTED", "corrected", "slipped", "written"]

#: How often a category is said wrongly first.
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

_CORRECTED = (
    "{}, no, sorry, ", "{} - no wait, ", "{}, sorry, ", "{}, I mean ", "not {} but ", "{}? no, ", "{} (typo), ",
    "{}, correction: ", "{}, scratch that, ", "{}... no, ", "{}, or rather ", "{} oops ",
    "about {}, exactly ", "{} or so, to be exact ", "{} they say, but the file says ", "not {}, it's ", "not {}: ",
)  # fmt: skip
_LOOSE = 0.4


def written(value: float, rng: random.Random, *, worded: float) -> str:
    """A number in digits, or in words in full or as they are spoken; ``worded`` is the chance of words."""
    text = write_number(value, rng, worded=worded)
    return loosely(value, text, rng) if text[:1].isalpha() and rng.random() < _LOOSE else text


def slipped(value: float, rng: random.Random) -> str:
    """Another number, and words that take it back before the right one is said: "112, no, sorry, "."""
    exact = Decimal(repr(float(value))).normalize()
    decimals = max(0, -int(exact.as_tuple().exponent))
    step = Decimal(1).scaleb(-decimals)
    wrong = (abs(exact) * Decimal(repr(round(rng.uniform(0.6, 1.4), 3)))).quantize(step)
    wrong += step if wrong == exact else 0
    return rng.choice(_CORRECTED).format(f"{wrong:f}")


def corrected(wrong: str, right: str, rng: random.Random, *, clause: bool = False) -> str:
    """The right words behind wrong ones that are taken back; ``clause`` where both are whole clauses."""
    if rng.random() < 0.2:  # noqa: PLR2004 - said to be wrong from the start
        return f"it is not true that {wrong}: {right}" if clause else f"not {wrong} but {right}"
    return f"{wrong}{rng.choice(_LINKS)}{right}"
