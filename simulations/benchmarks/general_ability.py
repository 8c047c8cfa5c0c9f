"""What the base LLM can do besides, alone and with the assembly around it: the numbers must be the same.

Perplexity of fixed texts, arithmetic that is asked in a chat, and completion of bare texts. The assembly is asked as a
user of transformers asks it; logits are compared bit by bit. No schema answers any of it, so a route is a false one.
"""

import math
import re
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from llamdex_fl.assembly import AssembledLlamdex
from llamdex_fl.assembly.prompts import left_padded

__all__ = ["measure_general_ability"]

_BATCH = 12
_ARITHMETIC_TOKENS = 16
_COMPLETION_TOKENS = 4


def measure_general_ability(assembly: AssembledLlamdex) -> dict[str, Any]:
    """Ask base LLM and assembly the same.

    Args:
        assembly: with whatever experts; questions that its reader routes to one count as ``false_routes``.

    Returns:
        ``perplexity`` (per token, over all texts), ``arithmetic_accuracy`` and ``completion_accuracy``, each with
        ``base`` and ``assembled``; ``false_routes``, how many prompts were not left alone; ``identical_logits``,
        whether all logits are bit for bit the same, None with a false route; ``prompts``, how many there are.
    """
    document: Any = tomllib.loads(
        files("simulations.benchmarks").joinpath("general_ability.toml").read_text(encoding="utf-8")
    )
    arithmetic, completion = document["arithmetic"], document["completion"]
    base = assembly.base
    plain, ours = _perplexities(assembly, [entry["text"] for entry in document["texts"]])
    identical = plain == ours
    chats = [base.prompt_ids(question)[0] for question in arithmetic]
    texts = [torch.tensor(base.answer_ids(text), device=base.model.device) for text in completion]
    # A bare text is no question in a chat, and never routed.
    routed = sum(own is not None for own in assembly.injections(list(arithmetic)))
    rates = {}
    for name, prompts, most, wanted, right in (
        ("arithmetic", chats, _ARITHMETIC_TOKENS, arithmetic, _says_number),
        ("completion", texts, _COMPLETION_TOKENS, completion, _goes_on),
    ):
        said = {"base": [], "assembled": []}  # type: dict[str, list[str]]
        for start in range(0, len(prompts), _BATCH):
            one, other = (
                _said(assembly, prompts[start : start + _BATCH], most, alone=alone) for alone in (True, False)
            )
            said["base"] += one[0]
            said["assembled"] += other[0]
            identical &= _same(one[1], other[1])
        rates[f"{name}_accuracy"] = {
            who: sum(map(right, texts, wanted.values())) / len(wanted) for who, texts in said.items()
        }
    return {
        "perplexity": {"base": math.exp(plain), "assembled": math.exp(ours)},
        **rates,
        "false_routes": routed,
        "identical_logits": None if routed else identical,
        "prompts": len(document["texts"]) + len(arithmetic) + len(completion),
    }


@torch.inference_mode()
def _perplexities(assembly: AssembledLlamdex, texts: Sequence[str]) -> tuple[float, float]:
    """Mean negative log-likelihood of a token, of the base LLM and of the assembly."""
    sums, tokens = [0.0, 0.0], 0
    for text in texts:
        ids_1T = torch.tensor([assembly.base.answer_ids(text)], device=assembly.base.model.device)
        tokens += ids_1T.shape[1] - 1
        for place, model in enumerate((assembly.base.model, assembly.causal_lm)):
            loss = model(ids_1T, labels=ids_1T).loss
            sums[place] += float(loss) * (ids_1T.shape[1] - 1)
    return sums[0] / tokens, sums[1] / tokens


def _said(
    assembly: AssembledLlamdex, prompts: Sequence[Tensor], most: int, *, alone: bool
) -> tuple[list[str], tuple[Tensor, ...]]:
    """What follows each prompt, and the logits (B, V) of each step."""
    model = assembly.base.model if alone else assembly.causal_lm
    ids_BT, mask_BT = left_padded(prompts, int(assembly.base.tokenizer.eos_token_id))
    output = model.generate(
        input_ids=ids_BT,
        attention_mask=mask_BT,
        max_new_tokens=most,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    texts = assembly.base.tokenizer.batch_decode(output.sequences[:, ids_BT.shape[1] :], skip_special_tokens=True)
    return texts, output.logits


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def _says_number(text: str, number: str) -> bool:
    # The last one: a small LLM repeats the problem first.
    found = re.findall(r"\d+", text.replace(",", ""))
    return bool(found) and found[-1] == number


def _goes_on(text: str, word: str) -> bool:
    return text.strip().casefold().startswith(word.casefold())
