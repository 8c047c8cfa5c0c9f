"""Outcomes in words that fit their probabilities."""

import pytest

from llamdex_fl.connectors.injector import CONFIDENCE_WORDS, confidence_level, worded_sentences
from llamdex_fl.schema import Target


def _worded(answers: list[str], sentences: list[str]) -> tuple[tuple[str, ...], ...]:
    return worded_sentences(Target(name="t", labels=tuple(answers), answers=tuple(answers), sentences=tuple(sentences)))


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (1.0, "almost certainly"),
        (0.95, "almost certainly"),
        (0.9499, "very likely"),
        (0.8, "very likely"),
        (0.7, "probably"),
        (0.55, "probably"),
        (0.549, "perhaps"),
        (0.0, "perhaps"),
    ],
)
def test_the_words_of_a_probability(probability: float, words: str) -> None:
    assert CONFIDENCE_WORDS[confidence_level(probability)][1] == words


def test_the_words_stand_where_the_sentence_says_probably() -> None:
    (no, yes) = _worded(["No", "Yes"], ["No, it will probably not rain.", "Yes, it will probably rain, probably."])
    assert no[0] == "No, it will almost certainly not rain."
    assert yes == (
        "Yes, it will almost certainly rain, probably.",
        "Yes, it will very likely rain, probably.",
        "Yes, it will probably rain, probably.",
        "Yes, it will perhaps rain, probably.",
    )


def test_a_sentence_that_does_not_say_probably_has_the_words_at_its_end() -> None:
    (ripe, _) = _worded(["ripe", "unripe"], ["Ripe. It can be eaten.", "Unripe."])
    assert ripe[1] == "Ripe. It can be eaten, very likely."


def test_answers_that_are_their_own_sentences() -> None:
    worded = _worded(["1", "10", "priority", "25"], ["1.", "10.", "priority.", "25."])
    assert [wordings[2] for wordings in worded] == [
        "One, probably.",
        "Ten, probably.",
        "Priority, probably.",
        "25, probably.",
    ]
