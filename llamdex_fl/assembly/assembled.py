"""Answers questions: route, read, ask the experts, inject, and let the LLM speak with its full vocabulary.

A question that no schema answers goes to the base LLM untouched: the same prompt, the same call, the same logits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llamdex_fl.base_llm.base import BaseLLM
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.injector.training import answer_words
from llamdex_fl.connectors.reader import Reader, Reading
from llamdex_fl.errors import InputError
from llamdex_fl.experts import Expert, combine
from llamdex_fl.privacy import Guarantee
from llamdex_fl.schema import Schema, Value

__all__ = ["Answer", "AssembledLlamdex", "Seat"]


@dataclass(frozen=True, slots=True)
class Seat:
    """An expert's place in the assembly."""

    silo: str
    expert: Expert
    guarantee: Guarantee


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
    """

    text: str
    schema: str | None
    probabilities: Mapping[str, float]
    expert_probabilities: Mapping[str, float]
    silos: tuple[str, ...]
    facts: Mapping[str, Value]


class AssembledLlamdex:
    """One base LLM with the experts of many silos behind shared connectors."""

    def __init__(self, base: BaseLLM, reader: Reader, injector: Injector) -> None:
        """Put the shared parts together; experts join with ``seat``."""
        self.base = base
        self.reader = reader
        self.injector = injector
        self._seats: dict[str, list[Seat]] = {}
        self._words: dict[str, Tensor] = {}

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
        """
        if schema not in self.reader.schemas:
            raise InputError(
                f"The connectors do not know the schema {schema}.",
                expected="one of " + ", ".join(sorted(self.reader.schemas)),
                got=schema,
                next_step="train them with this schema: llamdex-provider connect",
            )
        others = [own for own in self._seats.get(schema, []) if own.silo != seat.silo]
        self._seats[schema] = [*others, seat]
        if schema not in self._words:
            self._words[schema] = answer_words(self.base, self.schema(schema))

    def consult(self, schema: str, records: Sequence[Mapping[str, Value]], *, asker: str | None = None) -> Tensor:
        """(n, classes): what the experts of a schema together say of records.

        Args:
            schema: name of the schema.
            records: features as read, None where absent.
            asker: the silo that asks: its released prior is taken for the asker's own. None: the pooled prior.
        """
        seats = self.seats(schema)
        prior = next((seat.expert.prior for seat in seats if seat.silo == asker), None)
        experts, guarantees = [seat.expert for seat in seats], [seat.guarantee for seat in seats]
        return torch.from_numpy(combine(experts, guarantees, records, prior)).float()

    def read(self, questions: Sequence[str]) -> list[Reading]:
        """Route and read; a schema without an expert is no route."""
        readings = self.reader.read(questions)
        return [
            reading
            if reading.schema is None or reading.schema in self._seats
            else Reading(None, reading.route_probability, reading.features, reading.confidence)
            for reading in readings
        ]

    def answer(self, question: str, *, asker: str | None = None, max_new_tokens: int = 48) -> Answer:
        """Answer one question in words.

        Raises:
            InputError: the question is empty.
        """
        return self.answer_all([question], askers=[asker], max_new_tokens=max_new_tokens)[0]

    def answer_all(
        self,
        questions: Sequence[str],
        *,
        askers: Sequence[str | None] | None = None,
        max_new_tokens: int = 48,
        batch: int = 8,
    ) -> list[Answer]:
        """Answer many questions, ``batch`` at a time; routes may differ within a batch.

        Raises:
            InputError: a question is empty.
        """
        if any(not question.strip() for question in questions):
            raise InputError(
                "A question is empty.", expected="a text", got="nothing", next_step="write the question out"
            )
        asking = list(askers) if askers is not None else [None] * len(questions)
        answers: list[Answer] = []
        for start in range(0, len(questions), batch):
            part = slice(start, start + batch)
            answers += self._answer_batch(questions[part], asking[part], max_new_tokens)
        return answers

    def _answer_batch(
        self, questions: Sequence[str], askers: Sequence[str | None], max_new_tokens: int
    ) -> list[Answer]:
        readings = self.read(questions)
        answers: dict[int, Answer] = {}
        for row, reading in enumerate(readings):
            if reading.schema is None:
                # One at a time and unpadded, exactly as the base LLM would be asked without us.
                text = self.base_answers([questions[row]], max_new_tokens=max_new_tokens)[0]
                answers[row] = Answer(
                    text=text, schema=None, probabilities={}, expert_probabilities={}, silos=(), facts={}
                )
        asked = [
            (row, reading.schema, self.consult(reading.schema, [reading.features], asker=askers[row])[0])
            for row, reading in enumerate(readings)
            if reading.schema is not None
        ]
        spoken = self.speak([(questions[row], schema, chance) for row, schema, chance in asked], max_new_tokens)
        for (row, schema, probability_N), (text, said) in zip(asked, spoken, strict=True):
            words = self.schema(schema).target.answers
            answers[row] = Answer(
                text=text,
                schema=schema,
                probabilities=dict(zip(words, said, strict=True)),
                expert_probabilities=dict(zip(words, probability_N.tolist(), strict=True)),
                silos=tuple(seat.silo for seat in self.seats(schema)),
                facts=readings[row].features,
            )
        return [answers[row] for row in range(len(questions))]

    @torch.inference_mode()
    def base_answers(self, questions: Sequence[str], *, max_new_tokens: int = 48, min_new_tokens: int = 0) -> list[str]:
        """What the base LLM says to each question when nothing is injected."""
        prompts = [self.base.prompt_ids(question)[0] for question in questions]
        ids_BT, mask_BT = _left_padded(prompts, int(self.base.tokenizer.eos_token_id))
        output_BT = self.base.model.generate(
            ids_BT,
            attention_mask=mask_BT,
            max_new_tokens=max_new_tokens,
            min_new_tokens=min_new_tokens,
            do_sample=False,
        )
        return self._texts(output_BT[:, ids_BT.shape[1] :])

    @torch.inference_mode()
    def speak(
        self, injections: Sequence[tuple[str, str, Tensor]], max_new_tokens: int = 48, *, min_new_tokens: int = 0
    ) -> list[tuple[str, list[float]]]:
        """The LLM's words after each injection, and the chance that it gives to each answer.

        The chance is read from the full-vocabulary distribution of the first token: each answer's share among the
        answers' first tokens.

        Args:
            injections: (question, schema, probabilities (N,) of the classes).
            max_new_tokens: most tokens to generate.
            min_new_tokens: fewest tokens to generate; for timing.
        """
        if not injections:
            return []
        inputs_BLD, mask_BL = _left_padded([self.injected(*injection) for injection in injections], 0.0)
        output = self.base.model.generate(
            inputs_embeds=inputs_BLD,
            attention_mask=mask_BL,
            max_new_tokens=max_new_tokens,
            min_new_tokens=min_new_tokens,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        first_BV = torch.softmax(output.logits[0].float(), dim=-1)
        spoken = []
        for row, (text, (_, schema, _)) in enumerate(zip(self._texts(output.sequences), injections, strict=True)):
            said = first_BV[row, [self.base.answer_ids(s)[0] for s in self.schema(schema).target.sentences]]
            spoken.append((text, (said / said.sum()).tolist()))
        return spoken

    def injected(self, question: str, schema: str, probability_N: Tensor) -> Tensor:
        """(L, D): the prompt's embeddings with the injected tokens at the end of the user's words."""
        prompt = self.base.prompt(question)
        embed = self.base.model.get_input_embeddings()
        tokens_KD = self.injector(probability_N[None].to(prompt.before_T.device), self._words[schema])[0]
        before_TD, after_TD = embed(prompt.before_T), embed(prompt.after_T)
        return torch.cat([before_TD, tokens_KD.to(before_TD.dtype), after_TD])

    def _texts(self, ids_BT: Tensor) -> list[str]:
        texts: list[str] = self.base.tokenizer.batch_decode(ids_BT, skip_special_tokens=True)
        return [text.strip() for text in texts]


def _left_padded(rows: Sequence[Tensor], filler: float) -> tuple[Tensor, Tensor]:
    """Rows of different length side by side, padded on the left, and the mask (B, L) of what is real."""
    longest = max(len(row) for row in rows)
    padded = rows[0].new_full((len(rows), longest, *rows[0].shape[1:]), filler)
    mask_BL = torch.zeros(len(rows), longest, dtype=torch.long, device=rows[0].device)
    for index, row in enumerate(rows):
        padded[index, longest - len(row) :] = row
        mask_BL[index, longest - len(row) :] = 1
    return padded, mask_BL
