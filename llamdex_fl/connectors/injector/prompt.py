"""The prompt in which injected tokens stand, and the keys and values in it that are the same for every question.

    opening | a sentence an outcome, each in its slot | question | injected tokens | header of the assistant's turn

The sentences stand before the question, so that nothing in them depends on it, and each attends to the opening alone
and not to the other sentences: so keys and values of a sentence are computed once for each of its wordings, and any
choice of outcomes and wordings is put together by laying them side by side. A slot is as long as its longest wording,
so positions do not depend on the choice either; where a wording is shorter, or an outcome does not stand, positions
are left out, which position encodings take as distance.

Shape suffixes: P tokens of the opening, A of the header, T of a sentence, H heads, W width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from transformers import DynamicCache

from llamdex_fl.base_llm.base import BaseLLM
from llamdex_fl.connectors.injector.sentences import worded_sentences
from llamdex_fl.errors import SchemaError
from llamdex_fl.schema import Target

__all__ = ["Frame", "Layers", "Offers", "joined", "standing"]

#: Outcomes below this probability do not stand in the prompt; the two likeliest always do.
_UNLIKELY = 0.01
_LEAD = "Answer with one of these sentences, word for word:\n"
#: Keys and values (H, T, W) by layer.
Layers = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class Offers:
    """What the LLM may say, as it stands in a prompt.

    Attributes:
        sentences: by outcome, then by wording.
        ids: their tokens.
        starts: the position of each outcome's slot.
        end: the position after the slots, where the question begins.
    """

    sentences: tuple[tuple[str, ...], ...]
    ids: tuple[tuple[tuple[int, ...], ...], ...]
    starts: tuple[int, ...]
    end: int

    @property
    def first(self) -> list[int]:
        """The token with which each outcome's sentence begins."""
        return [wordings[0][0] for wordings in self.ids]


class Frame:
    """What all prompts of a base LLM have in common: their opening and the header after the injected tokens."""

    def __init__(self, base: BaseLLM) -> None:
        """Split the LLM's chat template around the user's words."""
        self.base = base
        around = base.prompt("")
        lead = torch.tensor(base.answer_ids(_LEAD), device=base.model.device)
        self.opening_P = torch.cat([around.before_T, lead])
        self.after_A = around.after_T

    def offers(self, sentences: Sequence[Sequence[str]]) -> Offers:
        """Sentences of outcomes, by outcome and wording, each with its slot.

        Raises:
            SchemaError: two outcomes' sentences begin alike, so that the first token cannot tell them apart.
        """
        ids = tuple(tuple(tuple(self.base.answer_ids(own)) for own in wordings) for wordings in sentences)
        first = [{own[0] for own in wordings} for wordings in ids]
        if any(len(own) > 1 for own in first) or len(set.union(*first)) < len(first):
            raise SchemaError(
                "Outcomes cannot be told apart by the first token of their sentences.",
                expected="sentences that begin with a different word each, for the base LLM's tokenizer too",
                got=", ".join(repr(wordings[0]) for wordings in sentences),
                next_step='give the schema\'s target "sentences" that begin differently',
            )
        starts, place = [], len(self.opening_P)
        for wordings in ids:
            starts.append(place)
            place += 1 + max(map(len, wordings))
        return Offers(tuple(map(tuple, sentences)), ids, tuple(starts), place)

    def target_offers(self, target: Target) -> Offers:
        """The outcomes of a schema.

        Raises:
            SchemaError: two outcomes' sentences begin alike.
        """
        return self.offers(worded_sentences(target))

    def question_ids(self, question: str) -> Tensor:
        """The question's tokens, between blank line and injected tokens."""
        ids = self.base.answer_ids(f"\n{question.strip()}\n")
        return torch.tensor(ids, device=self.base.model.device)

    @cached_property
    @torch.no_grad()
    def opening(self) -> Layers:
        """Keys and values of the opening."""
        cache = self.base.model(self.opening_P[None], use_cache=True, logits_to_keep=1).past_key_values
        return tuple((layer.keys[0].clone(), layer.values[0].clone()) for layer in cache.layers)

    @torch.no_grad()
    def spans(self, offers: Offers, wanted: Sequence[tuple[int, int]]) -> list[Layers]:
        """Keys and values of (outcome, wording), each after the opening and in its slot, with a line's end."""
        line = self.base.answer_ids("\n")
        rows = [[*offers.ids[outcome][wording], *line] for outcome, wording in wanted]
        longest, shared = max(map(len, rows)), len(self.opening_P)
        device = self.base.model.device
        # Padded on the right: attention is causal, so what stands there changes nothing before it.
        ids_BT = torch.tensor([row + line[:1] * (longest - len(row)) for row in rows], device=device)
        starts_B1 = torch.tensor([[offers.starts[outcome]] for outcome, _ in wanted], device=device)
        cache = joined([[self.opening]] * len(rows))[0]
        cache = self.base.model(
            ids_BT,
            past_key_values=cache,
            position_ids=starts_B1 + torch.arange(longest, device=device),
            use_cache=True,
            logits_to_keep=1,
        ).past_key_values
        return [
            tuple(
                (
                    layer.keys[row, :, shared : shared + len(ids)].clone(),
                    layer.values[row, :, shared : shared + len(ids)].clone(),
                )
                for layer in cache.layers
            )
            for row, ids in enumerate(rows)
        ]


def standing(chances: Sequence[float]) -> list[int]:
    """Which outcomes stand in the prompt: the two likeliest, and all that are not unlikely; in the schema's order."""
    likeliest = sorted(range(len(chances)), key=lambda place: -chances[place])[:2]
    return [place for place, chance in enumerate(chances) if chance >= _UNLIKELY or place in likeliest]


def joined(rows: Sequence[Sequence[Layers]]) -> tuple[DynamicCache, Tensor]:
    """A cache of rows, each the spans of keys and values laid side by side and padded on the left; and its mask."""
    lengths = [sum(span[0][0].shape[1] for span in row) for row in rows]
    longest = max(lengths)
    cache = DynamicCache()
    for layer in range(len(rows[0][0])):
        keys, values = (
            torch.stack(
                [
                    torch.nn.functional.pad(
                        torch.cat([span[layer][which] for span in row], dim=1), (0, 0, longest - length, 0)
                    )
                    for row, length in zip(rows, lengths, strict=True)
                ]
            )
            for which in (0, 1)
        )
        cache.update(keys, values, layer)
    mask_BT = torch.tensor([[0] * (longest - length) + [1] * length for length in lengths], device=keys.device)
    return cache, mask_BT
