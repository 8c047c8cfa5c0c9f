"""Typing errors: letters swapped or lost, never so that a number comes or goes; no capitals, or nothing else."""

import random
import re

from llamdex_fl.connectors.numbers import find_numbers

__all__ = ["typed", "typed_badly"]


def typed(text: str, rng: random.Random, *, noise: float) -> str:
    """A text as somebody typed it, with something amiss at a chance of ``noise``."""
    if rng.random() >= noise:
        return text
    kind = rng.random()
    if kind < 0.4:  # noqa: PLR2004 - no capitals
        return text.lower()
    if kind < 0.5:  # noqa: PLR2004 - no full stops
        return text.replace(". ", " ")
    if kind < 0.57:  # noqa: PLR2004 - all in capitals
        return text.upper()
    for _ in range(3 if kind < 0.7 else 1):  # noqa: PLR2004 - some type badly all the way
        text = typed_badly(text, rng)
    return text


def typed_badly(text: str, rng: random.Random) -> str:
    """A text with one or two typing errors in words that say no number."""
    numbers = find_numbers(text)
    plain = [
        match
        for match in re.finditer(r"[A-Za-z]{5,}", text)
        if not any(number.start < match.end() and match.start() < number.end for number in numbers)
    ]
    for match in rng.sample(plain, min(len(plain), rng.randint(1, 2))):
        at = match.start() + rng.randint(1, len(match.group()) - 2)
        swapped = text[at + 1] + text[at] if rng.random() < 0.6 else text[at]  # noqa: PLR2004
        lost = len(swapped) == 1
        typed = text[:at] + text[at + 1 :] if lost else text[:at] + swapped + text[at + 2 :]
        if [(n.value, n.unit) for n in find_numbers(typed)] != [(n.value, n.unit) for n in numbers]:
            continue  # "there" has become "three", or "seconds" no unit any more
        text = typed
        if lost:
            break  # a lost letter shifts the later matches
    return text
