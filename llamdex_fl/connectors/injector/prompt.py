"""The prompt in which injected tokens stand, and the keys and values in it that are the same for every question.

    opening, all outcomes, a sentence a line | question | injected tokens | header

What stands before the question is the same for every question of a schema, so its keys and values are kept. The
outcomes stand in an order that says nothing of them, and all in the words that fit the likeliest one's probability:
which outcome the experts hold likely is told by the injected tokens alone. Words that differed from sentence to
sentence would have to be told apart in the middle of copying one.

Shape suffixes: P tokens of the opening, A of the header, T of what follows the opening, H heads, W width of a head.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import torch
from torch import Tensor
from transformers import DynamicCache

from llamdex_fl.base_llm.base import BaseLLM
from llamdex_fl.connectors.injector.sentences import worded_sentences
from llamdex_fl.errors import SchemaError
from llamdex_fl.schema import Target

__all__ = ["Frame", "Layers", "Offers", "joined", "marked"]

#: Outcomes below this probability are not marked; the two likeliest always are.
_UNLIKELY = 0.02
#: Most tokens whose keys and values are kept, openings included; SmolLM2-135M has 46 kB of them a token.
_KEPT_TOKENS = 1024
_LEAD = "Answer with one of these sentences, word for word:\n"
_WORD = re.compile(r"[A-Z][a-z]{2,9}")
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
        self.lead_P = torch.tensor(base.answer_ids(_LEAD), device=base.model.device)
        self.opening_P = torch.cat([around.before_T, self.lead_P])
        self.after_A = around.after_T
        self._kept: OrderedDict[tuple[int, ...], Layers] = OrderedDict()
        # Answers may be streamed from several threads at once.
        self._keeping = Lock()

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Words that are one token each for the LLM where an answer begins, in alphabetical order."""
        ids = range(self.base.model.get_input_embeddings().num_embeddings)
        texts = {self.base.tokenizer.decode([own]).strip() for own in ids}
        plain = sorted(text for text in texts if _WORD.fullmatch(text))
        if not plain:
            return ()
        asked = self.base.tokenizer([f"{text} is" for text in plain], add_special_tokens=False)["input_ids"]
        whole = self.base.tokenizer(plain, add_special_tokens=False)["input_ids"]
        return tuple(
            text for text, own, alone in zip(plain, asked, whole, strict=True) if len(alone) == 1 and own[0] == alone[0]
        )

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

    def offered_ids(self, sentences: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """The tokens between the opening and the question: sentences, a line each."""
        return (*(token for sentence in sentences for token in (*sentence, *self._line)), *self._line)

    def question_ids(self, question: str) -> tuple[int, ...]:
        """The tokens between the sentences and the injected ones."""
        return tuple(self.base.answer_ids(f"{question.strip()}\n"))

    @cached_property
    def _line(self) -> list[int]:
        return self.base.answer_ids("\n")

    @cached_property
    @torch.no_grad()
    def opening(self) -> Layers:
        """Keys and values of the opening."""
        cache = self.base.model(self.opening_P[None], use_cache=True, logits_to_keep=1).past_key_values
        return tuple((layer.keys[0].clone(), layer.values[0].clone()) for layer in cache.layers)

    @torch.no_grad()
    def opened(self, ids: Sequence[int]) -> Layers:
        """Keys and values of the opening and of tokens after it."""
        ids_1T = torch.tensor([list(ids)], device=self.base.model.device)
        cache = self.base.model(
            ids_1T, past_key_values=joined([self.opening])[0], use_cache=True, logits_to_keep=1
        ).past_key_values
        return tuple((layer.keys[0].clone(), layer.values[0].clone()) for layer in cache.layers)

    def kept(self, offered: tuple[int, ...]) -> Layers:
        """Keys and values of the opening and of sentences, computed when first wanted; of many, the last used stay."""
        with self._keeping:
            layers = self._kept.pop(offered, None) or self.opened(offered)
            self._kept[offered] = layers
            while len(self._kept) > 1 and sum(own[0][0].shape[1] for own in self._kept.values()) > _KEPT_TOKENS:
                self._kept.popitem(last=False)
        return layers


def marked(chances: Sequence[float]) -> list[int]:
    """Which outcomes get a token: the two likeliest, and all that are not unlikely; in the schema's order."""
    likeliest = sorted(range(len(chances)), key=lambda place: -chances[place])[:2]
    return [place for place, chance in enumerate(chances) if chance >= _UNLIKELY or place in likeliest]


def joined(rows: Sequence[Layers]) -> tuple[DynamicCache, Tensor]:
    """A cache of rows, padded on the left; and its mask (B, T) of what is real."""
    lengths = [row[0][0].shape[1] for row in rows]
    longest = max(lengths)
    cache = DynamicCache()
    for layer in range(len(rows[0])):
        keys, values = (_laid_out([row[layer][which] for row in rows], longest) for which in (0, 1))
        cache.update(keys, values, layer)
    mask_BT = torch.tensor([[0] * (longest - length) + [1] * length for length in lengths], device=keys.device)
    return cache, mask_BT


def _laid_out(rows: Sequence[Tensor], longest: int) -> Tensor:
    """Keys or values (H, T, W) of one layer as (B, H, T, W), padded on the left where they are shorter."""
    laid = [
        own if own.shape[1] == longest else torch.nn.functional.pad(own, (0, 0, longest - own.shape[1], 0))
        for own in rows
    ]
    # A cache copies what it takes, so a view will do.
    return laid[0][None] if len(laid) == 1 else torch.stack(laid)
