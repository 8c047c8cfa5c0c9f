"""Time to the first token and per token: the assembly beside the base LLM, which is asked as transformers asks it."""

import random
import statistics
import time
from collections.abc import Sequence
from typing import Any

from llamdex_fl.assembly.base_alone import answer_alone
from simulations.benchmarks.connectors.parts import SCHEMAS, Parts, questions

__all__ = ["measure"]

_TOKENS = 16


def measure(parts: Parts, rounds: int) -> dict[str, Any]:
    """``ttft`` and ``per_token``; the first also by schema.

    The assembly's time counts everything from the question on: reading, the experts, the prompt and its corrections.
    """
    rng = random.Random(0)  # noqa: S311 - questions, not keys
    turns: dict[str, list[tuple[float, ...]]] = {}
    for name in SCHEMAS:
        sample = questions(name)
        # More than are counted: the first allocate, and compute what is kept of the outcomes' sentences.
        for number in range(rounds + 3):
            question = sample(rng)
            turn = tuple(
                run(parts, question, name, tokens) for tokens in (1, 1 + _TOKENS) for run in (_alone, _assembled)
            )
            if number > 2:  # noqa: PLR2004 - as above
                turns.setdefault(name, []).append(turn)
    every = [turn for own in turns.values() for turn in own]
    per_token = [((base - b1) / _TOKENS, (own - o1) / _TOKENS) for b1, o1, base, own in every]
    return {
        "ttft": _summary([turn[:2] for turn in every])
        | {"by_schema": {name: _summary([turn[:2] for turn in own]) for name, own in turns.items()}},
        "per_token": _summary(per_token),
    }


def _summary(pairs: Sequence[tuple[float, ...]]) -> dict[str, float]:
    base, own = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = [pair[1] / pair[0] for pair in pairs]
    return {
        "base_ms": round(1e3 * base, 1),
        "assembled_ms": round(1e3 * own, 1),
        "ratio": round(statistics.median(ratios), 3),
        "mean_ratio": round(statistics.mean(ratios), 3),
    }


def _alone(parts: Parts, question: str, _: str, tokens: int) -> float:
    started = time.perf_counter()
    answer_alone(parts.base, [question], max_new_tokens=tokens, min_new_tokens=tokens)
    return time.perf_counter() - started


def _assembled(parts: Parts, question: str, schema: str, tokens: int) -> float:
    started = time.perf_counter()
    # It is untrained, so its route is not asked for; the time is the same.
    reading = parts.assembly.reader.read([question], schema=schema)[0]
    probability_N = parts.assembly.consult(schema, [reading.features])[0]
    parts.assembly.speak([(question, schema, probability_N)], tokens, min_new_tokens=tokens)
    return time.perf_counter() - started
