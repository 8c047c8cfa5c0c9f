"""A training step of the injector through the suffix alone, beside one that recomputes the whole sequence.

The published implementation runs every question through the whole LLM at each step, and asks for the class token at
the last position. Both steps here ask for that, on the same prompts and probabilities.
"""

import random
import statistics
import time
from typing import Any

import torch
from torch import Tensor

from llamdex_fl.connectors.injector import Frame, Injector
from llamdex_fl.connectors.injector.training import InjectorRecipe, Practice, outcome_loss, practice, suffix_loss
from llamdex_fl.schema import load_library_schema
from simulations.benchmarks.connectors.parts import SCHEMAS, Parts, questions

__all__ = ["measure"]


def measure(parts: Parts, rounds: int) -> dict[str, Any]:
    """``injector_step``: milliseconds of a step either way, in turns."""
    rng = random.Random(2)  # noqa: S311 - questions, not keys
    frame, batch = Frame(parts.base), InjectorRecipe().outcome_batch
    scale = float(parts.base.model.get_input_embeddings().weight.float().pow(2).mean().sqrt())
    injector = Injector(parts.base.width, scale, parts.base.digest)
    optimiser = torch.optim.AdamW(injector.parameters(), lr=1e-4)
    prompts = []
    for number in range(batch):
        schema = load_library_schema(SCHEMAS[number % len(SCHEMAS)])
        question = questions(schema.name)(rng)
        prompts.append(practice(frame, frame.target_offers(schema.target), question, rng))
    turns = []
    for number in range(rounds + 1):
        seconds = []
        for loss in (
            lambda: suffix_loss(frame, injector, prompts, rng, sentence=False),
            lambda: _whole_loss(frame, injector, prompts, rng),
        ):
            started = time.perf_counter()
            optimiser.zero_grad(set_to_none=True)
            loss().backward()  # type: ignore[no-untyped-call] # torch's own
            optimiser.step()
            seconds.append(time.perf_counter() - started)
        if number:
            turns.append(seconds)
    suffix, whole = (statistics.median(column) for column in zip(*turns, strict=True))
    return {
        "injector_step": {
            "suffix_ms": round(1e3 * suffix, 1),
            "whole_ms": round(1e3 * whole, 1),
            "speedup": round(statistics.median(own[1] / own[0] for own in turns), 2),
        }
    }


def _whole_loss(frame: Frame, injector: Injector, prompts: list[Practice], rng: random.Random) -> Tensor:
    """The same loss, the prompts run from their first token on, padded on the left."""
    embed = frame.base.model.get_input_embeddings()
    chances = [rng.choice(own.chances) for own in prompts]
    rows = []
    for own, chance_K in zip(prompts, chances, strict=True):
        before_T = torch.cat([frame.opening_P, torch.tensor(own.ids)])
        tokens_KD = injector(chance_K, embed(own.first_N))
        rows.append(torch.cat([embed(before_T), tokens_KD, embed(frame.after_A)]))
    longest = max(map(len, rows))
    inputs_BLD = torch.stack([torch.nn.functional.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
    mask_BL = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    logits_BV = frame.base.model(
        inputs_embeds=inputs_BLD,
        attention_mask=mask_BL,
        position_ids=(mask_BL.cumsum(-1) - 1).clamp(min=0),
        use_cache=False,
        logits_to_keep=1,
    ).logits[:, -1]
    first_BV = torch.log_softmax(logits_BV.float(), dim=-1)
    return torch.stack(
        [
            outcome_loss(chance_K, row_V[own.first_N])
            for own, chance_K, row_V in zip(prompts, chances, first_BV, strict=True)
        ]
    ).mean()
