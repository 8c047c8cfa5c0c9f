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
        if not question.strip():
            raise InputError(
                "The question is empty.", expected="a text", got="nothing", next_step="write the question out"
            )
        reading = self.read([question])[0]
        if reading.schema is None:
            return Answer(
                text=self.base_answer(question, max_new_tokens=max_new_tokens),
                schema=None,
                probabilities={},
                expert_probabilities={},
                silos=(),
                facts={},
            )
        probability_BN = self.consult(reading.schema, [reading.features], asker=asker)
        text, said = self.speak(question, reading.schema, probability_BN, max_new_tokens=max_new_tokens)
        answers = self.schema(reading.schema).target.answers
        return Answer(
            text=text,
            schema=reading.schema,
            probabilities=dict(zip(answers, said, strict=True)),
            expert_probabilities=dict(zip(answers, probability_BN[0].tolist(), strict=True)),
            silos=tuple(seat.silo for seat in self.seats(reading.schema)),
            facts=reading.features,
        )

    @torch.inference_mode()
    def base_answer(self, question: str, *, max_new_tokens: int = 48, min_new_tokens: int = 0) -> str:
        """What the base LLM says when nothing is injected."""
        ids_BT = self.base.prompt_ids(question)
        output = self.base.model.generate(
            ids_BT,
            attention_mask=torch.ones_like(ids_BT),
            max_new_tokens=max_new_tokens,
            min_new_tokens=min_new_tokens,
            do_sample=False,
        )
        return self._text(output[0, ids_BT.shape[1] :])

    @torch.inference_mode()
    def speak(
        self,
        question: str,
        schema: str,
        probability_BN: Tensor,
        *,
        max_new_tokens: int = 48,
        min_new_tokens: int = 0,
    ) -> tuple[str, list[float]]:
        """The LLM's words after an injection (B = 1), and the chance that it gives to each answer.

        The chance is read from the full-vocabulary distribution of the first token: each answer's share among the
        answers' first tokens.
        """
        inputs_BLD = self.injected(question, schema, probability_BN)
        output = self.base.model.generate(
            inputs_embeds=inputs_BLD,
            attention_mask=torch.ones(inputs_BLD.shape[:2], dtype=torch.long, device=inputs_BLD.device),
            max_new_tokens=max_new_tokens,
            min_new_tokens=min_new_tokens,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        first = [self.base.answer_ids(sentence)[0] for sentence in self.schema(schema).target.sentences]
        said = torch.softmax(output.logits[0][0].float(), dim=-1)[first]
        return self._text(output.sequences[0]), (said / said.sum()).tolist()

    def injected(self, question: str, schema: str, probability_BN: Tensor) -> Tensor:
        """(1, L, D): the prompt's embeddings with the injected tokens at the end of the user's words."""
        prompt = self.base.prompt(question)
        embed = self.base.model.get_input_embeddings()
        tokens_BKD = self.injector(probability_BN.to(prompt.before_T.device), self._words[schema])
        before_BTD, after_BTD = embed(prompt.before_T)[None], embed(prompt.after_T)[None]
        return torch.cat([before_BTD, tokens_BKD.to(before_BTD.dtype), after_BTD], dim=1)

    def _text(self, ids: Tensor) -> str:
        text: str = self.base.tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip()
