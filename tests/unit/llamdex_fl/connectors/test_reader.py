"""The reader around a tiny random BERT: what it may point at, what it learns, what it keeps."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamdex_fl.connectors.questions import Question, QuestionGenerator, Wording
from llamdex_fl.connectors.reader import Reader, ReaderRecipe, train_reader
from llamdex_fl.connectors.reader.network import said_values
from llamdex_fl.connectors.reader.reader import ROUTED, _rival
from llamdex_fl.connectors.reader.training import _right, loss_of
from llamdex_fl.errors import ArtefactError
from llamdex_fl.schema import Feature, Schema, Value, load_library_schema

RECIPE = ReaderRecipe(steps=24, practice=0.0, batch=8, layers=2, frozen_layers=1, encoder_rate=1e-3, decoder_rate=5e-3)
ORDINARY = ["what is the capital of france?", "tell me a joke", "how many fruits are there?"]
TEXTS = [
    "A red fruit of 51 grams. Ripe?",
    "green, weighs two hundred and five",
    "5000 pears",
    "tell me a joke",
    "1 2 3",
]


@pytest.fixture(scope="module")
def untrained(tiny_encoder: Path, toy_schema: Schema) -> Reader:
    return Reader.untrained(tiny_encoder, [toy_schema], layers=2)


@pytest.fixture(scope="module")
def training(tiny_encoder: Path, toy_wording: Wording) -> tuple[Reader, list[float]]:
    losses: list[float] = []
    reader = train_reader(
        tiny_encoder, [toy_wording], ORDINARY, recipe=RECIPE, on_step=lambda _, __, loss: losses.append(loss)
    )
    return reader, losses


@pytest.fixture(scope="module")
def trained(training: tuple[Reader, list[float]]) -> Reader:
    return training[0]


def test_the_values_of_a_feature_start_well_apart(tiny_encoder: Path) -> None:
    """As descriptions they are all but the same; 0 is a right angle, 1 the same direction."""
    schema = load_library_schema("heart")
    vocabulary = Reader.untrained(tiny_encoder, [schema], layers=2).network.vocabulary("heart")
    for feature, value_VD in zip(schema.features, vocabulary.value_text_FVD, strict=True):
        said = len(said_values(feature))
        unit_VD = torch.nn.functional.normalize(value_VD[:said], dim=-1)
        cosine_VV = unit_VD @ unit_VD.T - torch.eye(said)
        assert said < 2 or float(cosine_VV.max()) < 0.7, feature.name
        assert float(value_VD[said:].abs().sum()) == 0


@pytest.mark.parametrize("text", ["weighs 51 grams", "51", "it has (51.5) and one hundred and two, -3!", "53m 7"])
def test_a_number_is_the_mean_of_its_own_tokens(untrained: Reader, text: str) -> None:
    batch = untrained.batch([text, "a longer text so that the other is padded, without a number"])
    assert batch.numbers[0]
    for column, number in enumerate(batch.numbers[0]):
        weights_T = batch.numbers_BCT[0, column]
        assert float(weights_T.sum()) == pytest.approx(1.0)
        marked = [batch.offsets_BT2[0, token].tolist() for token in weights_T.nonzero().flatten().tolist()]
        covered = {place for start, end in marked for place in range(start, end)}
        assert {place for place in range(number.start, number.end) if not text[place].isspace()} == {
            place for place in covered if not text[place].isspace()
        }
        assert len({float(weight) for weight in weights_T if weight}) == 1
    assert not batch.numbers_BCT[1].any()


def test_what_stands_beyond_the_last_token_is_not_pointed_at(untrained: Reader, toy_schema: Schema) -> None:
    text = "z " * 500 + "weighs 51"
    batch = untrained.batch([text])
    assert batch.input_ids_BT.shape[1] == 384
    assert [number.value for number in batch.numbers[0]] == [51.0]
    assert not batch.numbers_BCT.any()
    logits_BFO = untrained.network.read(untrained.encode(batch), "fruit", untrained.allowed(batch, toy_schema))
    assert logits_BFO[0, 1, 0] == float("-inf")
    assert untrained.read([text], schema="fruit")[0].features["weight"] is None


def test_only_numbers_within_the_bounds_are_allowed(untrained: Reader, toy_schema: Schema) -> None:
    batch = untrained.batch(["19 20 20.5 400 401 -50", "none"])
    allowed_BFC = untrained.allowed(batch, toy_schema)
    assert allowed_BFC.tolist() == [
        [[False] * 6, [False, True, False, True, False, False]],
        [[False] * 6, [False] * 6],
    ]


def test_right_choices_are_those_at_the_place_that_says_it(untrained: Reader, toy_schema: Schema) -> None:
    text = "red 51 and 51 no green"
    said = Question(text, {"colour": "red", "weight": 51.0}, {"colour": [(0, 3)], "weight": [(4, 6)]})
    silent = Question(text, {"colour": None, "weight": None}, {})
    batch = untrained.batch([text, text])
    allowed_BFC = untrained.allowed(batch, toy_schema)
    like_BFO = untrained.network.read(untrained.encode(batch), "fruit", allowed_BFC)
    right_BFO = _right(untrained, batch, [0, 1], [said, silent], "fruit", like_BFO)
    tokens = batch.offsets_BT2[0].tolist()
    widest = max(len(said_values(feature)) for feature in toy_schema.features)
    # Numbers come first (two of them), then every pair of a token and a value, then absent.
    choices = [*range(2), *((tuple(token), value) for token in tokens for value in range(widest)), "absent"]
    assert len(choices) == right_BFO.shape[-1]
    chosen = [
        [[choice for choice, right in zip(choices, row, strict=True) if right] for row in question]
        for question in right_BFO.tolist()
    ]
    assert chosen == [[[((0, 3), 0)], [0]], [["absent"], ["absent"]]]


def test_another_number_within_the_words_that_say_it_is_not_right(untrained: Reader, toy_schema: Schema) -> None:
    # As in "two boxes and 51 grams": what says the feature may hold a number that is not its value.
    text = "in 22 boxes 51"
    said = Question(text, {"colour": None, "weight": 51.0}, {"weight": [(0, len(text))]})
    batch = untrained.batch([text])
    like_BFO = untrained.network.read(untrained.encode(batch), "fruit", untrained.allowed(batch, toy_schema))
    right_BFO = _right(untrained, batch, [0], [said], "fruit", like_BFO)
    assert right_BFO[0, 1].nonzero().flatten().tolist() == [1]


def test_the_loss_is_what_pointing_and_routing_cost(untrained: Reader, toy_schema: Schema) -> None:
    text = "red 51 and 51 no green"
    said = Question(text, {"colour": "red", "weight": None}, {"colour": [(0, 3)]})
    with torch.no_grad():
        loss = float(loss_of(untrained, [("fruit", said), (None, Question("tell me a joke", {}, {}))]))
        costs = []
        for question in (said.text, "tell me a joke"):
            batch = untrained.batch([question])
            encoded = untrained.encode(batch)
            logits_FO = untrained.network.read(encoded, "fruit", untrained.allowed(batch, toy_schema))[0]
            costs.append((untrained.network.routes(encoded, ["fruit"])[0, 0], logits_FO.log_softmax(-1)))
    # One question alone has no padding, and padding must not matter: this is the oracle.
    place = 2 + next(i for i, o in enumerate(untrained.batch([text]).offsets_BT2[0].tolist()) if o == [0, 3]) * 2
    expected = -(costs[0][1][0, place] + costs[0][1][1, -1]) / 2 / 2
    expected += torch.nn.functional.softplus(-costs[0][0]) / 2 + torch.nn.functional.softplus(costs[1][0]) / 2
    assert loss == pytest.approx(float(expected), abs=1e-4)


def test_training_lowers_the_loss(training: tuple[Reader, list[float]]) -> None:
    losses = training[1]
    assert len(losses) == RECIPE.steps
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_the_same_seed_trains_the_same_reader(
    training: tuple[Reader, list[float]], tiny_encoder: Path, toy_wording: Wording
) -> None:
    losses: list[float] = []
    short = replace(RECIPE, steps=RECIPE.steps)
    again = train_reader(
        tiny_encoder, [toy_wording], ORDINARY, recipe=short, on_step=lambda _, __, loss: losses.append(loss)
    )
    assert losses == training[1]
    assert again.read(TEXTS) == training[0].read(TEXTS)


def test_frozen_layers_stay_and_the_others_move(trained: Reader, untrained: Reader) -> None:
    before, after = untrained.network.encoder.state_dict(), trained.network.encoder.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("encoder.layer.1.") for name in moved)


def test_a_reader_is_read_back_as_it_was_written(trained: Reader, tmp_path: Path) -> None:
    trained.save(tmp_path / "connectors")
    again = Reader.load(tmp_path / "connectors")
    assert again.schemas == trained.schemas
    assert again.read(TEXTS) == trained.read(TEXTS)
    assert again.read(TEXTS, schema="fruit") == trained.read(TEXTS, schema="fruit")


def _delete(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


def _newer(folder: Path) -> None:
    document = json.loads((folder / "reader.json").read_text(encoding="utf-8"))
    (folder / "reader.json").write_text(json.dumps({**document, "format": 99}), encoding="utf-8")


def _other_schema(folder: Path) -> None:
    heart = load_library_schema("heart").as_dict()
    (folder / "reader.json").write_text(json.dumps({"format": 3, "schemas": [heart]}), encoding="utf-8")


_DAMAGES = {
    "no folder": shutil.rmtree,
    "no description": _delete("reader.json"),
    "a description that is no JSON": _write("reader.json", b"{"),
    "a description that is no object": _write("reader.json", b"[]"),
    "a description without schemas": _write("reader.json", b'{"format": 3}'),
    "another version": _newer,
    "tensors of other schemas": _other_schema,
    "no tensors": _delete("reader.safetensors"),
    "tensors cut short": _write("reader.safetensors", b"\x10\0\0\0\0\0\0\0{"),
    "no encoder": lambda folder: shutil.rmtree(folder / "encoder"),
    "no encoder's configuration": _delete("encoder/config.json"),
    "no tokenizer": _delete("encoder/tokenizer.json"),
}


@pytest.mark.parametrize("damage", _DAMAGES.values(), ids=_DAMAGES)
def test_what_is_no_whole_reader_is_refused(trained: Reader, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = tmp_path / "connectors"
    trained.save(folder)
    damage(folder)
    with pytest.raises(ArtefactError) as refusal:
        Reader.load(folder)
    assert "llamdex-provider connect" in refusal.value.next_step
    assert str(folder) in refusal.value.problem


_PIECES = ["red", "green", "51", "0", "-3", "4000", "two", "hundred", "grams", "weighs", ","]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    texts=st.lists(
        st.text(st.characters(codec="utf-8"), max_size=40)
        | st.lists(st.sampled_from(_PIECES), max_size=12).map(" ".join),
        min_size=1,
        max_size=3,
    ),
    fixed=st.booleans(),
)
def test_what_is_read_is_always_allowed(
    trained: Reader,
    toy_schema: Schema,
    texts: list[str],
    fixed: bool,  # noqa: FBT001 - hypothesis names its arguments
) -> None:
    for reading in trained.read(texts, schema="fruit" if fixed else None):
        assert set(reading.features) == {feature.name for feature in toy_schema.features}
        for feature in toy_schema.features:
            assert feature.contains(reading.features[feature.name])
            assert 0.0 < reading.confidence[feature.name] <= 1.0 + 1e-5
        assert 0.0 <= reading.route_probability <= 1.0
        assert reading.schema == ("fruit" if fixed or reading.route_probability > ROUTED else None)


def test_who_else_is_asked_changes_no_reading(trained: Reader) -> None:
    alone = [trained.read([text])[0] for text in TEXTS]
    for one, together in zip(alone, trained.read(TEXTS), strict=True):
        assert one.features == together.features
        assert one.schema == together.schema
        assert one.route_probability == pytest.approx(together.route_probability, abs=1e-5)


def test_chances_of_one_value_add_up_over_its_places(trained: Reader, toy_schema: Schema) -> None:
    # Two numbers, two tokens, two values: colour has its categories, weight has no value that words say.
    batch = trained.batch(["51 51 x"])
    numbers = batch.numbers[0]
    probability_FO = torch.tensor(
        [
            [0.0, 0.0, 0.3, 0.35, 0.25, 0.0, 0.1],
            [0.3, 0.3, 0.0, 0.0, 0.0, 0.0, 0.4],
        ]
    )
    facts = Reader._decide(toy_schema, numbers, 2, probability_FO)
    assert facts.features == {"colour": "red", "weight": 51.0}
    assert facts.confidence == pytest.approx({"colour": 0.55, "weight": 0.6})


def test_a_schema_may_have_a_name_that_torch_uses_itself(tiny_encoder: Path, toy_schema: Schema) -> None:
    schemas = [replace(toy_schema, name=name) for name in ("keys", "train", "fruit-2")]
    reader = Reader.untrained(tiny_encoder, schemas, layers=1)
    assert {reader.read(["red"], schema=schema.name)[0].schema for schema in schemas} == {"keys", "train", "fruit-2"}


@pytest.mark.parametrize(
    ("kind", "bounds", "values"),
    [
        ("integer", (0.0, 3.0), (0.0, 1.0, 2.0, 3.0)),
        ("integer", (0.5, 2.5), (1.0, 2.0)),
        ("integer", (-2.5, -0.5), (-2.0, -1.0)),
        ("integer", (0.0, 100.0), (0.0, 1.0)),
        ("integer", (-1.0, 900.0), (-1.0, 0.0, 1.0)),
        ("integer", (-8000.0, 100000.0), (-1.0, 0.0, 1.0)),
        ("integer", (1.0, 100.0), (1.0,)),
        ("integer", (20.0, 100.0), ()),
        ("number", (-1.0, 3.0), (0.0,)),
    ],
)
def test_words_say_small_counts_and_none(kind: str, bounds: tuple[float, float], values: tuple[float, ...]) -> None:
    feature = Feature(name="f", kind="integer" if kind == "integer" else "number", description="d", bounds=bounds)
    assert said_values(feature) == values
    assert all(feature.contains(value) for value in values)


def test_questions_of_the_generator_can_all_be_answered_rightly(untrained: Reader, toy_wording: Wording) -> None:
    """Every question that training makes has a right choice for every feature: the loss is finite."""
    generator = QuestionGenerator(toy_wording)
    rng = random.Random(0)
    with torch.no_grad():
        for _ in range(20):
            loss = loss_of(untrained, [("fruit", generator.sample(rng)) for _ in range(4)])
            assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("chances", "rival"),
    [
        ({None: 0.001, 45.0: 0.5, 54.0: 0.4}, 54.0),
        ({None: 0.001, "male": 0.9, "female": 0.09}, "female"),
        ({None: 0.2, 45.0: 0.5, 54.0: 0.3}, None),  # it may be that the other number is about something else
        ({None: 0.0, 45.0: 0.99, 54.0: 0.01}, None),
        ({None: 0.9, 45.0: 0.1}, None),
        ({None: 0.0, 45.0: 1.0, 54.0: 0.0}, None),
        ({None: 0.5, 45.0: 0.5}, None),
    ],
)
def test_what_is_said_twice_and_differently_is_told(chances: dict[Value, float], rival: Value) -> None:
    best = max(chances, key=chances.__getitem__)
    assert _rival(chances, best) == rival
