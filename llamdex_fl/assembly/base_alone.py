"""The base LLM alone, as everybody has it: what it answers to the same questions without experts."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llamdex_fl.assembly.asked import AskedQuestion
from llamdex_fl.assembly.prompts import left_padded
from llamdex_fl.base_llm.base import BaseLLM
from llamdex_fl.schema import Schema

__all__ = ["PlainAnswer", "answer_alone", "evaluate_base", "said_answer"]

_BATCH = 16
_TOKENS = 24


@dataclass(frozen=True, slots=True)
class PlainAnswer:
    """What the base LLM generated, and its logits (V,) at the first token."""

    text: str
    first_V: Tensor


@torch.inference_mode()
def answer_alone(
    base: BaseLLM, questions: Sequence[str], *, max_new_tokens: int = 48, min_new_tokens: int = 0
) -> list[PlainAnswer]:
    """Answer questions together, greedily, with nothing injected."""
    prompts = [base.prompt_ids(question)[0] for question in questions]
    ids_BT, mask_BT = left_padded(prompts, int(base.tokenizer.eos_token_id))
    output = base.model.generate(
        ids_BT,
        attention_mask=mask_BT,
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    texts = base.tokenizer.batch_decode(output.sequences[:, ids_BT.shape[1] :], skip_special_tokens=True)
    return [PlainAnswer(text.strip(), first_V) for text, first_V in zip(texts, output.logits[0], strict=True)]


def evaluate_base(
    base: BaseLLM,
    schemas: Mapping[str, Schema],
    questions: Sequence[AskedQuestion],
    *,
    on_question: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """How often the base LLM alone is right; None where nothing was asked.

    ``accuracy`` goes by what it says: an answer that names no outcome is wrong. ``forced_choice_accuracy`` is kinder:
    it goes by the outcome whose first token the LLM finds likeliest at the start of its answer, said or not.

    Args:
        base: the LLM.
        schemas: of the questions.
        questions: of these schemas only.
        on_question: told (done, in all) after each batch.
    """
    said, chosen = [], []
    for start in range(0, len(questions), _BATCH):
        part = questions[start : start + _BATCH]
        for asked, answer in zip(
            part, answer_alone(base, [asked.question for asked in part], max_new_tokens=_TOKENS), strict=True
        ):
            schema = schemas[str(asked.schema)]
            said.append(said_answer(answer.text, schema) == asked.label)
            first = answer.first_V[[base.answer_ids(sentence)[0] for sentence in schema.target.sentences]]
            chosen.append(schema.target.labels[int(first.argmax())] == asked.label)
        if on_question is not None:
            on_question(len(said), len(questions))
    return {
        "questions": len(questions),
        "accuracy": sum(said) / len(said) if said else None,
        "forced_choice_accuracy": sum(chosen) / len(chosen) if chosen else None,
    }


def said_answer(text: str, schema: Schema) -> str | None:
    """The label whose answer stands first in a text; None if there is none. Longer answers win over their parts."""
    found = []
    for label, answer in zip(schema.target.labels, schema.target.answers, strict=True):
        match = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE)
        if match:
            found.append((match.start(), -len(answer), label))
    return min(found)[2] if found else None
