"""The prompt in which injected tokens stand, and the keys and values in it that are the same for every question.

    opening | the outcomes, a sentence a line | question, the likeliest outcome | injected tokens | header

The outcomes stand before the question, so nothing in them depends on it: their keys and values are computed once for
each level of confidence. All of them are said at the level of the likeliest outcome, for that is what the LLM will say;
words that differed from sentence to sentence would have to be told apart in the middle of copying one. The likeliest
outcome stands after the question once more: a small LLM copies what is near.

Shape suffixes: P tokens of the opening, A of the header, T of a block of sentences, H heads, W width of a head.
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

__all__ = ["Frame", "Layers", "Offers", "joined", "marked"]

#: Outcomes below this probability are not marked; the two likeliest always are.
_UNLIKELY = 0.01
_LEAD = "Possible answers:\n"
#: Keys and values (H, T, W) by layer.
Layers = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class Offers:
    """What the LLM may say: sentences by outcome, then by level of confidence, and their tokens."""

    sentences: tuple[tuple[str, ...], ...]
    ids: tuple[tuple[tuple[int, ...], ...], ...]

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
        """Sentences by outcome and level of confidence.

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
        return Offers(tuple(map(tuple, sentences)), ids)

    def target_offers(self, target: Target) -> Offers:
        """The outcomes of a schema.

        Raises:
            SchemaError: two outcomes' sentences begin alike.
        """
        return self.offers(worded_sentences(target))

    def question_ids(self, question: str, sentence: str) -> Tensor:
        """The tokens between the outcomes and the injected ones: the question, and the likeliest outcome's sentence."""
        ids = self.base.answer_ids(f"\n{question.strip()}\n\n{sentence}\n")
        return torch.tensor(ids, device=self.base.model.device)

    @cached_property
    @torch.no_grad()
    def opening(self) -> Layers:
        """Keys and values of the opening."""
        cache = self.base.model(self.opening_P[None], use_cache=True, logits_to_keep=1).past_key_values
        return tuple((layer.keys[0].clone(), layer.values[0].clone()) for layer in cache.layers)

    def block_ids(self, offers: Offers, outcomes: Sequence[int], level: int) -> tuple[int, ...]:
        """The tokens of some outcomes' sentences, a line each."""
        line = self.base.answer_ids("\n")
        return tuple(token for outcome in outcomes for token in (*offers.ids[outcome][level], *line))

    @torch.no_grad()
    def block(self, ids: Sequence[int]) -> Layers:
        """Keys and values of such tokens after the opening."""
        shared = len(self.opening_P)
        ids_1T = torch.tensor([list(ids)], device=self.base.model.device)
        cache = self.base.model(
            ids_1T, past_key_values=joined([[self.opening]])[0], use_cache=True, logits_to_keep=1
        ).past_key_values
        return tuple((layer.keys[0, :, shared:].clone(), layer.values[0, :, shared:].clone()) for layer in cache.layers)


def marked(chances: Sequence[float]) -> list[int]:
    """Which outcomes get a token: the two likeliest, and all that are not unlikely; in the schema's order."""
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
