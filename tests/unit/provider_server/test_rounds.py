"""Who is asked what, when again, and when a round ends."""

import dataclasses

import pytest

from llamdex_fl.errors import ConfigError
from llamdex_fl.release import Offer
from llamdex_fl.rounds import Answer
from provider_server.rounds import Fault, Question, Round, RoundSpec, RoundState, Send

OFFER = Offer(
    provider="prov-1",
    purpose="answer-questions",
    schema_digest="a" * 64,
    architecture="thermometer_linear/v1",
    base_model_digest="b" * 64,
    epsilon=1.0,
    delta=1e-5,
    challenge="c" * 64,
)
FACTS = {"receipt_id": "0f" * 16, "artefact_digest": "d" * 64, "guarantee": "{}"}


def _round(*silos: str, **settings: float) -> Round:
    spec = RoundSpec(offer=OFFER, silos=silos, **settings)  # type: ignore[arg-type]  # counts are whole numbers
    return Round(spec, 0.0)


def _offer(silo: str) -> Send:
    return Send(silo=silo, question=Question.OFFER)


def _train(silo: str) -> Send:
    return Send(silo=silo, question=Question.TRAIN)


def _accept(held: Round, *silos: str) -> None:
    for silo in silos:
        held.sent(silo)
        held.answered(silo, Answer.ACCEPTED, 1.0)


def test_two_silos_are_asked_then_trained_then_done():
    held = _round("a", "b")
    assert held.due(["a"], 0.0) == [_offer("a")]
    held.sent("a")
    assert held.due(["a", "b"], 0.1) == [_offer("b")]
    held.sent("b")
    held.answered("a", Answer.ACCEPTED, 1.0)
    assert held.due(["a", "b"], 1.0) == []
    held.answered("b", Answer.ACCEPTED, 2.0)
    assert held.due(["a", "b"], 2.0) == [_train("a"), _train("b")]
    for silo in "ab":
        held.sent(silo)
        held.answered(silo, Answer.DONE, 5.0, FACTS)
    assert held.state is RoundState.COMPLETED
    assert held.silos["a"].facts == FACTS


def test_a_refusal_does_not_stop_the_others():
    held = _round("a", "b")
    _accept(held, "a")
    held.sent("b")
    held.answered("b", Answer.POLICY_REFUSED, 1.0)
    assert held.due(["a", "b"], 2.0) == [_train("a")]
    held.sent("a")
    held.answered("a", Answer.BUDGET_SPENT, 3.0)
    assert held.finished
    assert [silo.outcome for silo in held.silos.values()] == [Answer.BUDGET_SPENT, Answer.POLICY_REFUSED]


def test_under_the_quorum_nobody_trains():
    held = _round("a", "b", quorum=2)
    _accept(held, "a")
    held.sent("b")
    held.answered("b", Answer.POLICY_REFUSED, 1.0)
    assert held.due(["a", "b"], 2.0) == []
    assert held.state is RoundState.ABANDONED
    assert held.silos["a"].outcome is Fault.NOT_ASKED


def test_a_silo_that_never_comes_is_left_behind():
    held = _round("a", "b", online_timeout_s=10)
    _accept(held, "a")
    assert held.due(["a"], 9.9) == []
    assert held.due(["a"], 10.0) == [_train("a")]
    assert held.silos["b"].outcome is Fault.SILO_OFFLINE


@pytest.mark.parametrize("passing", [Answer.PROVIDER_UNREACHABLE, Answer.BUSY, Fault.SILO_LOST, Fault.APP_FAILED])
def test_a_passing_fault_is_asked_again_later_and_not_for_ever(passing: Answer | Fault):
    held = _round("a", attempts=3)
    _accept(held, "a")
    now = 1.0
    for _ in range(2):
        assert held.due(["a"], now) == [_train("a")]
        held.sent("a")
        held.answered("a", passing, now)
        assert held.due(["a"], now + 0.1) == []
        now += 31
    assert held.due([], now) == []
    assert held.due(["a"], now) == [_train("a")]
    held.sent("a")
    held.answered("a", passing, now)
    assert held.finished
    assert held.silos["a"].outcome is passing


def test_the_round_ends_in_time_and_says_who_did_not_answer():
    held = _round("a", "b", answer_timeout_s=100)
    _accept(held, "a", "b")
    held.due(["a", "b"], 2.0)
    held.sent("a")
    held.due([], 100.0)
    assert held.finished
    assert held.silos["a"].outcome is Fault.NO_ANSWER
    assert held.silos["b"].outcome is Fault.SILO_OFFLINE
    held.answered("a", Answer.DONE, 101.0, FACTS)
    assert held.silos["a"].outcome is Fault.NO_ANSWER


def test_an_answer_to_another_question_is_malformed():
    held = _round("a")
    held.sent("a")
    held.answered("a", Answer.DONE, 1.0, FACTS)
    assert held.silos["a"].outcome is Fault.MALFORMED_REPLY
    assert held.silos["a"].facts == {}


@pytest.mark.parametrize("change", [{"silos": ()}, {"silos": ("a", "a")}, {"quorum": 0}, {"quorum": 2}])
def test_a_round_that_cannot_be_held_is_refused(change: dict[str, object]):
    with pytest.raises(ConfigError):
        dataclasses.replace(RoundSpec(offer=OFFER, silos=("a",)), **change)  # type: ignore[arg-type]
