"""An assembly among transformers' own tools: generate, padding, streams, pipeline, types of numbers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TextIteratorStreamer, TextStreamer, pipeline

from llamdex_fl.assembly import AssembledLlamdex, LlamdexForCausalLM, Seat
from llamdex_fl.assembly.turns import Turns
from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.connectors.injector import InjectorRecipe, train_injector
from llamdex_fl.connectors.questions import Wording
from llamdex_fl.connectors.reader import Reader, Reading
from llamdex_fl.errors import InputError
from llamdex_fl.schema import Schema

FRUIT = ["A red fruit of 51 grams. Is it ripe?", "It is green and weighs 300 g, a heavy fruit. Ripe or not?"]
PLAIN = ["What is the capital of France?", "Tell me a long story about a dog and a cat, please."]
FAMILIES = ["llama", "qwen2", "gpt_neox", "mistral", "phi"]


def _route_fruit(assembly: AssembledLlamdex) -> None:
    """The tiny reader's own choice is chance: here a question about a fruit is one that says so."""
    read = assembly.reader.read

    def reading(texts: Sequence[str], *, schema: str | None = None) -> list[Reading]:
        return [
            Reading(
                "fruit" if "fruit" in text else None, own.route_probability, own.features, own.confidence, own.cut
            )
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
    toy_wording: Wording,
    make_seat: Callable[..., Seat],
) -> Callable[..., AssembledLlamdex]:
    """Makes an assembly around a tiny LLM of a family."""

    def making(family: str, dtype: torch.dtype = torch.float32) -> AssembledLlamdex:
        key = f"{family} {dtype}"
        if key not in made:
            base = load_base_llm(str(make_tiny_llm(family)), dtype=dtype)
            recipe = InjectorRecipe(questions=2, steps=4, outcome_batch=4, sentence_batch=2)
            injector = train_injector(base, [toy_wording], recipe=recipe)
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


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
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


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
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
