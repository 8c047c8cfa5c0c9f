"""Time to the first token and per token: the assembly beside the base LLM, which is asked as transformers asks it."""

import random
import statistics
from collections.abc import Sequence
from typing import Any

from llamdex_fl.assembly import AskedQuestion
from llamdex_fl.assembly.latency import Turn, latency_report, timed_turn
from simulations.benchmarks.connectors.parts import SCHEMAS, Parts, questions

__all__ = ["measure"]

#: Of each schema, before those that count: they allocate, and compute what is kept of prompts.
_UNCOUNTED = 2


def measure(parts: Parts, rounds: int) -> dict[str, Any]:
    """``ttft``, ``per_token`` and ``whole_answer``; the first also by schema."""
    rng = random.Random(0)  # noqa: S311 - questions, not keys
    turns: dict[str, list[Turn]] = {}
    for name in SCHEMAS:
        sample = questions(name)
        for number in range(rounds + _UNCOUNTED):
            asked = AskedQuestion(identity=str(number), schema=name, question=sample(rng), features={}, label=None)
            turn = timed_turn(parts.assembly, asked, assembled_first=number % 2 == 1)
            if number >= _UNCOUNTED:
                turns.setdefault(name, []).append(turn)
    every = [turn for own in turns.values() for turn in own]
    report = latency_report(every)
    firsts = {name: _first(own) for name, own in turns.items()}
    return {
        "ttft": _first(every) | {"by_schema": firsts},
        "per_token": report["per_token"],
        "whole_answer": {name: report[name] for name in ("base_ms", "assembled_ms", "ratio", "tokens")},
    }


def _first(turns: Sequence[Turn]) -> dict[str, Any]:
    mean = statistics.mean(own / base for base, own in (turn.first for turn in turns))
    return {**latency_report(turns)["first_token"], "mean_ratio": mean}
