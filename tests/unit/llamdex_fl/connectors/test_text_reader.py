"""The reader of texts around a tiny random BERT: what it learns, how it reads, and that tables are read as before."""

import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llamdex_fl.connectors.questions import QuestionGenerator, Wording
from llamdex_fl.connectors.reader import Reader, ReaderRecipe, train_reader
from llamdex_fl.connectors.texts import (
    TextQuestionGenerator,
    TextReader,
    TextReaderRecipe,
    load_reader,
    same_text,
    train_text_reader,
    training_text_wording,
)
from llamdex_fl.connectors.texts.network import spans
from llamdex_fl.connectors.texts.reader import without_quotes
from llamdex_fl.connectors.texts.training import _loss, _turns
from llamdex_fl.errors import ArtefactError
from llamdex_fl.schema import Schema, load_library_schema

SENTIMENT = load_library_schema("sentiment")
WORDING = training_text_wording(SENTIMENT)
TABULAR = ReaderRecipe(steps=12, practice=0.0, batch=8, layers=2, frozen_layers=0, encoder_rate=1e-3, decoder_rate=5e-3)
RECIPE = TextReaderRecipe(tabular=TABULAR, steps=36, batch=8)
ORDINARY = ["what is the capital of france?", "tell me a joke", "how many fruits are there?"]


@pytest.fixture(scope="module")
def training(tiny_encoder: Path, toy_wording: Wording) -> tuple[TextReader, list[float]]:
    losses: list[float] = []
    reader = train_text_reader(
        tiny_encoder,
        [toy_wording],
        [WORDING],
        ORDINARY,
        recipe=RECIPE,
        on_step=lambda _, __, loss: losses.append(loss),
    )
    return reader, losses


@pytest.fixture(scope="module")
def reader(training: tuple[TextReader, list[float]]) -> TextReader:
    return training[0]


@torch.no_grad()
def test_it_learns_both(
    training: tuple[TextReader, list[float]], tiny_encoder: Path, toy_schema: Schema, toy_wording: Wording
) -> None:
    reader, losses = training
    assert len(losses) == TABULAR.steps + RECIPE.steps
    untrained = TextReader.untrained(tiny_encoder, [toy_schema, SENTIMENT], layers=2)
    generator, rng = TextQuestionGenerator(WORDING), random.Random(7)
    lot = [("sentiment", generator.sample(rng)) for _ in range(24)]
    assert float(_loss(reader, lot)) < 0.85 * float(_loss(untrained, lot))
    assert list(reader.schemas) == ["fruit", "sentiment"]
    question = QuestionGenerator(toy_wording).sample(random.Random(0)).text
    (reading,) = reader.read([question], schema="fruit")
    assert set(reading.features) == {"colour", "weight"}


def test_turns_are_spread() -> None:
    assert _turns(0, 3) == [True] * 3
    assert _turns(3, 1) == [False, False, False, True]
    turns = _turns(100, 60)
    assert sum(turns) == 60
    assert all(1 <= sum(turns[start : start + 8]) <= 5 for start in range(152))


def test_a_text_that_is_read_stands_in_the_question(reader: TextReader) -> None:
    generator, rng = TextQuestionGenerator(WORDING), random.Random(5)
    questions = [generator.sample(rng).text for _ in range(12)]
    for question, reading in zip(questions, reader.read(questions, schema="sentiment"), strict=True):
        text = reading.features["text"]
        assert isinstance(text, str)
        assert text
        assert text in question
        assert 0.0 <= reading.confidence["text"] <= 1.0 + 1e-6
        assert not reading.cut


def test_where_no_span_is_likely_the_whole_question_is_the_text(tiny_encoder: Path) -> None:
    untrained = TextReader.untrained(tiny_encoder, [SENTIMENT], layers=1)
    (reading,) = untrained.read([" a dull film, a dull evening and a long way home. "], schema="sentiment")
    assert reading.confidence["text"] < 0.3
    assert reading.features == {"text": "a dull film, a dull evening and a long way home."}


def test_a_long_question_is_read_to_its_end_and_a_text_beyond_the_bound_is_told(
    reader: TextReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pointers that are sure: the first word that is quoted, and the last one.
    def point(encoded: object, schema: str, words_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        del encoded, schema
        places_T = torch.arange(words_BT.shape[1])
        start_BT = torch.where(places_T == 4, 50.0, 0.0).expand(words_BT.shape)
        end_BT = torch.where(places_T == words_BT.sum(1, keepdim=True) - 1, 50.0, 0.0)
        return start_BT, end_BT

    monkeypatch.setattr(reader.network, "point", point)
    text = "a " * 700 + "b"
    (reading,) = reader.read([f'x: "{text}"'], schema="sentiment")
    assert reading.features == {"text": text}
    assert not reading.cut
    (reading,) = reader.read([f'x: "{"a " * 1000}b"'], schema="sentiment")
    assert reading.cut


def test_a_span_does_not_end_before_it_begins() -> None:
    start_BT, end_BT = torch.tensor([[0.0, 9.0, 0.0]]), torch.tensor([[9.0, 0.0, 1.0]])
    chances_TT = spans(start_BT, end_BT)[0].exp()
    assert float(chances_TT.sum()) == pytest.approx(1.0)
    assert float(chances_TT.tril(-1).abs().sum()) == 0.0
    assert divmod(int(chances_TT.argmax()), 3) == (1, 2)


def test_it_comes_back_as_it_was(reader: TextReader, tmp_path: Path) -> None:
    reader.save(tmp_path)
    again = load_reader(tmp_path)
    assert isinstance(again, TextReader)
    questions = ['Did they like it? "a dull film"', "a red fruit of 51 grams", "tell me a joke"]
    for one, other in zip(again.read(questions), reader.read(questions), strict=True):
        assert (one.schema, one.features, one.cut) == (other.schema, other.features, other.cut)
        # Tensors that lie elsewhere in memory are summed in another order.
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
        assert one.route_probability == pytest.approx(other.route_probability, abs=1e-5)
    (tmp_path / "reader.safetensors").write_bytes(b"damaged")
    with pytest.raises(ArtefactError):
        load_reader(tmp_path)
    with pytest.raises(ArtefactError):
        load_reader(tmp_path / "nowhere")


def test_a_reader_of_tables_alone_is_the_plain_one(tiny_encoder: Path, toy_wording: Wording, tmp_path: Path) -> None:
    plain = train_reader(
        tiny_encoder, [toy_wording], ORDINARY, recipe=ReaderRecipe(steps=2, practice=0.0, batch=2, layers=1)
    )
    plain.save(tmp_path)
    again = load_reader(tmp_path)
    assert type(again) is Reader
    assert set(load_file(tmp_path / "reader.safetensors")) == set(plain.network.state_dict())


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ('"good"', "good"),
        ("\u201cgood\u201d ", "good"),
        ("'\"good\"'", "good"),
        ('"good" and "bad', '"good" and "bad'),
        ('He said "no"', 'He said "no"'),
        ('"', '"'),
        ("  ", ""),
    ],
)
def test_quotation_marks_around_are_no_part(text: str, inner: str) -> None:
    assert without_quotes(text) == inner


def test_the_same_text_but_for_what_stands_around_it() -> None:
    assert same_text("'good' ", "good")
    assert not same_text("good", "goods")
    assert not same_text("good", None)
    assert same_text(None, None)
