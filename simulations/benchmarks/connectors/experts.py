"""What one expert more costs: its seat in an assembly that answers, and each question after it."""

import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from llamdex_fl.assembly import AssembledLlamdex
from simulations.benchmarks.connectors.parts import Parts, questions, seat

__all__ = ["measure"]

_SCHEMA = "heart"
_FEW, _MANY = 10, 100
_TOKENS = 16
_REPEATS = 9


def measure(parts: Parts, rounds: int) -> dict[str, Any]:
    """``experts``: milliseconds to seat the hundredth, and the share of an answer that ten experts more cost.

    The experts of a schema are asked once a question, whatever the number of tokens; what they cost is timed by itself,
    for it is far less than an answer's time varies.
    """
    assembly = AssembledLlamdex(parts.base, parts.assembly.reader, parts.assembly.injector)
    schema = assembly.schema(_SCHEMA)
    question = questions(_SCHEMA)(random.Random(1))  # noqa: S311 - questions, not keys
    record = {feature.name: None for feature in schema.features}
    asked: dict[int, float] = {}
    seated = 0.0
    for number in range(_MANY):
        own = seat(schema, f"silo-{number}", number)
        seated = _seconds(partial(assembly.seat, _SCHEMA, own))
        if number + 1 in {_FEW, _MANY}:
            asked[number + 1] = statistics.median(
                _seconds(lambda: assembly.consult(_SCHEMA, [record])) for _ in range(_REPEATS)
            )
    chance_N = assembly.consult(_SCHEMA, [record])[0]
    answer = statistics.median(
        _seconds(lambda: assembly.speak([(question, _SCHEMA, chance_N)], _TOKENS, min_new_tokens=_TOKENS))
        for _ in range(max(rounds, 2))
    )
    more = (asked[_MANY] - asked[_FEW]) / (_MANY - _FEW) * 10
    return {
        "experts": {
            "seat_hundredth_ms": round(1e3 * seated, 2),
            "consult_10_ms": round(1e3 * asked[_FEW], 2),
            "consult_100_ms": round(1e3 * asked[_MANY], 2),
            "answer_ms": round(1e3 * answer, 1),
            "growth_per_ten": round(more / answer, 5),
        }
    }


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
