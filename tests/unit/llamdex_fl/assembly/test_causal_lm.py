"""An assembly among transformers' own tools: generate, padding, streams, pipeline, types of numbers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, TextIteratorStreamer, TextStreamer, pipeline

from llamdex_fl.assembly import AssembledLlamdex, LlamdexForCausalLM, Seat
from llamdex_fl.assembly.turns import Turns
from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.reader import Reader, Reading
from llamdex_fl.errors import InputError
from llamdex_fl.schema import Schema

FRUIT = ["A red fruit of 51 grams. Is it ripe?", "It is green and weighs 300 g, a heavy fruit. Ripe or not?"]
PLAIN = ["What is the capital of France?", "Tell me a long story about a dog and a cat, please."]
#: (architecture, type of numbers)
MODELS = [
    *((family, torch.float32) for family in ("llama", "qwen2", "gpt_neox", "mistral", "phi")),
    *((family, torch.bfloat16) for family in ("llama", "qwen2", "gpt_neox")),
]


def _route_fruit(assembly: AssembledLlamdex) -> None:
    """The tiny reader's own choice is chance: here a question about a fruit is one that says so."""
    read = assembly.reader.read

    def reading(texts: Sequence[str], *, schema: str | None = None) -> list[Reading]:
        return [
            Reading("fruit" if "fruit" in text else None, own.route_probability, own.features, own.confidence, own.cut)
            for text, own in zip(texts, read(texts, schema=schema), strict=True)
        ]

    assembly.reader.read = reading  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def made() -> dict[str, AssembledLlamdex]:
    return {}


@pytest.fixture
def make(
    made: dict[str, AssembledLlamdex],
    make_tiny_llm: Callable[[str], Path],
    tiny_encoder: Path,
    toy_schema: Schema,
    make_seat: Callable[..., Seat],
) -> Callable[..., AssembledLlamdex]:
    """Makes an assembly around a tiny LLM of a family."""

    def making(family: str, dtype: torch.dtype = torch.float32) -> AssembledLlamdex:
        key = f"{family} {dtype}"
        if key not in made:
            base = load_base_llm(str(make_tiny_llm(family)), dtype=dtype)
            torch.manual_seed(0)
            injector = Injector(base.width, 0.2, base.digest)
            assembly = AssembledLlamdex(base, Reader.untrained(tiny_encoder, [toy_schema], layers=1), injector)
            assembly.seat("fruit", make_seat(toy_schema, "orchard", 1))
            assembly.seat("fruit", make_seat(toy_schema, "market", 2))
            _route_fruit(assembly)
            made[key] = assembly
        return made[key]

    return making


def _batch(base: BaseLLM, questions: Sequence[str], side: str = "left") -> dict[str, Any]:
    texts = [
        base.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        for question in questions
    ]
    encoded = base.tokenizer(texts, return_tensors="pt", padding=True, padding_side=side, add_special_tokens=False)
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


GREEDY = {"max_new_tokens": 6, "do_sample": False}
DETAILED = {**GREEDY, "output_logits": True, "return_dict_in_generate": True}


@pytest.mark.parametrize(("family", "dtype"), MODELS)
def test_without_a_route_generate_is_the_base_llms_own(
    make: Callable[..., AssembledLlamdex], family: str, dtype: torch.dtype
) -> None:
    assembly = make(family, dtype)
    inputs = _batch(assembly.base, PLAIN)
    ours = assembly.generate(**inputs, **DETAILED)
    theirs = assembly.base.model.generate(**inputs, **DETAILED)
    assert torch.equal(ours.sequences, theirs.sequences)
    assert all(torch.equal(one, other) for one, other in zip(ours.logits, theirs.logits, strict=True))
    with torch.inference_mode():
        assert torch.equal(assembly.causal_lm(**inputs).logits, assembly.base.model(**inputs).logits)


@pytest.mark.parametrize(("family", "dtype"), MODELS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_mixed_batch_leaves_the_base_llms_rows_bit_for_bit_and_answers_the_others(
    make: Callable[..., AssembledLlamdex], family: str, dtype: torch.dtype, side: str
) -> None:
    assembly = make(family, dtype)
    asked = [PLAIN[0], FRUIT[0], FRUIT[1], PLAIN[1]]
    inputs = _batch(assembly.base, asked, side)
    ours = assembly.generate(**inputs, **DETAILED)
    theirs = assembly.base.model.generate(**_batch(assembly.base, asked), **DETAILED)
    length = inputs["input_ids"].shape[1]
    assert torch.equal(ours.sequences[:, :length], inputs["input_ids"])
    for row in (0, 3):
        for one, other in zip(ours.logits, theirs.logits, strict=False):
            if one[row].any():
                assert torch.equal(one[row], other[row])
        own = ours.sequences[row, length:]
        assert own.tolist() == theirs.sequences[row, length : length + len(own)].tolist()
    for row in (1, 2):
        alone = assembly.generate(**_batch(assembly.base, [asked[row]]), **DETAILED)
        tolerance = 1e-4 if dtype == torch.float32 else 0.15
        torch.testing.assert_close(ours.logits[0][row], alone.logits[0][0], rtol=tolerance, atol=tolerance)
        assert not torch.equal(ours.logits[0][row], theirs.logits[0][row])


def _answered(assembly: AssembledLlamdex, question: str, **kwargs: object) -> str:
    inputs = _batch(assembly.base, [question])
    ids = assembly.generate(**inputs, **{**GREEDY, **kwargs})
    text = assembly.base.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return str(text).strip()


def test_generate_says_what_the_assembly_answers(make: Callable[..., AssembledLlamdex]) -> None:
    assembly = make("llama")
    assembly.speaker.corrections = 0
    for question in FRUIT:
        spoken = assembly.speaker.begin(assembly.injections([question]))
        first = spoken.first_token(spoken.wanted).argmax()
        words = assembly.base.tokenizer.decode(first)
        assert _answered(assembly, question, max_new_tokens=1) == words.strip()
        answer = assembly.answer(question, max_new_tokens=6)
        if not answer.asked_again:
            assert _answered(assembly, question) == answer.text


def test_a_chat_is_answered_by_its_last_turn(make: Callable[..., AssembledLlamdex]) -> None:
    assembly = make("llama")
    turn = {"role": "user", "content": FRUIT[0]}
    before = [{"role": "user", "content": PLAIN[0]}, {"role": "assistant", "content": "Paris."}]
    alone = assembly.generate(messages=[turn], **GREEDY)[0, -6:]
    both = assembly.generate(messages=[[turn], [*before, turn], before[:1]], **DETAILED)
    assert both.sequences[0, -6:].tolist() == both.sequences[1, -6:].tolist() == alone.tolist()
    theirs = assembly.base.model.generate(**_batch(assembly.base, PLAIN[:1]), **GREEDY)
    assert both.sequences[2, -6:].tolist() == theirs[0, -6:].tolist()
    with pytest.raises(InputError, match="no chat"):
        assembly.generate(messages=[])


def test_what_is_no_question_is_the_base_llms(make: Callable[..., AssembledLlamdex]) -> None:
    assembly = make("llama")
    base = assembly.base
    begun = base.tokenizer(f"<|im_start|>user\n{FRUIT[0]}<|im_end|>\n<|im_start|>assistant\nIt is", return_tensors="pt")
    for inputs in (base.tokenizer(FRUIT[0], return_tensors="pt"), begun):
        assert torch.equal(
            assembly.generate(input_ids=inputs["input_ids"], **GREEDY),
            base.model.generate(inputs["input_ids"], **GREEDY),
        )
    embeds = base.model.get_input_embeddings()(begun["input_ids"])
    assert torch.equal(
        assembly.generate(inputs_embeds=embeds, **GREEDY), base.model.generate(inputs_embeds=embeds, **GREEDY)
    )


def test_arguments_of_transformers_count_for_routed_prompts_too(make: Callable[..., AssembledLlamdex]) -> None:
    assembly = make("llama")
    inputs = _batch(assembly.base, [FRUIT[0], PLAIN[0]])
    length = inputs["input_ids"].shape[1]
    assert assembly.generate(**inputs, max_length=length + 3, do_sample=False).shape == (2, length + 3)
    assert assembly.generate(**_batch(assembly.base, FRUIT[:1])).shape[1] <= length + 20
    torch.manual_seed(1)
    several = assembly.generate(**inputs, max_new_tokens=3, do_sample=True, temperature=2.0, num_return_sequences=4)
    assert several.shape == (8, length + 3)
    assert several[:4, :length].unique(dim=0).shape[0] == several[4:, :length].unique(dim=0).shape[0] == 1
    assert several[:4].unique(dim=0).shape[0] > 1
    searched = assembly.generate(**inputs, max_new_tokens=3, do_sample=False, num_beams=2)
    assert searched.shape[0] == 2
    detailed = assembly.generate(**inputs, **DETAILED, num_beams=2, output_scores=True)
    assert detailed.sequences_scores.shape == (2,)
    alone = _batch(assembly.base, FRUIT[:1])
    length = alone["input_ids"].shape[1]
    banned = int(assembly.generate(**alone, **GREEDY)[0, length])
    again = assembly.generate(**alone, **GREEDY, suppress_tokens=[banned])
    assert banned not in again[0, length:].tolist()
    config = GenerationConfig(max_length=length + 4, min_length=length + 4, do_sample=False)
    assert assembly.generate(**alone, generation_config=config).shape[1] == length + 4


def test_the_asker_of_a_prompt_counts(make: Callable[..., AssembledLlamdex]) -> None:
    assembly = make("llama")
    one, other = assembly.injections([FRUIT[0]] * 2, askers=["orchard", "market"])
    assert one is not None
    assert other is not None
    assert not torch.equal(one.probability_N, other.probability_N)
    asked = assembly.generate(**_batch(assembly.base, [FRUIT[0]] * 2), askers=["orchard", "market"], **DETAILED)
    assert not torch.equal(asked.logits[0][0], asked.logits[0][1])


def test_a_prompt_that_cannot_be_read_whole_is_refused(make: Callable[..., AssembledLlamdex]) -> None:
    assembly = make("llama")
    with pytest.raises(InputError, match="too long"):
        assembly.generate(**_batch(assembly.base, ["A fruit. " * 300]), **GREEDY)


@pytest.mark.parametrize("question", [FRUIT[0], PLAIN[0]])
def test_streams_give_the_same_words(make: Callable[..., AssembledLlamdex], question: str) -> None:
    assembly = make("llama")
    said = _answered(assembly, question, max_new_tokens=12)
    pieces = list(assembly.stream(question, max_new_tokens=12))
    assert "".join(pieces).strip() == said
    streamer = TextIteratorStreamer(assembly.base.tokenizer, skip_prompt=False)
    assembly.generate(**_batch(assembly.base, [question]), **GREEDY, streamer=streamer)
    assert question in "".join(streamer)


def test_whoever_stops_reading_stops_the_stream(make: Callable[..., AssembledLlamdex]) -> None:
    assembly = make("llama")
    stream = assembly.stream(PLAIN[0], max_new_tokens=400)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="empty"):
        assembly.stream(" ")
    failing = assembly.stream(PLAIN[0], no_such_argument=1)
    with pytest.raises(ValueError, match="no_such_argument"):
        list(failing)
    with pytest.raises(InputError, match="streamed together"):
        assembly.generate(
            **_batch(assembly.base, [FRUIT[0], PLAIN[0]]), **GREEDY, streamer=TextStreamer(assembly.base.tokenizer)
        )


def test_pipeline_takes_messages_and_batches(make: Callable[..., AssembledLlamdex]) -> None:
    assembly = make("qwen2")
    pipe = pipeline("text-generation", model=assembly.causal_lm, tokenizer=assembly.base.tokenizer)
    chats = [[{"role": "user", "content": question}] for question in (FRUIT[0], PLAIN[0])]
    results = pipe(chats, **GREEDY, batch_size=2)
    said = [result[0]["generated_text"][-1] for result in results]
    assert [turn["role"] for turn in said] == ["assistant", "assistant"]
    for turn, question in zip(said, (FRUIT[0], PLAIN[0]), strict=True):
        assert turn["content"].strip() == _answered(assembly, question)


def test_casting_and_moving_keep_the_injector_exact(make: Callable[..., AssembledLlamdex]) -> None:
    made = make("llama")
    base = load_base_llm(made.base.name)
    assembly = AssembledLlamdex(base, made.reader, made.injector)
    for seat in made.seats("fruit"):
        assembly.seat("fruit", seat)
    model = assembly.causal_lm
    before = _answered(assembly, FRUIT[0])
    assert model.to(torch.bfloat16) is model
    assert model.dtype == torch.bfloat16
    assert all(own.dtype == torch.float32 for own in model.injector.parameters())
    _answered(assembly, FRUIT[0])
    model.to("cpu", torch.float32)
    assert isinstance(model, LlamdexForCausalLM)
    assert len(before) > 0


TEMPLATES = {
    "llama3": "{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "mistral": "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'system' %}{{ raise_exception('no system') }}{% else %} {{ m['content'] }}</s>{% endif %}"
    "{% endfor %}",
    "default system": "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_last_turn_is_found_in_other_templates(make_tiny_llm: Callable[[str], Path], template: str) -> None:
    tokenizer = load_base_llm(str(make_tiny_llm("llama"))).tokenizer
    tokenizer.chat_template = TEMPLATES[template]
    turns = Turns(tokenizer)
    earlier = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    asked = {"role": "user", "content": "A red fruit?\nOf 51 g: ripe?"}
    for chat in ([asked], [*earlier, asked]):
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert turns.question(tokenizer(text, add_special_tokens=False)["input_ids"]) == asked["content"]
    assert turns.question(tokenizer("A red fruit?")["input_ids"]) is None
