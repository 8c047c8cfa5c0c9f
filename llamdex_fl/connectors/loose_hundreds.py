"""Numbers as they are spoken: "one forty" for 140, "two oh four" for 204, "one three five", "a hundred and ten"."""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from llamdex_fl.connectors.units import Number

__all__ = ["loosely", "with_loose_hundreds"]

_DIGITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_HUNDREDS = {word: 100.0 * digit for digit, word in enumerate(_DIGITS, 1)}
_BETWEEN = re.compile(r"[^\S\n]|[-\u2010\u2011]")
_OH = re.compile(r"[\s-](?:oh|o)[\s-]", re.IGNORECASE)
_LEAST_TEN, _LEAST, _MOST = 10, 100, 999
_SPELT = 3


def with_loose_hundreds(numbers: Sequence[Number], text: str) -> list[Number]:
    """The numbers, and beside "one" and "forty" that stand next to each other 140; sorted by where they start.

    The parts stay: "one forty-year-old" is no 140. What a feature's range allows tells mostly which is meant.
    """
    simple = [number for number in numbers if not (number.composite or number.ordinal)]
    whole = []
    for place, (first, second) in enumerate(pairwise(simple)):
        if (spelt := _spelt(simple[place : place + 3], text)) is not None:
            whole.append(spelt)
        hundreds = _HUNDREDS.get(text[first.start : first.end].lower()) if first.unit is None else None
        if hundreds is None or not text[second.start].isalpha() or not second.value.is_integer():
            continue
        between = text[first.end : second.start]
        least = _LEAST_TEN if _BETWEEN.fullmatch(between) else 1 if _OH.fullmatch(between) else None
        if least is not None and least <= second.value < (_LEAST if least > 1 else _LEAST_TEN):
            whole.append(replace(second, start=first.start, value=hundreds + second.value))
    return sorted((*numbers, *whole), key=lambda number: (number.start, -number.end)) if whole else list(numbers)


def _spelt(numbers: Sequence[Number], text: str) -> Number | None:
    """Three digits in words that make a number: "one three five"."""
    digits = [_HUNDREDS.get(text[number.start : number.end].lower(), 0.0) / 100 for number in numbers]
    apart = [text[one.end : other.start] for one, other in pairwise(numbers)]
    if len(digits) != _SPELT or not all(digits) or not all(_BETWEEN.fullmatch(gap) for gap in apart):
        return None
    return replace(numbers[-1], start=numbers[0].start, value=digits[0] * 100 + digits[1] * 10 + digits[2])


def loosely(value: float, words: str, rng: random.Random) -> str:
    """A number as it is spoken, from the words that say it in full: "one hundred and forty" becomes "one forty".

    Words that no such form is for stay as they are. Of a decimal below one only the point is said: "point eight".
    """
    if 0 < value < 1 and words.startswith("zero point "):
        return words.removeprefix("zero ")
    if not (_LEAST <= value <= _MOST and value.is_integer() and " hundred" in words):
        return words
    head, _, rest = words.partition(" hundred")
    rest = rest.removeprefix(" and").strip()
    ways = []
    if head == "one":
        ways = [f"a hundred and {rest}", f"hundred and {rest}"] if rest else ["a hundred"]
    if value % 100 >= _LEAST_TEN:
        ways += [f"{head} {rest}", f"{head}-{rest}"] * 2
    elif value % 100:
        ways += [f"{head} oh {rest}", f"{head}-oh-{rest}"]
    return rng.choice(ways or [words])
