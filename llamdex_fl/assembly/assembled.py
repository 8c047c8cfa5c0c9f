"""Answers questions: route, read, ask the experts, inject, and let the LLM speak with its full vocabulary.

A question that no schema answers goes to the base LLM untouched: the same prompt, the same call, the same logits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from llamdex_fl.assembly.base_alone import answer_alone
from llamdex_fl.assembly.seats import Seat
from llamdex_fl.assembly.speaking import Injection, Speaker, Spoken
from llamdex_fl.assembly.transformers_side import TransformersSide
from llamdex_fl.base_llm.base import BaseLLM
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.reader import MOST_TOKENS, Reader, Reading
from llamdex_fl.errors import InputError
from llamdex_fl.experts import Panel
from llamdex_fl.schema import MOST_TEXT_CHARACTERS, Schema, Value

__all__ = ["Answer", "AssembledLlamdex", "Seat"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the assembly says to a question.

    Attributes:
        text: what the LLM generated.
        schema: the schema that was routed to; None when the base LLM answered alone.
        probabilities: by answer word, read from the LLM's first token; empty without a route.
        expert_probabilities: by answer word, what the combined experts said; empty without a route.
        silos: whose experts spoke.
        facts: what was read in the question, None where it does not say.
        asked_again: whether the LLM was asked twice, because its first words stated no outcome.
        stated: the label whose sentence, in the words that fit the probability, the text begins with; None if none.
        whole: whether the text is that whole sentence.
        missing: descriptions of the facts that the question does not say.
        conflicts: what the question seems to say as well, by the name of a fact that it says twice and differently.
        lean: how far the LLM's probabilities were from the experts' before a correction (docs/adr/0003).
    """

    text: str
    schema: str | None
    probabilities: Mapping[str, float]
    expert_probabilities: Mapping[str, float]
    silos: tuple[str, ...]
    facts: Mapping[str, Value]
    asked_again: bool = False
    stated: str | None = None
    whole: bool = False
    missing: tuple[str, ...] = ()
    conflicts: Mapping[str, Value] = field(default_factory=dict)
    lean: float | None = None


class AssembledLlamdex(TransformersSide):
    """One base LLM with the experts of many silos behind shared connectors."""

    def __init__(self, base: BaseLLM, reader: Reader, injector: Injector) -> None:
        """Put the shared parts together; experts join with ``seat``."""
        self.base = base
        self.reader = reader
        self.injector = injector
        self.speaker = Speaker(base, injector)
        self._seats: dict[str, list[Seat]] = {}
        self._panels: dict[str, tuple[tuple[Seat, ...], Panel]] = {}

    @property
    def schemas(self) -> list[str]:
        """Names of the schemas that have at least one expert."""
        return sorted(self._seats)

    def schema(self, name: str) -> Schema:
        """A schema that the reader knows."""
        return self.reader.schemas[name]

    def seats(self, schema: str) -> tuple[Seat, ...]:
        """The experts of a schema."""
        return tuple(self._seats.get(schema, ()))

    def seat(self, schema: str, seat: Seat) -> None:
        """Add an expert, in the place of an earlier one of the same silo. Nothing is trained.

        Raises:
            InputError: the connectors were not trained for this schema.
            SchemaError: this LLM cannot tell the schema's outcomes apart by how their sentences begin.
        """
        if schema not in self.reader.schemas:
            raise InputError(
                f"The connectors do not know the schema {schema}.",
                expected="one of " + ", ".join(sorted(self.reader.schemas)),
                got=schema,
                next_step="train them with this schema: llamdex-provider connect",
            )
        self.speaker.offers(self.schema(schema))
        others = [own for own in self._seats.get(schema, []) if own.silo != seat.silo]
        self._seats[schema] = [*others, seat]
        self._panels.pop(schema, None)

    def unseat(self, schema: str, silo: str) -> None:
        """Take a silo's seat away; a schema without any seat is answered by the base LLM alone."""
        left = [own for own in self._seats.get(schema, []) if own.silo != silo]
        if left:
            self._seats[schema] = left
        else:
            self._seats.pop(schema, None)
        # So that a withdrawn expert's weights are not held on to.
        self._panels.pop(schema, None)

    def attend(self) -> None:
        """Called before questions are answered: an assembly that follows a registry brings its seats up to date."""

    def consult(self, schema: str, records: Sequence[Mapping[str, Value]], *, asker: str | None = None) -> Tensor:
        """(n, classes): what the experts of a schema together say of records.

        Args:
            schema: name of the schema.
            records: features as read, None where absent.
            asker: the silo that asks: its released prior is taken for the asker's own. None: the pooled prior.
        """
        seats = self.seats(schema)
        prior = next((seat.expert.prior for seat in seats if seat.silo == asker), None)
        return torch.from_numpy(self._panel(schema, seats).combined(records, prior)).float()

    def _panel(self, schema: str, seats: tuple[Seat, ...]) -> Panel:
        """The seats' experts, put together once; again after any of them has changed."""
        kept = self._panels.get(schema)
        if kept is None or kept[0] != seats:
            kept = seats, Panel.of([seat.expert for seat in seats], [seat.guarantee for seat in seats])
            self._panels[schema] = kept
        return kept[1]

    def read(self, questions: Sequence[str]) -> list[Reading]:
        """Route and read; a schema without an expert is no route."""
        readings = self.reader.read(questions)
        return [
            reading if reading.schema is None or reading.schema in self._seats else replace(reading, schema=None)
            for reading in readings
        ]

    def injections(
        self, questions: Sequence[str], *, askers: Sequence[str | None] | None = None
    ) -> list[Injection | None]:
        """What the experts say to each question, for the LLM to speak; None where no schema answers it.

        Raises:
            InputError: a question that a schema answers is longer than what the reader reads.
        """
        self.attend()
        asking = list(askers) if askers is not None else [None] * len(questions)
        injections: list[Injection | None] = []
        for question, asker, reading in zip(questions, asking, self._read_whole(questions), strict=True):
            if reading.schema is None:
                injections.append(None)
                continue
            chance_N = self.consult(reading.schema, [reading.features], asker=asker)[0]
            injections.append(Injection(question, self.schema(reading.schema), chance_N))
        return injections

    def answer(
        self, question: str, *, asker: str | None = None, max_new_tokens: int = 48, explain: bool = False
    ) -> Answer:
        """Answer one question in words.

        Args:
            question: as a person would write it.
            asker: the silo that asks: its released prior is taken for the asker's own.
            max_new_tokens: most tokens to generate.
            explain: whether the LLM goes on with a sentence on the facts that the question does not say.

        Raises:
            InputError: the question is empty, or longer than the LLM takes.
        """
        return self.answer_all([question], askers=[asker], max_new_tokens=max_new_tokens, explain=explain)[0]

    def answer_all(
        self,
        questions: Sequence[str],
        *,
        askers: Sequence[str | None] | None = None,
        max_new_tokens: int = 48,
        batch: int = 8,
        explain: bool = False,
    ) -> list[Answer]:
        """Answer many questions, ``batch`` at a time; routes may differ within a batch.

        ``explain`` makes the LLM name the facts that a question does not say.

        Raises:
            InputError: a question is empty, or longer than the LLM takes.
        """
        self.attend()
        for question in questions:
            self.check(question, max_new_tokens)
        asking = list(askers) if askers is not None else [None] * len(questions)
        answers: list[Answer] = []
        for start in range(0, len(questions), batch):
            part = slice(start, start + batch)
            answers += self._answer_batch(questions[part], asking[part], max_new_tokens, explain=explain)
        return answers

    def check(self, question: str, max_new_tokens: int = 48) -> None:
        """Refuse what the LLM cannot take.

        Raises:
            InputError: the question is empty, or longer than the LLM takes.
        """
        if not question.strip():
            raise InputError(
                "A question is empty.", expected="a text", got="nothing", next_step="write the question out"
            )
        most = self.base.context
        if most is None:
            return
        free = most - max_new_tokens - max((self.speaker.room(self.schema(name)) for name in self._seats), default=0)
        if (length := self.base.prompt_ids(question).shape[1]) > free:
            raise InputError(
                "A question is too long for the base LLM.",
                expected=f"at most {free} tokens, the chat template's included",
                got=f"{length} tokens",
                next_step="leave out what does not belong to the question",
            )

    def check_readable(self, question: str, schema: str) -> None:
        """Refuse a question that cannot be read to its end; one that no schema answers need not be.

        Args:
            question: as it was asked.
            schema: which schema answers it. A question about a text may be as long as the LLM takes.

        Raises:
            InputError: it is longer than what the reader reads.
        """
        if not self.schema(schema).is_text and self.reader.tokens(question) > MOST_TOKENS:
            raise self._too_long_to_read(question, schema)

    def _too_long_to_read(self, question: str, schema: str) -> InputError:
        if self.schema(schema).is_text:
            return InputError(
                "The text in a question is too long for the experts.",
                expected=f"at most {MOST_TEXT_CHARACTERS} characters",
                got="more",
                next_step="ask about a part of it",
            )
        # Facts beyond the end would count as not said, and the answer would not tell.
        return InputError(
            "A question is too long to be read to its end.",
            expected=f"at most {MOST_TOKENS} of the reader's tokens, about {MOST_TOKENS * 2 // 3} words",
            got=f"{self.reader.tokens(question)} tokens",
            next_step="leave out what does not belong to the question",
        )

    def _read_whole(self, questions: Sequence[str]) -> list[Reading]:
        readings = self.read(questions)
        for question, reading in zip(questions, readings, strict=True):
            if reading.schema is not None and reading.cut:
                raise self._too_long_to_read(question, reading.schema)
        return readings

    def _answer_batch(
        self, questions: Sequence[str], askers: Sequence[str | None], max_new_tokens: int, *, explain: bool
    ) -> list[Answer]:
        readings = self._read_whole(questions)
        answers: dict[int, Answer] = {}
        for row, reading in enumerate(readings):
            if reading.schema is None:
                # One at a time and unpadded, exactly as the base LLM would be asked without us.
                plain = answer_alone(self.base, [questions[row]], max_new_tokens=max_new_tokens)[0]
                answers[row] = Answer(
                    text=plain.text, schema=None, probabilities={}, expert_probabilities={}, silos=(), facts={}
                )
        asked = [
            (row, reading.schema, self.consult(reading.schema, [reading.features], asker=askers[row])[0])
            for row, reading in enumerate(readings)
            if reading.schema is not None
        ]
        missing = {row: self._missing(schema, readings[row].features) for row, schema, _ in asked}
        injections = [
            Injection(questions[row], self.schema(schema), chance_N, missing[row] if explain else ())
            for row, schema, chance_N in asked
        ]
        spoken = self.speaker.speak(injections, max_new_tokens)
        for (row, schema, probability_N), said in zip(asked, spoken, strict=True):
            words, labels = self.schema(schema).target.answers, self.schema(schema).target.labels
            answers[row] = Answer(
                text=said.text,
                schema=schema,
                probabilities=dict(zip(words, said.probabilities, strict=True)),
                expert_probabilities=dict(zip(words, probability_N.tolist(), strict=True)),
                silos=tuple(seat.silo for seat in self.seats(schema)),
                facts=readings[row].features,
                asked_again=said.asked_again,
                stated=labels[said.stated] if said.stated is not None else None,
                whole=said.whole,
                missing=missing[row],
                conflicts=readings[row].conflicts,
                lean=said.lean,
            )
        return [answers[row] for row in range(len(questions))]

    def _missing(self, schema: str, facts: Mapping[str, Value]) -> tuple[str, ...]:
        return tuple(feature.description for feature in self.schema(schema).features if facts.get(feature.name) is None)

    def speak(
        self, injections: Sequence[tuple[str, str, Tensor]], max_new_tokens: int = 48, *, min_new_tokens: int = 0
    ) -> list[Spoken]:
        """The LLM's words after each injection, and how likely it finds each outcome.

        Args:
            injections: (question, schema, probabilities (N,) of the outcomes).
            max_new_tokens: most tokens to generate.
            min_new_tokens: fewest tokens to generate; for timing.
        """
        return self.speaker.speak(
            [Injection(question, self.schema(name), chance_N) for question, name, chance_N in injections],
            max_new_tokens,
            min_new_tokens=min_new_tokens,
        )
