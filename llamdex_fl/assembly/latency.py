"""Times an assembly beside its base LLM: the same questions, the same number of generated tokens, in turns.

The assembly's time counts everything from the question on: the registry, reading, the experts, the prompt, corrections
of what is injected, and a second asking where there is one. The base LLM is asked as transformers asks it.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llamdex_fl.assembly.asked import AskedQuestion
from llamdex_fl.assembly.base_alone import answer_alone

if TYPE_CHECKING:
    from llamdex_fl.assembly.assembled import AssembledLlamdex

__all__ = ["TIMED_TOKENS", "Turn", "latency_report", "timed_turn"]

#: Tokens of a whole answer that is timed.
TIMED_TOKENS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """Seconds that one question took, (base LLM, assembly): to the first token, and to the last."""

    first: tuple[float, float]
    whole: tuple[float, float]

    @property
    def per_token(self) -> tuple[float, float]:
        """Of each token after the first."""
        base, assembled = (
            (whole - first) / (TIMED_TOKENS - 1) for first, whole in zip(self.first, self.whole, strict=True)
        )
        return base, assembled


def timed_turn(assembly: "AssembledLlamdex", asked: AskedQuestion, *, assembled_first: bool = False) -> Turn:
    """Put one question to base LLM and assembly, twice each: for one token, and for ``TIMED_TOKENS``.

    It is read for its own schema, whatever the router says: reading takes the same time.

    Args:
        assembly: what is timed.
        asked: a question of a schema with experts.
        assembled_first: who begins; turns that take turns are fair.
    """

    def alone(tokens: int) -> None:
        answer_alone(assembly.base, [asked.question], max_new_tokens=tokens, min_new_tokens=tokens)

    def assembled(tokens: int) -> None:
        schema = str(asked.schema)
        assembly.attend()
        assembly.check(asked.question, tokens)
        reading = assembly.reader.read([asked.question], schema=schema)[0]
        probability_N = assembly.consult(schema, [reading.features], asker=asked.asker)[0]
        assembly.speak([(asked.question, schema, probability_N)], tokens, min_new_tokens=tokens)

    seconds = []
    for tokens in (1, TIMED_TOKENS):
        if assembled_first:
            own, base = _seconds(assembled, tokens), _seconds(alone, tokens)
        else:
            base, own = _seconds(alone, tokens), _seconds(assembled, tokens)
        seconds.append((base, own))
    return Turn(first=seconds[0], whole=seconds[1])


def latency_report(turns: Sequence[Turn]) -> dict[str, Any]:
    """Medians over the turns, and the medians of their ratios; None where there is no turn.

    Returns:
        ``base_ms``, ``assembled_ms`` and ``ratio`` of a whole answer of ``tokens`` tokens; the same under
        ``first_token``, and under ``per_token`` for each token after it.
    """
    return {
        **_medians([turn.whole for turn in turns]),
        "first_token": _medians([turn.first for turn in turns]),
        "per_token": _medians([turn.per_token for turn in turns]),
        "tokens": TIMED_TOKENS,
    }


def _medians(pairs: Sequence[tuple[float, float]]) -> dict[str, float | None]:
    if not pairs:
        return {"base_ms": None, "assembled_ms": None, "ratio": None}
    base, assembled = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {
        "base_ms": 1000 * base,
        "assembled_ms": 1000 * assembled,
        "ratio": statistics.median(own / alone for alone, own in pairs),
    }


def _seconds(run: Callable[[int], None], tokens: int) -> float:
    started = time.perf_counter()
    run(tokens)
    return time.perf_counter() - started
