"""What is timed is the same work on both sides, and the figures follow from the seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamdex_fl.assembly import AskedQuestion, AssembledLlamdex, Seat, latency
from llamdex_fl.assembly.latency import TIMED_TOKENS, Turn, latency_report, timed_turn
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.reader import Reader
from llamdex_fl.schema import Schema


def test_figures_of_hand_computed_turns() -> None:
    after = TIMED_TOKENS - 1
    turns = [
        Turn(first=(0.2, 0.3), whole=(0.2 + 0.02 * after, 0.3 + 0.02 * after)),
        Turn(first=(0.4, 0.4), whole=(0.4 + 0.02 * after, 0.4 + 0.04 * after)),
        Turn(first=(0.3, 0.3), whole=(0.3 + 0.02 * after, 0.3 + 0.02 * after)),
    ]
    report = latency_report(turns)
    assert report["first_token"] == pytest.approx({"base_ms": 300, "assembled_ms": 300, "ratio": 1.0})
    assert report["per_token"] == pytest.approx({"base_ms": 20, "assembled_ms": 20, "ratio": 1.0})
    assert report["base_ms"] == pytest.approx(600)
    assert report["assembled_ms"] == pytest.approx(600)
    assert report["ratio"] == pytest.approx(0.6 / 0.5)
    assert report["tokens"] == TIMED_TOKENS


def test_a_turn_asks_both_for_as_many_tokens_and_counts_reader_and_experts(
    make_tiny_llm: Callable[[str], Path],
    tiny_encoder: Path,
    toy_schema: Schema,
    make_seat: Callable[..., Seat],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = load_base_llm(str(make_tiny_llm("llama")))
    reader = Reader.untrained(tiny_encoder, [toy_schema], layers=1)
    assembly = AssembledLlamdex(base, reader, Injector(base.width, 0.2, base.digest))
    assembly.seat("fruit", make_seat(toy_schema, "orchard"))
    done: list[Any] = []

    def noted(owner: object, name: str, what: Callable[..., Any]) -> None:
        whole = getattr(owner, name)

        def note(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any function's
            done.append(what(*args, **kwargs))
            return whole(*args, **kwargs)

        monkeypatch.setattr(owner, name, note)

    noted(assembly, "attend", lambda: "attend")
    noted(assembly, "check", lambda *_: "check")
    noted(reader, "read", lambda *_, schema: ("read", schema))
    noted(assembly, "consult", lambda *_, asker: ("consult", asker))
    noted(assembly, "speak", lambda _, most, min_new_tokens: ("speak", most, min_new_tokens))
    noted(
        latency,
        "answer_alone",
        lambda *_, max_new_tokens, min_new_tokens: ("alone", max_new_tokens, min_new_tokens),
    )
    asked = AskedQuestion(
        identity="q", schema="fruit", question="A red fruit. Ripe?", features={}, label="1", asker="orchard"
    )
    turn = timed_turn(assembly, asked, assembled_first=True)
    own = ["attend", "check", ("read", "fruit"), ("consult", "orchard")]
    assert done == [
        *own,
        ("speak", 1, 1),
        ("alone", 1, 1),
        *own,
        ("speak", TIMED_TOKENS, TIMED_TOKENS),
        ("alone", TIMED_TOKENS, TIMED_TOKENS),
    ]
    assert all(seconds > 0 for seconds in (*turn.first, *turn.whole))
