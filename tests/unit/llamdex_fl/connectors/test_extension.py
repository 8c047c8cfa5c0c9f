"""A schema joins a trained reader around a tiny random BERT."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llamdex_fl.connectors.questions import Wording, generic_wording
from llamdex_fl.connectors.reader import ExtensionRecipe, Reader, ReaderRecipe, exact_match, extend_reader, train_reader
from llamdex_fl.connectors.reader.reader import Reading
from llamdex_fl.schema import Schema

ORDINARY = ["what is the capital of france?", "tell me a joke"]
FIT = ReaderRecipe(
    steps=6, practice=0.35, batch=4, layers=2, frozen_layers=1, encoder_rate=1e-3, decoder_rate=5e-3, warmup=0.2
)
RECIPE = ExtensionRecipe(questions=24, others=8, rounds=10, vocabulary_rate=0.05, enough=0.0, checked=4, fit=FIT)
TEXTS = ["A red fruit of 51 grams. Ripe?", "green, weighs two hundred and five"]


@pytest.fixture(scope="module")
def known(tiny_encoder: Path, toy_wording: Wording) -> Reader:
    return train_reader(tiny_encoder, [toy_wording], ORDINARY, recipe=replace(FIT, steps=10, practice=0.0))


@pytest.fixture(scope="module")
def new(toy_schema: Schema) -> Wording:
    return generic_wording(replace(toy_schema, name="veg", title="Ripeness of vegetables"))


def test_a_schema_joins_and_nothing_that_was_known_changes(
    known: Reader, new: Wording, tiny_encoder: Path, toy_wording: Wording
) -> None:
    before = known.read(TEXTS, schema="fruit")
    state = {name: tensor.clone() for name, tensor in known.network.state_dict().items()}
    losses: list[float] = []
    extension = extend_reader(
        known,
        tiny_encoder,
        [toy_wording],
        [new],
        ORDINARY,
        recipe=RECIPE,
        on_step=lambda _, __, loss: losses.append(loss),
    )
    assert not extension.refitted
    assert set(extension.by_vocabulary) == {"veg"}
    assert list(extension.reader.schemas) == ["fruit", "veg"]
    for one, other in zip(extension.reader.read(TEXTS, schema="fruit"), before, strict=True):
        assert one.features == other.features
        assert one.confidence == other.confidence
        assert one.route_probability == pytest.approx(other.route_probability, abs=1e-5)
    assert list(known.schemas) == ["fruit"]
    assert all(torch.equal(state[name], tensor) for name, tensor in known.network.state_dict().items())
    # The encoder is random and stays as it is: what its states allow is learnt, and that is not much.
    assert sum(losses[-6:]) < 0.95 * sum(losses[:6])


def test_the_longer_fit_changes_the_upper_layers_alone(
    known: Reader, new: Wording, tiny_encoder: Path, toy_wording: Wording
) -> None:
    extension = extend_reader(
        known, tiny_encoder, [toy_wording], [new], ORDINARY, recipe=replace(RECIPE, enough=1.1, rounds=1)
    )
    assert extension.refitted
    before, after = known.network.encoder.state_dict(), extension.reader.network.encoder.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("encoder.layer.1.") for name in moved)


def test_what_joined_is_read_back_as_it_was_written(
    known: Reader, new: Wording, tiny_encoder: Path, toy_wording: Wording, tmp_path: Path
) -> None:
    extension = extend_reader(known, tiny_encoder, [toy_wording], [new], ORDINARY, recipe=replace(RECIPE, rounds=1))
    extension.reader.save(tmp_path)
    again = Reader.load(tmp_path)
    for one, other in zip(again.read(TEXTS), extension.reader.read(TEXTS), strict=True):
        assert (one.schema, one.features) == (other.schema, other.features)
        # Tensors that lie elsewhere in memory are summed in another order.
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
        assert one.route_probability == pytest.approx(other.route_probability, abs=1e-5)
    # And goes on to learn from there: the pretrained encoder describes the next schema.
    third = generic_wording(replace(new.schema, name="nut"))
    more = extend_reader(again, tiny_encoder, [toy_wording, new], [third], ORDINARY, recipe=replace(RECIPE, rounds=1))
    assert list(more.reader.schemas) == ["fruit", "veg", "nut"]


def test_the_exact_match_counts_features(known: Reader, toy_wording: Wording, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def blind(texts: list[str], *, schema: str) -> list[Reading]:
        asked.extend(texts)
        return [Reading(schema, 1.0, {"colour": None, "weight": None}, {}) for _ in texts]

    monkeypatch.setattr(known, "read", blind)
    share = exact_match(known, toy_wording, 40, 0)
    assert len(asked) == 40
    assert 0.1 < share < 0.5, "what is absent is read rightly by who reads nothing"
