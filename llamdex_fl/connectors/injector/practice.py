"""Made-up outcomes to practise on, so that an injector serves schemas that it has never met.

They are of the kinds that schemas have: yes and no, ranks and levels, numbers, names; each said in several ways.
"""

import random
from collections.abc import Sequence

from llamdex_fl.connectors.injector.sentences import worded_sentences
from llamdex_fl.schema import Target

__all__ = ["made_up_outcomes"]

_MOST = 7
#: How many of the outcomes are headed by any words; of the others, how many are claims and their contraries.
_ANY_WORDS = 0.45
_CLAIMING = 0.4
_THINGS = (
    "account", "letter", "machine", "house", "parcel", "plant", "river", "road", "engine", "song", "recipe", "garden",
    "animal", "contract", "report", "player", "ticket", "bridge", "student", "application", "bottle", "claim", "coat",
    "customer", "field", "film", "horse", "journey", "loan", "match", "message", "novel", "order", "painting", "pupil",
    "room", "sample", "ship", "shop", "team", "tool", "tree", "visitor", "worker",
)  # fmt: skip
#: With and without "not": what follows "this thing probably".
_CLAIMS = (
    ("comes back", "does not come back"),
    ("is safe", "is not safe"),
    ("will be late", "will not be late"),
    ("was sold", "was not sold"),
    ("needs repair", "does not need repair"),
    ("will win", "will not win"),
    ("belongs here", "does not belong here"),
    ("has been paid", "has not been paid"),
    ("pleased the owner", "did not please the owner"),
    ("will last", "will not last"),
    ("has a fault", "does not have a fault"),
    ("can be trusted", "cannot be trusted"),
    ("will be accepted", "will be refused"),
    ("grew", "shrank"),
    ("is old", "is new"),
    ("likes the rain", "does not like the rain"),
)
_FAMILIES = tuple(
    tuple(family.split())
    for family in (
        "Low Medium High Extreme",
        "Poor Fair Good Excellent Perfect",
        "Never Rarely Sometimes Often Always",
        "One Two Three Four Five Six Seven Eight Nine Ten",
        "First Second Third Fourth Fifth Last",
        "Red Blue Green Yellow Black White Brown",
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        "January April May June July October December",
        "Small Large Huge Tiny",
        "North South East West",
        "Gold Silver Bronze Iron",
        "Cat Dog Bird Fish Horse Sheep",
        "Early Late Normal",
        "Severe Mild None",
        "Accepted Refused Deferred Unclear",
        "Urgent Routine Special Ordinary Priority",
        "Not Very Quite Hardly",
        "Paris London Rome Berlin Madrid",
        "Up Down Level",
        "Positive Negative Neutral",
        "True False",
        "Type Group Class Order",
        "Iris Rose Lily Daisy Tulip",
        "Music Sport Science Politics Business World",
        "Basic Standard Premium Family Student",
    )
)
#: What may follow a name that heads a family.
_TAILS = ("", "", "", " in kind", " of all", " and steady")
_FRAMES = (
    "{word} is how this {thing} is probably ranked.",
    "{word} is probably given to this {thing}.",
    "{word} is what people would probably say of this {thing}.",
    "{word} is probably what this {thing} is.",
    "{word} out of all is what judges would probably give this {thing}.",
    "{word} is the group that this {thing} probably belongs to.",
    "{word}, this {thing} is probably so.",
    "{word}.",
)


def made_up_outcomes(rng: random.Random, words: Sequence[str] = ()) -> tuple[tuple[str, ...], ...]:
    """Sentences of two to seven outcomes, as ``worded_sentences`` gives those of a schema.

    Args:
        rng: draws them.
        words: that may head a sentence, beside those of the families here; about half of the outcomes take them.
    """
    thing = rng.choice(_THINGS)
    if len(words) > _MOST and rng.random() < _ANY_WORDS:
        headed = rng.sample(words, rng.choice(range(2, _MOST + 1)))
        return _worded(headed, thing, rng)
    if rng.random() < _CLAIMING:
        claim, contrary = rng.choice(_CLAIMS)
        start, other = rng.choice([("Yes", "No"), ("Yes", "No"), ("Yes", "No"), ("True", "False"), ("Right", "Wrong")])
        sentences = [f"{start}, this {thing} probably {claim}.", f"{other}, this {thing} probably {contrary}."]
        return _sentences([start, other], sentences)
    family = list(rng.choice(_FAMILIES))
    return _worded(rng.sample(family, min(rng.choice(range(2, _MOST + 1)), len(family))), thing, rng)


def _worded(heads: Sequence[str], thing: str, rng: random.Random) -> tuple[tuple[str, ...], ...]:
    frame, tail = rng.choice(_FRAMES), rng.choice(_TAILS)
    words = [head + tail for head in heads]
    return _sentences(words, [frame.format(word=word, thing=thing) for word in words])


def _sentences(words: Sequence[str], sentences: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    target = Target(name="made_up", labels=tuple(words), answers=tuple(words), sentences=tuple(sentences))
    return worded_sentences(target)
