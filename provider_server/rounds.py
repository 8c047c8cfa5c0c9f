"""One round of a consortium, decided without a network: who is asked what, when again, and what came of it.

Order: every wanted silo is asked whether it *would* (``offer``); when all have answered, or the time to come
online is over, and at least ``quorum`` accepted, those are told to ``train``. So nobody spends privacy on a round
that is known to fail; a budget that is too small, or a damaged file, is found when the silo trains, and what the others
have sent by then is kept. A silo that failed for a passing reason is asked the same question again, at most
``attempts`` times; asking again is safe, because a silo trains once a round.

The caller (``server_app``) brings the clock and the messages and does what ``due`` says.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from llamdex_fl.errors import ConfigError
from llamdex_fl.release import Offer
from llamdex_fl.rounds import TRANSIENT, Answer

__all__ = ["Fault", "Question", "Round", "RoundSpec", "RoundState", "Send", "SiloRound"]

#: Seconds before a question is asked again, doubled each time.
_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 30.0


class Question(StrEnum):
    """What a silo is asked; the values are Flower's message types."""

    OFFER = "query.offer"
    TRAIN = "train"


class Fault(StrEnum):
    """What the provider itself says of a silo that gave no usable answer."""

    SILO_OFFLINE = "SILO_OFFLINE"
    SILO_LOST = "SILO_LOST"
    NO_ANSWER = "NO_ANSWER"
    APP_FAILED = "APP_FAILED"
    MALFORMED_REPLY = "MALFORMED_REPLY"
    RECEIPT_UNKNOWN = "RECEIPT_UNKNOWN"
    NOT_ASKED = "NOT_ASKED"


_PASSING: frozenset[Answer | Fault] = frozenset({*TRANSIENT, Fault.SILO_LOST, Fault.APP_FAILED})


class RoundState(StrEnum):
    """Where the round is."""

    ASKING = "asking"
    TRAINING = "training"
    COMPLETED = "completed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundSpec:
    """What a provider wants of one round.

    Attributes:
        offer: the terms, with a fresh challenge.
        silos: ids of the wanted silos, as their SuperNodes are registered.
        quorum: so many silos must accept, or nobody trains.
        online_timeout_s: seconds to wait for a silo to come online.
        answer_timeout_s: seconds from the start to the end of the round.
        attempts: how often one question is asked, at most.
    """

    offer: Offer
    silos: tuple[str, ...]
    quorum: int = 1
    online_timeout_s: float = 120.0
    answer_timeout_s: float = 1800.0
    attempts: int = 4

    def __post_init__(self) -> None:
        """Refuse a round that could not be held."""
        if not self.silos or len(set(self.silos)) != len(self.silos) or not 1 <= self.quorum <= len(self.silos):
            raise ConfigError(
                "This round cannot be held.",
                expected="different silos, and a quorum between 1 and their number",
                got=f"{len(self.silos)} silos, {len(set(self.silos))} different, quorum {self.quorum}",
                next_step="mend the round's silos and quorum",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Send:
    """A question that is due now."""

    silo: str
    question: Question


@dataclass(kw_only=True, slots=True)
class SiloRound:
    """One silo in the round.

    Attributes:
        outcome: the last answer or fault; None while there is none.
        asked: how often the present question was asked.
    """

    silo: str
    question: Question = Question.OFFER
    waiting: bool = False
    settled: bool = False
    outcome: Answer | Fault | None = None
    asked: int = 0
    total_asked: int = 0
    not_before_s: float = 0.0
    seconds: float = 0.0
    facts: dict[str, str] = field(default_factory=dict)


class Round:
    """The state of one round. Times are seconds of one clock, from any origin."""

    def __init__(self, spec: RoundSpec, now_s: float) -> None:
        """A round that begins now."""
        self.spec = spec
        self.state = RoundState.ASKING
        self.silos = {silo: SiloRound(silo=silo) for silo in spec.silos}
        self._began_s = now_s

    @property
    def finished(self) -> bool:
        """Nothing is left to do."""
        return self.state in {RoundState.COMPLETED, RoundState.ABANDONED}

    def due(self, online: Iterable[str], now_s: float) -> list[Send]:
        """Move the round on, and say what to send now, to silos that are online."""
        self._give_up(now_s)
        self._move_on(now_s)
        if self.finished:
            return []
        here = set(online)
        return [
            Send(silo=silo.silo, question=silo.question)
            for silo in self.silos.values()
            if self._open(silo) and not silo.waiting and silo.silo in here and silo.not_before_s <= now_s
        ]

    def sent(self, silo: str) -> None:
        """The question is on its way."""
        entry = self.silos[silo]
        entry.waiting = True
        entry.asked += 1
        entry.total_asked += 1

    def answered(self, silo: str, outcome: Answer | Fault, now_s: float, facts: dict[str, str] | None = None) -> None:
        """An answer came, or what the provider makes of it."""
        entry = self.silos[silo]
        if entry.settled:
            return
        entry.waiting = False
        entry.outcome = outcome
        entry.seconds = now_s - self._began_s
        if outcome is Answer.ACCEPTED and entry.question is Question.OFFER:
            entry.question, entry.asked = Question.TRAIN, 0
        elif outcome is Answer.DONE and entry.question is Question.TRAIN:
            entry.facts, entry.settled = dict(facts or {}), True
        elif outcome in _PASSING and entry.asked < self.spec.attempts:
            pause_s = min(_FIRST_PAUSE_S * 2 ** (entry.asked - 1), _LONGEST_PAUSE_S)
            entry.not_before_s = now_s + pause_s
        else:
            if outcome in {Answer.ACCEPTED, Answer.DONE}:
                entry.outcome = Fault.MALFORMED_REPLY
            entry.settled = True
        self._move_on(now_s)

    def _open(self, silo: SiloRound) -> bool:
        wanted = Question.OFFER if self.state is RoundState.ASKING else Question.TRAIN
        return not silo.settled and silo.question is wanted

    def _give_up(self, now_s: float) -> None:
        age_s = now_s - self._began_s
        for silo in self.silos.values():
            if silo.settled:
                continue
            if age_s >= self.spec.answer_timeout_s:
                fault = Fault.NO_ANSWER if silo.waiting else Fault.SILO_OFFLINE
            elif silo.question is Question.OFFER and not silo.waiting and age_s >= self.spec.online_timeout_s:
                fault = Fault.SILO_OFFLINE
            else:
                continue
            # A passing answer of the silo says more than that its time is over.
            silo.outcome = silo.outcome if silo.outcome in TRANSIENT else fault
            silo.settled, silo.waiting, silo.seconds = True, False, age_s

    def _move_on(self, now_s: float) -> None:
        if self.state is RoundState.ASKING and all(
            silo.settled or silo.question is Question.TRAIN for silo in self.silos.values()
        ):
            willing = [silo for silo in self.silos.values() if not silo.settled]
            if len(willing) >= self.spec.quorum:
                self.state = RoundState.TRAINING
            else:
                self.state = RoundState.ABANDONED
                for silo in willing:
                    silo.settled, silo.outcome, silo.seconds = True, Fault.NOT_ASKED, now_s - self._began_s
        if self.state is RoundState.TRAINING and all(silo.settled for silo in self.silos.values()):
            self.state = RoundState.COMPLETED
