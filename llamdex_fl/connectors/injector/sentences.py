"""How the outcomes of a schema are said: one sentence an outcome, with words that fit how likely it is.

A schema's sentence says "probably"; what stands before the LLM says what fits, from the one table here. The words
follow the scale of ICD 203, a standard for analysts' probabilities, joined where one word must do for both sides:
from 95 % "almost certainly", from 80 % "very likely", from 55 % "probably", below it "perhaps".
"""

import re

from llamdex_fl.schema import Target

__all__ = ["CONFIDENCE_WORDS", "confidence_level", "worded_sentences"]

#: From which probability on which words fit, the surest first.
CONFIDENCE_WORDS = ((0.95, "almost certainly"), (0.80, "very likely"), (0.55, "probably"), (0.0, "perhaps"))
_PROBABLY = re.compile(r"\bprobably\b")
#: Digits begin alike ("1" and "10"); what begins alike cannot be told apart by its first token.
_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip


def confidence_level(probability: float) -> int:
    """Which row of ``CONFIDENCE_WORDS`` fits a probability."""
    return next(level for level, (least, _) in enumerate(CONFIDENCE_WORDS) if probability >= least)


def worded_sentences(target: Target) -> tuple[tuple[str, ...], ...]:
    """Each outcome's sentence in the words of every level of confidence: by outcome, then by level.

    A sentence without "probably" has the words put to its end; an answer that is its own sentence begins with a capital
    letter, and small numbers are written out.
    """
    return tuple(
        _worded(_written_out(answer) if sentence == f"{answer}." else sentence)
        for answer, sentence in zip(target.answers, target.sentences, strict=True)
    )


def _written_out(answer: str) -> str:
    number = answer.isdecimal() and int(answer) < len(_NUMBERS)
    said = _NUMBERS[int(answer)] if number else answer
    return f"{said[:1].upper()}{said[1:]}."


def _worded(sentence: str) -> tuple[str, ...]:
    words = [words for _, words in CONFIDENCE_WORDS]
    if _PROBABLY.search(sentence):
        return tuple(_PROBABLY.sub(own, sentence, count=1) for own in words)
    return tuple(f"{sentence.rstrip('.')}, {own}." for own in words)
