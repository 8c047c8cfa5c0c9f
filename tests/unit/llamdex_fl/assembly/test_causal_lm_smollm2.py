"""The packaged SmolLM2 itself among transformers' tools; its injector is untrained: only the plumbing counts here."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, pipeline

from llamdex_fl.assembly import AssembledLlamdex, Seat
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.reader import Reader, Reading
from llamdex_fl.schema import Schema

ASKED = ["What is the capital of France?", "A red fruit of 51 grams. Is it ripe?", "Name three rivers."]
DETAILED = {"max_new_tokens": 6, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}

pytestmark = pytest.mark.slow


@pytest.fixture
def assembly(tiny_encoder: Path, toy_schema: Schema, make_seat: Callable[..., Seat]) -> AssembledLlamdex:
    """Only what says "fruit" is routed."""
    base = load_base_llm()
    torch.manual_seed(0)
    made = AssembledLlamdex(
        base, Reader.untrained(tiny_encoder, [toy_schema], layers=1), Injector(base.width, 0.1, base.digest)
    )
    made.seat("fruit", make_seat(toy_schema, "orchard", 1))
    read = made.reader.read

    def reading(texts: Sequence[str], *, schema: str | None = None) -> list[Reading]:
        del schema
        return [
            Reading("fruit" if "fruit" in text else None, 1.0, own.features, own.confidence)
            for text, own in zip(texts, read(texts), strict=True)
        ]

    made.reader.read = reading  # type: ignore[method-assign]
    return made


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mixed_batch(assembly: AssembledLlamdex, side: str, dtype: torch.dtype) -> None:
    model, tokenizer = assembly.causal_lm.to(dtype), assembly.base.tokenizer
    chats = [[{"role": "user", "content": question}] for question in ASKED]
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    given, left = (
        tokenizer(texts, return_tensors="pt", padding=True, padding_side=own, add_special_tokens=False)
        for own in (side, "left")
    )
    ours = model.generate(given["input_ids"], attention_mask=given["attention_mask"], **DETAILED)
    theirs = assembly.base.model.generate(left["input_ids"], attention_mask=left["attention_mask"], **DETAILED)
    for row in (0, 2):
        for one, other in zip(ours.logits, theirs.logits, strict=False):
            if one[row].any():
                assert torch.equal(one[row], other[row])
    alone = assembly.generate(messages=chats[1], **DETAILED)
    tolerance = 1e-3 if dtype == torch.float32 else 0.5
    torch.testing.assert_close(ours.logits[0][1], alone.logits[0][0], rtol=tolerance, atol=tolerance)
    assert not torch.equal(ours.logits[0][1], theirs.logits[0][1])


def test_a_folder_with_the_llm_in_it_answers_in_a_pipeline(assembly: AssembledLlamdex, tmp_path: Path) -> None:
    assembly.save_pretrained(tmp_path / "saved", include_base=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    pipe = pipeline("text-generation", model=model, tokenizer=assembly.base.tokenizer)
    said = pipe([{"role": "user", "content": ASKED[0]}], max_new_tokens=8, do_sample=False)[0]["generated_text"][-1]
    assert "Paris" in said["content"]
    assert said["content"].strip() == "".join(assembly.stream(ASKED[0], max_new_tokens=8)).strip()
