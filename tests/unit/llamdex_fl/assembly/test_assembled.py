"""The assembly of tiny parts: nothing of it touches a question that it does not answer."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llamdex_fl.assembly import AssembledLlamdex, Seat
from llamdex_fl.assembly.speaking import Injection
from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.connectors.injector import InjectorRecipe, train_injector
from llamdex_fl.connectors.questions import Wording
from llamdex_fl.connectors.reader import Reader
from llamdex_fl.errors import InputError
from llamdex_fl.experts import combine, pooled_prior
from llamdex_fl.schema import Schema

QUESTIONS = ["A red fruit of 51 grams. Is it ripe?", "What is the capital of France?", "green, 300 g. Ripe?"]
RECORD = {"colour": "red", "weight": 51.0}


def _route(assembly: AssembledLlamdex, logit: float) -> None:
    """Decide the route of every question: the tiny reader's own choice is chance."""
    assembly.reader.network.vocabulary("fruit").route_bias.data.fill_(logit)


@pytest.fixture(scope="module", params=["llama", "gpt_neox"])
def parts(
    request: pytest.FixtureRequest,
    make_tiny_llm: Callable[[str], Path],
    tiny_encoder: Path,
    toy_schema: Schema,
    toy_wording: Wording,
) -> AssembledLlamdex:
    """Without experts; the injector has learnt a little."""
    base = load_base_llm(str(make_tiny_llm(request.param)))
    recipe = InjectorRecipe(questions=2, steps=6, outcome_batch=4, sentence_batch=2)
    injector = train_injector(base, [toy_wording], recipe=recipe)
    return AssembledLlamdex(base, Reader.untrained(tiny_encoder, [toy_schema], layers=1), injector)


@pytest.fixture
def assembly(parts: AssembledLlamdex, make_seat: Callable[..., Seat], toy_schema: Schema) -> AssembledLlamdex:
    """Two silos' experts; every question is routed to them."""
    made = AssembledLlamdex(parts.base, parts.reader, parts.injector)
    made.seat("fruit", make_seat(toy_schema, "orchard", 1))
    made.seat("fruit", make_seat(toy_schema, "market", 2))
    _route(made, 100.0)
    return made


def _untouched(base: BaseLLM, questions: Sequence[str], tokens: int) -> list[tuple[torch.Tensor, str]]:
    """Logits and words of the same LLM as transformers loads it, with nothing of ours in between."""
    model = AutoModelForCausalLM.from_pretrained(base.name).eval()
    tokenizer = AutoTokenizer.from_pretrained(base.name)
    results = []
    for question in questions:
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            logits = model(**inputs).logits
            ids = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        said = tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        results.append((logits, said.strip()))
    return results


def test_without_a_route_the_llm_is_bit_for_bit_its_own(assembly: AssembledLlamdex) -> None:
    assembly.answer_all(QUESTIONS, max_new_tokens=4)  # routed: nothing may stay behind in the LLM
    _route(assembly, -100.0)
    answers = assembly.answer_all(QUESTIONS, max_new_tokens=12)
    for question, answer, (logits, said) in zip(
        QUESTIONS, answers, _untouched(assembly.base, QUESTIONS, 12), strict=True
    ):
        assert (answer.schema, answer.silos, dict(answer.probabilities), dict(answer.facts)) == (None, (), {}, {})
        assert answer.text == said
        with torch.inference_mode():
            assert torch.equal(assembly.base.model(assembly.base.prompt_ids(question)).logits, logits)
        assert assembly.answer(question, max_new_tokens=12).text == said


def test_the_llms_weights_are_those_on_disk(assembly: AssembledLlamdex) -> None:
    assembly.answer_all(QUESTIONS, max_new_tokens=2)
    fresh = AutoModelForCausalLM.from_pretrained(assembly.base.name).state_dict()
    now = assembly.base.model.state_dict()
    assert set(fresh) == set(now)
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in now.items())


def test_a_schema_without_an_expert_is_no_route(parts: AssembledLlamdex) -> None:
    _route(parts, 100.0)
    assert parts.reader.read(QUESTIONS[:1])[0].schema == "fruit"
    assert parts.read(QUESTIONS[:1])[0].schema is None
    assert parts.answer(QUESTIONS[0], max_new_tokens=3).silos == ()
    assert parts.schemas == []


def test_an_answer_tells_who_spoke_and_what_was_read(assembly: AssembledLlamdex, toy_schema: Schema) -> None:
    answer = assembly.answer(QUESTIONS[0], max_new_tokens=6)
    assert answer.schema == "fruit"
    assert answer.silos == ("orchard", "market")
    assert dict(answer.facts) == dict(assembly.reader.read(QUESTIONS[:1], schema="fruit")[0].features)
    assert list(answer.probabilities) == list(answer.expert_probabilities) == list(toy_schema.target.answers)
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    expected = assembly.consult("fruit", [answer.facts])[0].tolist()
    assert list(answer.expert_probabilities.values()) == pytest.approx(expected)


def test_together_or_alone_the_answers_are_the_same(assembly: AssembledLlamdex) -> None:
    alone = [assembly.answer(question, asker="market", max_new_tokens=5) for question in QUESTIONS]
    together = assembly.answer_all(QUESTIONS, askers=["market"] * 3, max_new_tokens=5, batch=2)
    for one, other in zip(alone, together, strict=True):
        assert (one.text, one.schema, one.facts) == (other.text, other.schema, other.facts)
        assert dict(one.probabilities) == pytest.approx(dict(other.probabilities), abs=1e-4)
        assert dict(one.expert_probabilities) == pytest.approx(dict(other.expert_probabilities), abs=1e-6)


def test_a_known_asker_brings_its_own_prior(assembly: AssembledLlamdex) -> None:
    seats = assembly.seats("fruit")
    experts, guarantees = [seat.expert for seat in seats], [seat.guarantee for seat in seats]
    for asker, prior in (
        ("orchard", experts[0].prior),
        ("market", experts[1].prior),
        ("a stranger", None),
        (None, None),
    ):
        expected = combine(experts, guarantees, [RECORD, {}], prior)
        np.testing.assert_allclose(assembly.consult("fruit", [RECORD, {}], asker=asker), expected, atol=1e-6)
    known = assembly.consult("fruit", [RECORD], asker="orchard")
    unknown = assembly.consult("fruit", [RECORD])
    assert not torch.allclose(known, unknown)
    pooled = combine(experts, guarantees, [RECORD], pooled_prior(experts))
    np.testing.assert_allclose(unknown, pooled, atol=1e-6)


def test_a_silos_newer_expert_takes_its_seat(
    assembly: AssembledLlamdex, make_seat: Callable[..., Seat], toy_schema: Schema
) -> None:
    newer = make_seat(toy_schema, "orchard", 9)
    assembly.seat("fruit", newer)
    seats = assembly.seats("fruit")
    assert sorted(seat.silo for seat in seats) == ["market", "orchard"]
    assert newer in seats


def test_seating_an_expert_trains_nothing(
    assembly: AssembledLlamdex, make_seat: Callable[..., Seat], toy_schema: Schema
) -> None:
    before = {name: tensor.clone() for name, tensor in assembly.injector.state_dict().items()}
    read = assembly.reader.read(QUESTIONS)
    assembly.seat("fruit", make_seat(toy_schema, "greenhouse", 5))
    assert all(torch.equal(tensor, before[name]) for name, tensor in assembly.injector.state_dict().items())
    assert assembly.reader.read(QUESTIONS) == read


def test_an_unknown_schema_gets_no_seat(
    assembly: AssembledLlamdex, make_seat: Callable[..., Seat], toy_schema: Schema
) -> None:
    with pytest.raises(InputError, match="vegetables") as refusal:
        assembly.seat("vegetables", make_seat(toy_schema, "orchard"))
    assert "llamdex-provider connect" in refusal.value.next_step
    assert assembly.schemas == ["fruit"]


def test_a_question_that_cannot_be_read_to_its_end_is_refused_where_facts_are_wanted(
    assembly: AssembledLlamdex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies beyond the end would count as not said."""
    long = "." * 420 + " A red fruit of 51 grams. Ripe?"
    bias = assembly.reader.network.vocabulary("fruit").route_bias
    monkeypatch.setattr(bias, "data", torch.tensor(100.0))
    with pytest.raises(InputError, match="read to its end") as refusal:
        assembly.answer(long)
    assert "384" in refusal.value.expected
    monkeypatch.setattr(bias, "data", torch.tensor(-100.0))
    assert assembly.answer(long, max_new_tokens=2).schema is None


@pytest.mark.parametrize("question", ["", " ", "\n\t"])
def test_an_empty_question_is_refused(assembly: AssembledLlamdex, question: str) -> None:
    with pytest.raises(InputError, match="empty"):
        assembly.answer(question)


def test_a_question_that_the_llm_cannot_take_is_refused(assembly: AssembledLlamdex) -> None:
    most = assembly.base.context
    assert most is not None
    with pytest.raises(InputError, match="too long") as refusal:
        assembly.answer("red " * most)
    assert str(most) not in refusal.value.got
    assert "tokens" in refusal.value.got


def test_room_is_kept_for_the_longest_prompt_and_no_more(assembly: AssembledLlamdex, toy_schema: Schema) -> None:
    room, base = assembly.speaker.room(toy_schema), assembly.base
    question = "A red fruit."
    sure = [Injection(question, toy_schema, torch.tensor([1 - chance, chance])) for chance in (0.99, 0.9, 0.7, 0.5)]
    taken = [assembly.speaker.begin([own]).length - base.prompt_ids(question).shape[1] for own in sure]
    assert room - 8 <= max(taken) <= room
    assert base.context is not None
    free = base.context - 48 - room
    longest = next(text for count in range(free, 0, -1) if base.prompt_ids(text := "red" * count).shape[1] <= free)
    assembly.check(longest)
    with pytest.raises(InputError, match=f"at most {free} tokens"):
        assembly.check(longest + "red" * 2)
