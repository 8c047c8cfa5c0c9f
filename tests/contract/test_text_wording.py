"""What every wording of a schema of texts must do: say where the text stands, whatever the shape of the question."""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llamdex_fl.connectors.texts import (
    TextQuestionGenerator,
    TextWording,
    load_text_wording,
    training_text_wording,
)
from llamdex_fl.connectors.texts.wording import SLOT
from llamdex_fl.errors import SchemaError
from llamdex_fl.schema import load_library_schema
from simulations.evaluation import DEVELOPMENT_WORDINGS, WORDINGS

SENTIMENT = load_library_schema("sentiment")
_SHORT = 4
_SMALL = """
schema = "sentiment"
[[text]]
kind = ["review"]
author = ["critic"]
[text.label.positive]
sentence = ["a {good} film"]
[text.slots]
good = ["fine", "very {good2}"]
good2 = ["nice"]
[ask]
sentence = ["Did the {author} like it?"]
lead = ["Here is a {kind}"]
around = ["Is {text} praise?"]
short = ["praise?"]
key = ["text"]
"""


class TextWordingContract:
    """Questions hold their text once, as it is, at the place that they name."""

    wording: TextWording

    def test_the_text_stands_where_the_question_says(self) -> None:
        generator, rng = TextQuestionGenerator(self.wording), random.Random(0)
        feature = SENTIMENT.features[0]
        whole = 0
        for _ in range(400):
            question = generator.sample(rng)
            ((start, end),) = question.spans["text"]
            assert question.text[start:end] == question.features["text"]
            assert feature.contains(question.features["text"])
            assert not SLOT.search(question.text), question.text
            assert "\ue000" not in question.text
            whole += question.text == question.features["text"]
        assert 0 < whole < 80, "now and then the text is all there is"

    def test_any_text_can_be_asked_about(self) -> None:
        generator, rng = TextQuestionGenerator(self.wording), random.Random(1)
        for text in ("{text} \ue000 {kind}", 'He said "no": twice.', "a", "line\nline", "\\1 \\g<0>"):
            for _ in range(20):
                question = generator.ask(text, rng)
                ((start, end),) = question.spans["text"]
                assert question.text[start:end] == text == question.features["text"]

    def test_texts_of_one_label_are_of_that_label(self) -> None:
        generator = TextQuestionGenerator(self.wording, noise=0.0)
        said = {
            label: {generator.text(random.Random(n), label=label) for n in range(60)}
            for label in SENTIMENT.target.labels
        }
        assert not said["negative"] & said["positive"]

    def test_near_misses_are_questions_too(self) -> None:
        generator, rng = TextQuestionGenerator(self.wording), random.Random(2)
        others = [generator.other(rng) for _ in range(200)]
        assert all(other.strip() and not SLOT.search(other) and "\ue000" not in other for other in others)
        assert len(set(others)) > 100

    def test_the_same_seed_asks_the_same(self) -> None:
        generator = TextQuestionGenerator(self.wording)
        assert generator.sample(random.Random(3)) == generator.sample(random.Random(3))


class TestTraining(TextWordingContract):
    """What the reader learns from."""

    wording = training_text_wording(SENTIMENT)


class TestDevelopment(TextWordingContract):
    """What recipes are compared in."""

    wording = load_text_wording(SENTIMENT, DEVELOPMENT_WORDINGS / "sentiment.toml")


class TestHeldOut(TextWordingContract):
    """What judges."""

    wording = load_text_wording(SENTIMENT, WORDINGS / "sentiment.toml")


def _phrases(wording: TextWording) -> Iterator[str]:
    for register in wording.registers:
        for sentences in register.sentences.values():
            yield from sentences
    for group in (wording.ask, wording.chatter, wording.other):
        for phrases in group.values():
            yield from phrases


def _words(text: str) -> str:
    return " ".join(re.findall(r"\{\w+\}|[\w']+", text.lower()))


@pytest.mark.parametrize("folder", [WORDINGS, DEVELOPMENT_WORDINGS])
def test_no_phrase_that_judges_is_trained_on(folder: Path) -> None:
    known = " \n ".join(_words(phrase) for phrase in _phrases(training_text_wording(SENTIMENT)))
    judging = [_words(phrase) for phrase in _phrases(load_text_wording(SENTIMENT, folder / "sentiment.toml"))]
    long = [phrase for phrase in judging if len(phrase.split()) > _SHORT]
    assert len(long) > 30, "the test must look at something"
    assert [phrase for phrase in long if f" {phrase} " in f" {known} "] == []


def _without(text: str) -> Callable[[str], str]:
    return lambda whole: whole.replace(text, "")


def _with(old: str, new: str) -> Callable[[str], str]:
    return lambda whole: whole.replace(old, new)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda _: "[",
        _with('"sentiment"', '"heart"'),
        _with("[ask]", "[asked]"),
        _without('short = ["praise?"]'),
        _with("{text} praise", "it praise"),
        _with("like it?", "like {text}?"),
        _with("Is {text}", "Is {text} or {text}"),
        _with("{good} film", "{bad} film"),
        _with('good2 = ["nice"]', 'good2 = ["{good}"]'),
        _with("label.positive", "label.lukewarm"),
        _with('["critic"]', '"critic"'),
        _without('kind = ["review"]'),
    ],
)  # fmt: skip
def test_what_is_no_wording_is_refused(change: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(_SMALL, encoding="utf-8")
    assert TextQuestionGenerator(load_text_wording(SENTIMENT, tmp_path)).other(random.Random(0)) == ""
    path.write_text(change(_SMALL), encoding="utf-8")
    with pytest.raises(SchemaError, match=r"mine\.toml"):
        load_text_wording(SENTIMENT, path)


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SchemaError, match=r"mine\.toml"):
        load_text_wording(SENTIMENT, path)


def test_a_schema_without_a_wording_is_refused() -> None:
    from dataclasses import replace  # noqa: PLC0415 - of this test alone

    changes: dict[str, Any] = {"name": "spam"}
    with pytest.raises(SchemaError, match="no wording for the schema spam"):
        training_text_wording(replace(SENTIMENT, **changes))
