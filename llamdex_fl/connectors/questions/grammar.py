"""Small joins of words and clauses."""

import random
import re

__all__ = ["article", "capital", "joined", "listing"]


def article(noun: str) -> str:
    """The indefinite article of a noun."""
    return "an" if noun[:1].lower() in "aeiou" else "a"


def capital(text: str) -> str:
    """With the first letter a capital; digits and marks before it stay."""
    return re.sub(r"[^\W\d_]", lambda match: match.group().upper(), text, count=1)


def listing(items: list[str], rng: random.Random) -> str:
    """Noun phrases as a list, with one of the usual words before the last."""
    if len(items) == 1:
        return items[0]
    return ", ".join(items[:-1]) + rng.choice([" and ", ", ", " as well as "]) + items[-1]


def joined(clauses: list[str], rng: random.Random) -> str:
    """Clauses as one sentence."""
    text = clauses[0]
    for clause in clauses[1:]:
        text += rng.choice([", and ", "; ", ", ", " and ", ", while ", " \u2013 ", ", but "]) + clause
    return text
