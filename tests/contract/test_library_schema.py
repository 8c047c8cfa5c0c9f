"""What every schema that comes with the project must offer."""

import re

import pytest

from llamdex_fl.connectors.numbers import find_numbers
from llamdex_fl.connectors.questions import load_wording, training_wording
from llamdex_fl.schema import Schema, library_names, load_library_schema
from simulations.evaluation import WORDINGS


class LibrarySchemaContract:
    """It can be asked about, and answered in sentences."""

    schema: Schema

    def test_a_sentence_begins_with_its_answer_and_ends_with_a_stop(self) -> None:
        for answer, sentence in zip(self.schema.target.answers, self.schema.target.sentences, strict=True):
            begins = re.match(rf"{re.escape(answer)}\b", sentence, re.IGNORECASE)
            # Digits are said in words: the first tokens of "1" and "10" may be the same.
            said = [number.value for number in find_numbers(sentence) if number.start == 0]
            assert begins or (answer.isdigit() and said == [float(answer)]), sentence
            assert sentence.endswith(".")

    def test_answers_differ_whatever_their_case(self) -> None:
        answers = [answer.casefold() for answer in self.schema.target.answers]
        assert len(set(answers)) == len(answers)

    def test_answers_differ_in_their_first_word(self) -> None:
        # The chance of an answer is read from the LLM's first token.
        first = [sentence.split()[0].casefold() for sentence in self.schema.target.sentences]
        assert len(set(first)) == len(first)

    def test_features_are_described(self) -> None:
        for feature in self.schema.features:
            assert feature.description.strip()
            assert feature.name.isidentifier()

    def test_the_question_is_a_question(self) -> None:
        assert self.schema.question.endswith("?")
        assert self.schema.title


class TabularSchemaContract(LibrarySchemaContract):
    """Its records can be said, too."""

    def test_it_has_a_training_wording(self) -> None:
        assert training_wording(self.schema).phrases


class AskedSchemaContract(TabularSchemaContract):
    """It is asked about in the demo too, in words that nothing was trained on."""

    def test_it_has_a_held_out_wording(self) -> None:
        assert load_wording(self.schema, WORDINGS / f"{self.schema.name}.toml").phrases


class TestHeart(AskedSchemaContract):
    """Heart."""

    schema = load_library_schema("heart")


class TestTitanic(AskedSchemaContract):
    """Titanic."""

    schema = load_library_schema("titanic")


class TestSentiment(LibrarySchemaContract):
    """Opinions, whose records are texts."""

    schema = load_library_schema("sentiment")

    def test_its_records_are_texts(self) -> None:
        assert self.schema.is_text
        assert [feature.name for feature in self.schema.features] == ["text"]


class TestNursery(AskedSchemaContract):
    """Nursery."""

    schema = load_library_schema("nursery")


class TestWine(AskedSchemaContract):
    """Wine."""

    schema = load_library_schema("wine")


class TestBank(AskedSchemaContract):
    """Bank."""

    schema = load_library_schema("bank")


class TestPima(TabularSchemaContract):
    """Pima."""

    schema = load_library_schema("pima")


def test_every_library_schema_is_under_the_contract() -> None:
    contracts = (TestHeart, TestTitanic, TestSentiment, TestNursery, TestWine, TestBank, TestPima)
    covered = {contract.schema.name for contract in contracts}
    assert covered == set(library_names())


def test_names_are_files() -> None:
    for name in library_names():
        assert load_library_schema(name).name == name
    with pytest.raises(ValueError, match="no schema called"):
        load_library_schema("../heart")
