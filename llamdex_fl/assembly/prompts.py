"""Prompts side by side, run through the LLM once: what stands before the questions comes from kept keys and values.

    padding | opening, outcomes' sentences || padding | question | padding | injected tokens, header
              kept                                                    can be run again

So what follows the questions starts at one place in all rows and can be run again from there, with other tokens.

Shape suffixes: B questions, L tokens of a whole prompt, N outcomes of a schema, K of them that are marked,
D width, V vocabulary.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from llamdex_fl.base_llm.layers import beginning_at
from llamdex_fl.connectors.injector import (
    Frame,
    Injector,
    Offers,
    confidence_level,
    injected_tokens,
    injecting,
    joined,
    marked,
)

__all__ = ["Offered", "Prompts", "left_padded"]

_FLOOR = 1e-4


@dataclass(frozen=True, slots=True)
class Offered:
    """A question, and what the LLM may say to it.

    Attributes:
        question: as it was asked.
        offers: sentences of all outcomes.
        level: of confidence, in whose words outcomes stand in the prompt.
        outcomes: those whose sentences stand there.
        marked: those that have an injected token.
        wanted_K: log-probabilities of these among each other.
    """

    question: str
    offers: Offers
    level: int
    outcomes: tuple[int, ...]
    marked: tuple[int, ...]
    wanted_K: Tensor

    @classmethod
    def of(cls, question: str, offers: Offers, probability_N: Tensor) -> "Offered":
        """All outcomes, in words that fit the likeliest; those that are likely enough are marked."""
        own = marked(probability_N.tolist())
        wanted_K = torch.log_softmax(probability_N.float().clamp(min=_FLOOR).log()[own], -1)
        level = confidence_level(float(probability_N.max()))
        return cls(question, offers, level, tuple(range(len(offers.ids))), tuple(own), wanted_K)

    @classmethod
    def alone(cls, question: str, offers: Offers, outcome: int, level: int) -> "Offered":
        """One outcome, for certain."""
        return cls(question, offers, level, (outcome,), (outcome,), torch.zeros(1))

    def sentence(self, outcome: int) -> str:
        """How an outcome stands in the prompt."""
        return self.offers.sentences[outcome][self.level]

    @property
    def ids(self) -> list[tuple[int, ...]]:
        """The tokens of the sentences that stand in the prompt."""
        return [self.offers.ids[outcome][self.level] for outcome in self.outcomes]


class Prompts:
    """Questions (B) with what the LLM may say to each, as they go through it."""

    def __init__(self, frame: Frame, injector: Injector, rows: Sequence[Offered]) -> None:
        """Lay them side by side."""
        self._base = frame.base
        self._injector = injector
        embed = self._base.model.get_input_embeddings()
        self._after_AD = embed(frame.after_A)
        self._last = int(frame.after_A[-1])
        device = self._after_AD.device
        self.wanted = [row.wanted_K.to(device) for row in rows]
        self.marked = [list(row.marked) for row in rows]
        self._first = [torch.tensor(row.offers.first, device=device) for row in rows]
        self._words = [embed(own_N[places]) for own_N, places in zip(self._first, self.marked, strict=True)]
        self._cache, kept_mask_BT = joined([frame.kept(frame.offered_ids(row.ids)) for row in rows])
        questions = [torch.tensor(frame.question_ids(row.question), device=device) for row in rows]
        self._question_BTD, question_mask_BT = left_padded([embed(own_T) for own_T in questions], 0.0)
        # Their content does not matter here, only how many tokens stand after each question.
        self._begun = self._suffixes(self.wanted)
        after_BSD, after_mask_BS = left_padded(self._begun, 0.0)
        self._after = after_BSD.shape[1]
        self._mask_BL = torch.cat([kept_mask_BT, question_mask_BT, after_mask_BS], dim=1)
        self._positions_BL = (self._mask_BL.cumsum(-1) - 1).clamp(min=0)
        # What stood before the injector's layer in the tokens after the questions; None before the first pass.
        self._states: Tensor | None = None

    def _suffixes(self, given: Sequence[Tensor]) -> list[Tensor]:
        """The injected tokens and the header after each question, for log-probabilities that are injected."""
        return [
            torch.cat(
                [
                    injected_tokens(self._injector, given_K.exp(), words_KD, self._after_AD[0]).to(
                        self._after_AD.dtype
                    ),
                    self._after_AD,
                ]
            )
            for given_K, words_KD in zip(given, self._words, strict=True)
        ]

    @property
    def length(self) -> int:
        """Tokens of the longest prompt."""
        return self._mask_BL.shape[1]

    def first_token(self, given: Sequence[Tensor]) -> Tensor:
        """Logits (B, V) of the answers' first token, with log-probabilities injected.

        A second time, only what follows the questions is run, from the injector's layer on: before it nothing depends
        on what is injected.
        """
        inputs_BTD, _ = left_padded(self._begun if given is self.wanted else self._suffixes(given), 0.0)
        again: AbstractContextManager[None] = nullcontext()
        if self._states is None:
            inputs_BTD = torch.cat([self._question_BTD, inputs_BTD], dim=1)
        elif self._injector.layer > 0:
            again = beginning_at(self._base.model, self._injector.layer, self._states, self._cache, self._after)
        else:
            self._cache.crop(-self._after)
        end = inputs_BTD.shape[1] - len(self._after_AD)
        seen: list[Tensor] = []
        with again, injecting(self._base.model, self._injector, [own_K.exp() for own_K in given], end, seen=seen):
            logits_BTV: Tensor = self._base.model(
                inputs_embeds=inputs_BTD,
                attention_mask=self._mask_BL,
                position_ids=self._positions_BL[:, -inputs_BTD.shape[1] :],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits
        if self._states is None:
            self._states = (seen or [inputs_BTD])[0][:, -self._after :]
        return logits_BTV[:, -1]

    def going_on(self, first_B: Tensor) -> dict[str, Tensor | DynamicCache]:
        """Arguments of ``generate`` to go on after the first token; the prompts' own tokens count as padding there."""
        rows, length = self._mask_BL.shape
        filler = self._base.tokenizer.pad_token_id
        ids_BL = torch.full((rows, length), self._base.tokenizer.eos_token_id if filler is None else filler)
        one_B1 = self._mask_BL.new_ones(rows, 1)
        return {
            "input_ids": torch.cat([ids_BL.to(first_B.device), first_B[:, None]], dim=1),
            "attention_mask": torch.cat([self._mask_BL, one_B1], dim=1),
            "past_key_values": self._cache,
        }

    def beginning(self, asked_BT: Tensor, copies: int = 1) -> dict[str, Tensor | DynamicCache]:
        """Arguments of ``generate`` to write the first token too, after ``first_token`` was run once.

        Args:
            asked_BT: prompts as they were asked, padded on the left, whose tokens stand for those that were run: for
                processors that look at what was said before.
            copies: how often ``generate`` repeats each prompt.
        """
        rows, length = self._mask_BL.shape
        filler = self._base.tokenizer.pad_token_id
        ids_BL = asked_BT.new_full((rows, length), self._base.tokenizer.eos_token_id if filler is None else filler)
        shown = min(length, asked_BT.shape[1])
        ids_BL[:, -shown:] = asked_BT[:, -shown:]
        ids_BL[:, -1] = self._last
        # The last token of the header is run again: its logits are what ``generate`` draws the first token from.
        self._cache.crop(-1)
        if copies > 1:
            self._cache.batch_repeat_interleave(copies)
        return {
            "input_ids": ids_BL,
            "attention_mask": self._mask_BL,
            "past_key_values": self._cache,
        }

    def said_among_marked(self, logits_BV: Tensor) -> list[Tensor]:
        """The log-probability (K,) of each marked outcome's first token among theirs, by row."""
        return [
            torch.log_softmax(own_N[places], -1)
            for own_N, places in zip(self.said(logits_BV), self.marked, strict=True)
        ]

    def gaps(self, logits_BV: Tensor) -> list[float]:
        """The largest distance of these probabilities from the wanted ones, by row."""
        said = self.said_among_marked(logits_BV)
        return [float((aim_K.exp() - own_K.exp()).abs().max()) for aim_K, own_K in zip(self.wanted, said, strict=True)]

    def said(self, logits_BV: Tensor) -> list[Tensor]:
        """The log-probability (N,) of each outcome's first token, by row, among the full vocabulary."""
        spoken_BV = torch.log_softmax(logits_BV.float(), dim=-1)
        return [row_V[first_N] for row_V, first_N in zip(spoken_BV, self._first, strict=True)]


def left_padded(rows: Sequence[Tensor], filler: float) -> tuple[Tensor, Tensor]:
    """Rows of different length side by side, padded on the left, and the mask (B, L) of what is real."""
    longest = max(len(row) for row in rows)
    padded = rows[0].new_full((len(rows), longest, *rows[0].shape[1:]), filler)
    mask_BL = torch.zeros(len(rows), longest, dtype=torch.long, device=rows[0].device)
    for index, row in enumerate(rows):
        padded[index, longest - len(row) :] = row
        mask_BL[index, longest - len(row) :] = 1
    return padded, mask_BL
