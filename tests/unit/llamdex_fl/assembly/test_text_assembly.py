"""Tables and texts in one assembly: each question goes to its own experts, and the same injector speaks for both."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llamdex_fl.assembly import AskedQuestion, AssembledLlamdex, Seat, evaluate
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors.injector import InjectorRecipe, train_injector
from llamdex_fl.connectors.questions import Wording
from llamdex_fl.connectors.reader import Reading
from llamdex_fl.connectors.texts import TextReader
from llamdex_fl.errors import InputError
from llamdex_fl.experts import MINILM_LORA, Expert, combine, tensor_shapes
from llamdex_fl.schema import Schema, load_library_schema

SENTIMENT = load_library_schema("sentiment")
QUESTIONS = ["A red fruit of 51 grams. Ripe?", 'Did they like it? "a warm and clever film"']
TEXT = {"text": "a warm and clever film"}


def _text_seat(make_seat: Callable[..., Seat], toy_schema: Schema, silo: str, seed: int) -> Seat:
    """A text expert with random low-rank parameters, with the guarantee of another."""
    random = np.random.default_rng(seed)
    tensors = {
        name: random.normal(0.0, 0.05, shape).astype(np.float32)
        for name, shape in tensor_shapes(MINILM_LORA, SENTIMENT).items()
    }
    tensors["class_counts"] = np.array([80.0, 120.0], np.float32)
    return Seat(silo, Expert.from_tensors(SENTIMENT, tensors, MINILM_LORA), make_seat(toy_schema, silo).guarantee)


@pytest.fixture(scope="module")
def assembly(
    make_tiny_llm: Callable[[str], Path],
    tiny_encoder: Path,
    toy_schema: Schema,
    toy_wording: Wording,
    make_seat: Callable[..., Seat],
) -> AssembledLlamdex:
    """Two silos of fruit and two of texts; the injector practised on fruit alone."""
    base = load_base_llm(str(make_tiny_llm("llama")))
    recipe = InjectorRecipe(questions=2, steps=6, outcome_batch=4, sentence_batch=2)
    reader = TextReader.untrained(tiny_encoder, [toy_schema, SENTIMENT], layers=1)
    assembly = AssembledLlamdex(base, reader, train_injector(base, [toy_wording], recipe=recipe))
    for seed, silo in enumerate(("orchard", "market")):
        assembly.seat("fruit", make_seat(toy_schema, silo, seed))
    for seed, silo in enumerate(("gazette", "shop")):
        assembly.seat("sentiment", _text_seat(make_seat, toy_schema, silo, seed))
    return assembly


@pytest.fixture
def routed(assembly: AssembledLlamdex, monkeypatch: pytest.MonkeyPatch) -> AssembledLlamdex:
    """An untrained reader routes by chance: it is told what it reads."""
    fruit = Reading("fruit", 1.0, {"colour": "red", "weight": 51.0}, {})
    text = Reading("sentiment", 1.0, TEXT, {"text": 1.0})

    def read(questions: list[str], *, schema: str | None = None) -> list[Reading]:
        own = {"fruit": fruit, "sentiment": text}
        return [own[schema] if schema else fruit if "fruit" in question else text for question in questions]

    monkeypatch.setattr(assembly.reader, "read", read)
    return assembly


def test_routes_of_both_kinds_mix_in_a_batch(routed: AssembledLlamdex) -> None:
    fruit, text = routed.answer_all(QUESTIONS, max_new_tokens=4)
    assert (fruit.schema, fruit.silos) == ("fruit", ("orchard", "market"))
    assert (text.schema, text.silos, text.facts) == ("sentiment", ("gazette", "shop"), TEXT)
    assert set(text.probabilities) == {"No", "Yes"}


def test_text_experts_combine_as_others_do(assembly: AssembledLlamdex) -> None:
    seats = assembly.seats("sentiment")
    experts, guarantees = [seat.expert for seat in seats], [seat.guarantee for seat in seats]
    records = [TEXT, {"text": "a dull one"}, {"text": None}]
    together = combine(experts, guarantees, records, experts[0].prior)
    np.testing.assert_allclose(assembly.consult("sentiment", records, asker="gazette").numpy(), together, atol=1e-6)
    assert abs(together[0, 0] - together[1, 0]) > 1e-6, "different texts, different answers"
    np.testing.assert_allclose(together[2], experts[0].prior, atol=1e-6, err_msg="no text is no evidence")


def test_a_text_expert_leaves_its_seat(
    assembly: AssembledLlamdex, make_seat: Callable[..., Seat], toy_schema: Schema
) -> None:
    assembly.seat("sentiment", _text_seat(make_seat, toy_schema, "guest", 7))
    assert [seat.silo for seat in assembly.seats("sentiment")] == ["gazette", "shop", "guest"]
    assembly.unseat("sentiment", "guest")
    assert [seat.silo for seat in assembly.seats("sentiment")] == ["gazette", "shop"]
    assert assembly.schemas == ["fruit", "sentiment"]


def test_a_text_that_is_too_long_is_refused(assembly: AssembledLlamdex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        assembly.reader, "read", lambda asked: [Reading("sentiment", 1.0, TEXT, {}, cut=True) for _ in asked]
    )
    with pytest.raises(InputError, match="too long for the experts") as refusal:
        assembly.answer("Did they like it?")
    assert "2000" in refusal.value.expected
    # A question about a text may be longer than what is read of a table's.
    assembly.check_readable("good " * 400, "sentiment")
    with pytest.raises(InputError, match="to be read to its end"):
        assembly.check_readable("good " * 400, "fruit")


def test_what_is_read_of_a_text_counts_without_its_quotation_marks(routed: AssembledLlamdex) -> None:
    asked = [
        AskedQuestion(identity="1", schema="sentiment", question="Liked?", features=TEXT, label="positive"),
        AskedQuestion(
            identity="2", schema="sentiment", question="?", features={"text": f'"{TEXT["text"]}" '}, label="positive"
        ),
        AskedQuestion(
            identity="3", schema="sentiment", question="!", features={"text": "a dull one"}, label="negative"
        ),
    ]
    report = evaluate(routed, asked, timed=0, base_asked=0)
    assert report["reader"] == {"exact_match": pytest.approx(2 / 3), "per_feature": {"text": pytest.approx(2 / 3)}}
    assert report["routing"]["correct_rate"] == 1.0
