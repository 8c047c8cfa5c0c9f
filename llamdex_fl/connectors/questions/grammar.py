"""Small joins of words and clauses."""

import random
import re
from collections.abc import Sequence

__all__ = ["article", "capital", "counted", "enumerated", "joined", "listing"]

_COUNT_WORDS = ("no", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


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


def counted(count: int, nouns: tuple[Sequence[str], Sequence[str]], rng: random.Random) -> list[str]:
    """A count as nouns that sum to it: "two sisters", "a brother"; ``nouns`` are singulars and plurals.

    A singular that begins with "{his}" takes no article.
    """
    singular, plural = nouns
    # A plural that several nouns share is a fallback for a noun of which there can be one ("mother").
    several = [plural.count(word) == 1 and " or " not in word for word in plural]
    left, parts, used = count, list[str](), set[int]()
    while left:
        free = [i for i in range(len(singular)) if i not in used]
        many = [i for i in free if several[i]]
        taken = left if not free or len(parts) == 2 or rng.random() < 0.5 else rng.randint(1, left)  # noqa: PLR2004
        index = rng.choice((free if taken == 1 else many) or range(len(singular)))
        used.add(index)
        if taken == 1:
            owned = singular[index].startswith("{his}")
            one = "" if owned else rng.choice([article(singular[index]), "one", "1"]) + " "
            parts.append(f"{one}{singular[index]}")
        else:
            word = str(taken) if rng.random() < 0.3 else _COUNT_WORDS[taken]  # noqa: PLR2004
            parts.append(f"{word} {plural[index]}")
        left -= taken
    return parts


def enumerated(parts: Sequence[str]) -> str:
    """Parts with commas between, and "and" before the last: "two sisters and a brother"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
