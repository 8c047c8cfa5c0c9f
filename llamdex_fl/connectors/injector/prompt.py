"""The prompt in which injected tokens stand, and the keys and values in it that are the same for every question.

    opening | question, the outcomes that are marked, a sentence a line | injected tokens | header

The outcomes stand in an order that says nothing of them, and all in the words that fit the likeliest one's
probability: which outcome the experts hold likely is told by the injected tokens alone. Words that differed from
sentence to sentence would have to be told apart in the middle of copying one.

Shape suffixes: P tokens of the opening, A of the header, T of what follows the opening, H heads, W width of a head.
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
        self.opening_P = around.before_T
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

    def question_ids(self, question: str, sentences: Sequence[str]) -> Tensor:
        """The tokens between the opening and the injected ones: the question, and the outcomes' sentences."""
        ids = self.base.answer_ids("\n".join([question.strip(), "", *sentences, ""]))
        return torch.tensor(ids, device=self.base.model.device)

    @cached_property
    @torch.no_grad()
    def opening(self) -> Layers:
        """Keys and values of the opening."""
        cache = self.base.model(self.opening_P[None], use_cache=True, logits_to_keep=1).past_key_values
        return tuple((layer.keys[0].clone(), layer.values[0].clone()) for layer in cache.layers)

    @torch.no_grad()
    def block(self, ids_T: Tensor) -> Layers:
        """Keys and values of tokens after the opening."""
        shared = len(self.opening_P)
        cache = self.base.model(
            ids_T[None], past_key_values=joined([[self.opening]])[0], use_cache=True, logits_to_keep=1
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
        keys, values = (_laid_out(rows, lengths, layer, which) for which in (0, 1))
        cache.update(keys, values, layer)
    mask_BT = torch.tensor([[0] * (longest - length) + [1] * length for length in lengths], device=keys.device)
    return cache, mask_BT


def _laid_out(rows: Sequence[Sequence[Layers]], lengths: Sequence[int], layer: int, which: int) -> Tensor:
    """Keys (which = 0) or values of one layer, (B, H, T, W); copied no more often than needed."""
    longest = max(lengths)
    laid = []
    for row, length in zip(rows, lengths, strict=True):
        own = row[0][layer][which] if len(row) == 1 else torch.cat([span[layer][which] for span in row], dim=1)
        laid.append(own if length == longest else torch.nn.functional.pad(own, (0, 0, longest - length, 0)))
    # A cache copies what it takes, so a view will do.
    return laid[0][None] if len(laid) == 1 else torch.stack(laid)
