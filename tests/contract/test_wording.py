"""What every wording must do, whoever wrote it; and that held-out wordings are held out."""

import ast
import random
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

import llamdex_fl
import provider_server
from llamdex_fl.connectors.numbers import find_numbers, values_for
from llamdex_fl.connectors.questions import (
    Question,
    QuestionGenerator,
    Wording,
    load_wording,
    ordinary_questions,
    training_wording,
)
from llamdex_fl.connectors.reader.network import said_values
from llamdex_fl.schema import Feature, Value, library_names, load_library_schema
from simulations.evaluation import WORDINGS, hand_written_questions

_SLOT = re.compile(r"\{(\w*)\}")
_PERSON = {"he", "him", "his", "spouse", "has", "is", "was", "does"}
_PRIVATE_USE = re.compile("[\ue000-\uf8ff]")
#: A held-out phrase of more words than this must not stand in the training wordings.
_SHORT = 4
#: The same for a sentence of a hand-written question.
_SHORT_SENTENCE = 8


class WordingContract:
    """Any wording can say any record of its schema, and a question tells where it says what."""

    wording: Wording
    generator: QuestionGenerator

    def test_every_value_can_be_said_in_every_register(self) -> None:
        for feature in self.wording.schema.features:
            for value in _some_values(feature):
                rng = random.Random(f"{feature.name} {value}")
                nothing: dict[str, Value] = dict.fromkeys(f.name for f in self.wording.schema.features)
                # Prose and letters take clauses and noun phrases, lists take notes and noun phrases.
                self.generator._single(feature.name, value, rng, ("clause", "np"))
                self.generator._single(feature.name, value, rng, ("note", "np"))
                for _ in range(6):
                    _check(self.generator.ask(nothing | {feature.name: value}, rng), self.wording)

    def test_a_question_says_what_is_present_and_marks_where(self) -> None:
        for seed in range(150):
            _check(self.generator.sample(random.Random(seed)), self.wording)

    def test_a_seed_gives_the_same_question_again(self) -> None:
        other = QuestionGenerator(self.wording)
        for seed in range(25):
            assert self.generator.sample(random.Random(seed)) == other.sample(random.Random(seed))

    def test_every_feature_has_labels_and_every_category_words(self) -> None:
        for feature in self.wording.schema.features:
            assert self.wording.labels[feature.name]
            for category in feature.categories:
                assert self.wording.words[feature.name, category]

    def test_questions_and_chatter_are_there_and_hold_only_their_slots(self) -> None:
        assert all(self.wording.ask[kind] for kind in ("sentence", "short", "front"))
        assert all(self.wording.chatter[kind] for kind in ("opener", "aside", "closer"))
        for text in (text for texts in self.wording.ask.values() for text in texts):
            assert set(_SLOT.findall(text)) <= _PERSON, text
        for text in (text for texts in self.wording.chatter.values() for text in texts):
            assert set(_SLOT.findall(text)) <= _PERSON | {"n", "name"}, text

    def test_every_record_finds_a_subject(self) -> None:
        nouns = [subject for subject in self.wording.subjects if subject.kind == "noun"]
        stated = sorted({name for subject in nouns for name in subject.states})
        values = [(*self.wording.schema.feature(name).categories, None) for name in stated]
        for combination in product(*values):
            record = dict(zip(stated, combination, strict=True))
            assert any(
                not subject.when and all(record[name] == value for name, value in subject.states.items())
                for subject in nouns
            ), record

    def test_what_states_a_value_without_a_number_states_one_that_words_can_say(self) -> None:
        # The reader points at words for such a value; for any other it can only point at a number.
        for phrase in self.wording.phrases:
            for name, value in phrase.states.items():
                feature = self.wording.schema.feature(name)
                if value not in said_values(feature):
                    assert value in values_for(find_numbers(phrase.text), feature), phrase.text


def _some_values(feature: Feature) -> list[Value]:
    if feature.is_category:
        return list(feature.categories)
    low, high = feature.low_high()
    middle = min(max(float(round((low + high) / 3)), low), high)
    return sorted({low, high, middle, *said_values(feature)})


def _check(question: Question, wording: Wording) -> None:
    text = question.text
    assert not _PRIVATE_USE.search(text), text
    assert "{" not in text, text
    assert "}" not in text, text
    assert text.strip()
    read = find_numbers(text)
    for feature in wording.schema.features:
        value, spans = question.features[feature.name], question.spans.get(feature.name, ())
        if value is None:
            assert not spans, (text, feature.name)
            continue
        assert feature.contains(value)
        assert spans, (text, feature.name)
        assert all(text[start:end].strip() for start, end in spans), (text, feature.name)
        if value not in said_values(feature):
            # The only way to say it is to write the number, and it must read so in the whole text.
            said = [n for n, own in zip(read, values_for(read, feature), strict=True) if own == value]
            for start, end in spans:
                assert any(n.start < end and start < n.end for n in said), (text, feature.name)


class TestHeartTraining(WordingContract):
    """Heart, training."""

    wording = training_wording(load_library_schema("heart"))
    generator = QuestionGenerator(wording)


class TestHeartHeldOut(WordingContract):
    """Heart, held out."""

    wording = load_wording(load_library_schema("heart"), WORDINGS / "heart.toml")
    generator = QuestionGenerator(wording)


class TestTitanicTraining(WordingContract):
    """Titanic, training."""

    wording = training_wording(load_library_schema("titanic"))
    generator = QuestionGenerator(wording)


class TestTitanicHeldOut(WordingContract):
    """Titanic, held out."""

    wording = load_wording(load_library_schema("titanic"), WORDINGS / "titanic.toml")
    generator = QuestionGenerator(wording)


class TestNurseryTraining(WordingContract):
    """Nursery, training."""

    wording = training_wording(load_library_schema("nursery"))
    generator = QuestionGenerator(wording)


class TestNurseryHeldOut(WordingContract):
    """Nursery, held out."""

    wording = load_wording(load_library_schema("nursery"), WORDINGS / "nursery.toml")
    generator = QuestionGenerator(wording)


class TestWineTraining(WordingContract):
    """Wine, training."""

    wording = training_wording(load_library_schema("wine"))
    generator = QuestionGenerator(wording)


class TestWineHeldOut(WordingContract):
    """Wine, held out."""

    wording = load_wording(load_library_schema("wine"), WORDINGS / "wine.toml")
    generator = QuestionGenerator(wording)


class TestBankTraining(WordingContract):
    """Bank, training."""

    wording = training_wording(load_library_schema("bank"))
    generator = QuestionGenerator(wording)


class TestBankHeldOut(WordingContract):
    """Bank, held out."""

    wording = load_wording(load_library_schema("bank"), WORDINGS / "bank.toml")
    generator = QuestionGenerator(wording)


class TestPimaTraining(WordingContract):
    """Pima, training."""

    wording = training_wording(load_library_schema("pima"))
    generator = QuestionGenerator(wording)


def _texts(wording: Wording) -> Iterator[str]:
    yield from (phrase.text for phrase in wording.phrases)
    yield from (subject.text for subject in wording.subjects)
    for texts in (wording.ask, wording.chatter, wording.labels, wording.words):
        for group in texts.values():
            yield from group


def _words(text: str) -> str:
    """The words alone, lower case, a space between: what differs in commas or capitals is not another phrase."""
    return " ".join(re.findall(r"\{[\w:]+\}|[\w']+", text.lower()))


@pytest.mark.parametrize("name", ["heart", "titanic", "nursery", "wine", "bank"])
def test_no_held_out_phrase_stands_in_the_training_wording(name: str) -> None:
    schema = load_library_schema(name)
    known = " \n ".join(_words(text) for text in _texts(training_wording(schema)))
    held_out = [_words(text) for text in _texts(load_wording(schema, WORDINGS / f"{name}.toml"))]
    long = [text for text in held_out if len(text.split()) > _SHORT]
    assert len(long) > 100, "the test must look at something"
    assert [text for text in long if f" {text} " in f" {known} "] == []


@pytest.mark.parametrize("name", ["heart", "titanic", "nursery", "wine", "bank"])
def test_no_hand_written_sentence_stands_in_the_training_wording(name: str) -> None:
    training = training_wording(load_library_schema(name))
    known = " \n ".join(_words(text) for text in [*_texts(training), *ordinary_questions()])
    sentences = [
        _words(sentence)
        for asked in [*hand_written_questions(name), *hand_written_questions("ordinary")]
        for sentence in re.split(r"[.!?;]\s|\n", asked.question)
    ]
    long = [sentence for sentence in sentences if len(sentence.split()) > _SHORT_SENTENCE]
    assert len(long) > 100, "the test must look at something"
    assert [sentence for sentence in long if f" {sentence} " in f" {known} "] == []


def test_no_held_out_ordinary_question_is_trained_on() -> None:
    held_out = (WORDINGS / "ordinary.txt").read_text(encoding="utf-8").splitlines()
    known = {_words(text) for text in ordinary_questions()}
    assert len(held_out) >= 100
    assert [text for text in held_out if text.strip() and _words(text) in known] == []


def test_what_trains_cannot_see_the_held_out_wordings() -> None:
    for package in (llamdex_fl, provider_server):
        root = Path(package.__path__[0])
        for path in root.rglob("*.py"):
            imported = {
                name
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Import | ast.ImportFrom)
                for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
            }
            assert not any(name.split(".")[0] == "simulations" for name in imported), path
        held_out = {path.read_bytes() for path in WORDINGS.iterdir()}
        assert not any(path.read_bytes() in held_out for path in root.rglob("*") if path.suffix in {".toml", ".txt"})


@pytest.mark.parametrize("name", [name for name in library_names() if not load_library_schema(name).is_text])
def test_no_question_has_an_unfilled_slot(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = load_library_schema(name)
    # Slips are rare, and their words are filled apart from the others.
    monkeypatch.setattr("llamdex_fl.connectors.questions.generator.CORRECTED", 0.5)
    questions, rng = QuestionGenerator(training_wording(schema)), random.Random(5)
    unfilled = [text for _ in range(100) if set("{}") & set(text := questions.sample(rng).text)]
    assert not unfilled
