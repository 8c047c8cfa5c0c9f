"""Hand-written questions: each has its whole reading, and together they say every category of their schema."""

import pytest

from llamdex_fl.errors import QuestionError
from llamdex_fl.schema import load_library_schema
from simulations.evaluation import HANDS, hand_written_questions

NAMES = ("heart", "titanic", "bank", "nursery", "wine")
LETTERS = {"first": "h", "second": "k"}


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_a_question_of_its_schema(name: str, hand: str) -> None:
    asked = hand_written_questions(name, hand)
    assert len(asked) >= 24
    # A question of a schema that the library lacks would count as ordinary.
    assert {question.schema for question in asked} == {name}
    assert all(question.identity.startswith(f"{name}-{LETTERS[hand]}") for question in asked)


@pytest.mark.parametrize("name", NAMES)
def test_every_category_is_said_by_each_and_every_feature_is_left_out_somewhere(name: str) -> None:
    for feature in load_library_schema(name).features:
        for hand in HANDS:
            said = {question.features[feature.name] for question in hand_written_questions(name, hand)}
            assert set(feature.categories) <= said, (hand, feature.name)
        assert None in {question.features[feature.name] for question in hand_written_questions(name)}, feature.name


def test_ordinary_questions_are_of_no_schema() -> None:
    asked = hand_written_questions("ordinary")
    assert len(asked) == 159
    assert {question.schema for question in asked} == {None}


def test_no_identity_and_no_text_stands_twice() -> None:
    asked = [question for name in (*NAMES, "ordinary") for question in hand_written_questions(name)]
    assert len({question.identity for question in asked}) == len(asked)
    assert len({question.question for question in asked}) == len(asked)


def test_a_name_without_questions_is_refused() -> None:
    with pytest.raises(QuestionError, match="not a file of questions"):
        hand_written_questions("fruit")
