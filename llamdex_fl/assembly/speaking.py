"""The LLM speaks what the experts found: it writes the sentence itself, and its own odds are the experts' odds.

Some questions lean the LLM towards an outcome whatever is injected. The lean is measured where it acts, in the LLM's
log-odds at the first token of its answer, and what is injected is corrected by it: a pass through the few tokens after
the question, whose keys and values are kept. The LLM's full vocabulary stays open, nothing is masked or restricted.

So it may also say what is no outcome, or one with the words of another. Then it is asked once more, and offered only
the outcome that it found likeliest; the odds stay those of the first time.

Shape suffixes: B questions, L tokens of a whole prompt, N outcomes, K injected tokens (as many as outcomes), D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from llamdex_fl.base_llm.base import BaseLLM
from llamdex_fl.connectors.injector import Injector, answer_words, injection_prompt
from llamdex_fl.schema import Schema

__all__ = ["Injection", "Speaker", "Spoken", "left_padded"]

_FLOOR = 1e-4
_STILL = 1e-6


@dataclass(frozen=True, slots=True)
class Injection:
    """A question, the schema that answers it, and the probability (N,) of each outcome as the experts find it."""

    question: str
    schema: Schema
    probability_N: Tensor


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the LLM said.

    Attributes:
        text: what it generated.
        probabilities: each outcome's share among the outcomes' first tokens, in the LLM's distribution over its full
            vocabulary at the first token.
        mass: what the outcomes' first tokens have together in that distribution.
        injected: the probabilities that were injected so that it said these.
        asked_again: whether the text is a second one, because the first did not state an outcome.
    """

    text: str
    probabilities: list[float]
    mass: float
    injected: list[float]
    asked_again: bool = False


class Speaker:
    """Lets a frozen LLM speak for experts through an injector.

    Attributes:
        corrections: most corrections of what is injected; each costs a pass through the tokens after the question.
        tolerance: the largest distance between the LLM's probabilities and the experts' that is left as it is.
    """

    def __init__(self, base: BaseLLM, injector: Injector, *, corrections: int = 2, tolerance: float = 0.01) -> None:
        """Join an LLM and its injector."""
        self.base = base
        self.injector = injector
        self.corrections = corrections
        self.tolerance = tolerance
        self._words: dict[str, Tensor] = {}
        self._opening: _Opening | None = None

    @torch.inference_mode()
    def speak(
        self, injections: Sequence[Injection], max_new_tokens: int = 48, *, min_new_tokens: int = 0
    ) -> list[Spoken]:
        """Answer questions together, greedily; they may be of different schemas."""
        if not injections:
            return []
        prompts = _Prompts(self, injections)
        given, cache = self._settled(prompts)
        lengths = {"max_new_tokens": max_new_tokens, "min_new_tokens": min_new_tokens}
        words, first_BV = self._generated(prompts, given, cache, lengths)
        said = [said_N.exp() for said_N in prompts.said(first_BV)]
        astray = [row for row, one in enumerate(injections) if not words[row].state_one_of(one.schema.target.sentences)]
        if astray:
            again = _Prompts(self, [injections[row] for row in astray], [[int(said[row].argmax())] for row in astray])
            for row, own in zip(astray, self._generated(again, again.wanted, again.opened(), lengths)[0], strict=True):
                words[row] = own
        return [
            Spoken(
                own.text, (said_N / said_N.sum()).tolist(), float(said_N.sum()), given_N.exp().tolist(), row in astray
            )
            for row, (own, said_N, given_N) in enumerate(zip(words, said, given, strict=True))
        ]

    def _generated(
        self, prompts: "_Prompts", given: Sequence[Tensor], cache: DynamicCache | None, lengths: Mapping[str, int]
    ) -> tuple[list["_Words"], Tensor]:
        """What the LLM writes with log-probabilities injected, and its logits (B, V) at the first token."""
        output = self.base.model.generate(
            inputs_embeds=prompts.embeddings(given),
            attention_mask=prompts.mask_BL,
            past_key_values=cache,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **lengths,
        )
        texts = self.base.tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
        ended = (output.sequences == self.base.tokenizer.eos_token_id).any(dim=-1).tolist()
        return [_Words(text.strip(), end) for text, end in zip(texts, ended, strict=True)], output.logits[0]

    def embeddings(self, injection: Injection, injected_N: Tensor) -> Tensor:
        """(L, D): the prompt with the tokens for ``injected_N``, as it goes into the LLM."""
        return _Prompts(self, [injection]).embeddings([injected_N.log()])[0]

    def opening(self) -> "_Opening":
        """The tokens with which every prompt begins, and their keys and values, computed once."""
        if self._opening is None:
            self._opening = _Opening.of(self.base)
        return self._opening

    def words(self, schema: Schema) -> Tensor:
        """(N, D): embeddings of a schema's answers."""
        if schema.name not in self._words:
            self._words[schema.name] = answer_words(self.base, schema.target)
        return self._words[schema.name]

    def _settled(self, prompts: "_Prompts") -> tuple[list[Tensor], DynamicCache | None]:
        """What to inject, as log-probabilities by row, and the keys and values that stand before it or include it.

        The last correction is not tried out here: the generation's own first pass is its trial.
        """
        given, cache = prompts.wanted, prompts.opened()
        before: list[tuple[Tensor, Tensor]] = []
        for _ in range(self.corrections):
            logits_BV, cache = prompts.first_token(given, cache)
            said = [torch.log_softmax(own_N, -1) for own_N in prompts.said(logits_BV)]
            gaps = [(aim_N.exp() - own_N.exp()).abs().max() for aim_N, own_N in zip(prompts.wanted, said, strict=True)]
            if max(gaps) <= self.tolerance:
                cache.crop(-1)
                return given, cache
            cache.crop(prompts.before - prompts.mask_BL.shape[1])
            now = list(zip(given, said, strict=True))
            slopes = [_slope(*pair) for pair in zip(before, now, strict=True)] if before else [1.0] * len(now)
            before = now
            # A row that is near enough stays as it is: what is said must not depend on what else is asked with it.
            given = [
                own_N if gap <= self.tolerance else torch.log_softmax(own_N + (aim_N - said_N) / slope, -1)
                for (own_N, said_N), aim_N, slope, gap in zip(now, prompts.wanted, slopes, gaps, strict=True)
            ]
        return given, cache


@dataclass(frozen=True, slots=True)
class _Words:
    """What the LLM wrote, and whether it came to its end or was cut off."""

    text: str
    ended: bool

    def state_one_of(self, sentences: Sequence[str]) -> bool:
        """Whether these words begin with one of the sentences, or begin one as far as they go."""
        return any(
            self.text.startswith(sentence) or (not self.ended and sentence.startswith(self.text))
            for sentence in sentences
        )


def _slope(before: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]) -> float:
    """How much the LLM's log-odds moved for a move of one in the injected: the secant between two passes."""
    given_N, said_N = ((later_N - earlier_N) for earlier_N, later_N in zip(before, now, strict=True))
    given_N, said_N = given_N - given_N.mean(), said_N - said_N.mean()
    moved = float(given_N @ given_N)
    # A wild slope is noise: a move too small to tell, or an LLM that hardly listens.
    return min(max(float(given_N @ said_N) / moved, 0.5), 4.0) if moved > _STILL else 1.0


@dataclass(frozen=True, slots=True)
class _Opening:
    """The tokens (P) with which a template begins every prompt, and their keys and values by layer (1, heads, P, d)."""

    ids_P: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]

    @classmethod
    def of(cls, base: BaseLLM) -> "_Opening":
        one, other = base.prompt("a").before_T.tolist(), base.prompt("b").before_T.tolist()
        same = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
        ids_P = torch.tensor(one[:same], dtype=torch.long, device=base.model.device)
        if not same:
            return cls(ids_P, ())
        cache = base.model(ids_P[None], use_cache=True, logits_to_keep=1).past_key_values
        return cls(ids_P, tuple((layer.keys, layer.values) for layer in cache.layers))

    def begins(self, ids_T: Tensor) -> bool:
        return torch.equal(ids_T[: len(self.ids_P)], self.ids_P)

    def cache(self, rows: int) -> DynamicCache:
        cache = DynamicCache()
        for index, (keys, values) in enumerate(self.layers):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), index)
        return cache


class _Prompts:
    """Prompts side by side: what opens them all, questions padded on the left, then tokens and header, padded too.

    So what follows the questions starts at one place in all rows, ``before``, and can be run again from there.
    """

    def __init__(
        self, speaker: Speaker, injections: Sequence[Injection], offered: Sequence[Sequence[int]] | None = None
    ) -> None:
        """Write the prompts; ``offered`` tells which outcomes stand in each, all of them if None."""
        self._speaker = speaker
        base = speaker.base
        offered = offered or [range(len(one.schema.target.sentences)) for one in injections]
        sentences = [
            [one.schema.target.sentences[place] for place in places]
            for one, places in zip(injections, offered, strict=True)
        ]
        halves = [injection_prompt(base, one.question, own) for one, own in zip(injections, sentences, strict=True)]
        device = halves[0].before_T.device
        embed = base.model.get_input_embeddings()
        self._words = [speaker.words(one.schema)[list(places)] for one, places in zip(injections, offered, strict=True)]
        self._after_AD = embed(halves[0].after_T)
        opening = speaker.opening()
        opened = all(opening.begins(half.before_T) for half in halves)
        self._opening = opening if opened and opening.layers else None
        shared = len(opening.ids_P) if self._opening else 0
        rest_BTD, rest_mask_BT = left_padded([embed(half.before_T[shared:]) for half in halves], 0.0)
        rows = len(halves)
        self._before_BTD = torch.cat([embed(opening.ids_P[:shared]).expand(rows, -1, -1), rest_BTD], dim=1)
        before_mask_BT = torch.cat([rest_mask_BT.new_ones(rows, shared), rest_mask_BT], dim=1)
        # Their content does not matter here, only how many tokens stand after each question.
        _, after_mask_BS = left_padded([torch.cat([words, self._after_AD]) for words in self._words], 0.0)
        self.before = self._before_BTD.shape[1]
        self.mask_BL = torch.cat([before_mask_BT, after_mask_BS], dim=1)
        self._positions_BL = (self.mask_BL.cumsum(-1) - 1).clamp(min=0)
        self._first = [
            torch.tensor([base.answer_ids(sentence)[0] for sentence in own], device=device) for own in sentences
        ]
        self.wanted = [
            torch.log_softmax(one.probability_N.to(device).float().clamp(min=_FLOOR).log()[list(places)], -1)
            for one, places in zip(injections, offered, strict=True)
        ]

    def embeddings(self, given: Sequence[Tensor]) -> Tensor:
        """(B, L, D): the whole prompts with log-probabilities injected."""
        tokens = [
            self._speaker.injector(given_N.exp()[None], words_ND)[0]
            for given_N, words_ND in zip(given, self._words, strict=True)
        ]
        after_BSD, _ = left_padded([torch.cat([own.to(self._after_AD.dtype), self._after_AD]) for own in tokens], 0.0)
        return torch.cat([self._before_BTD, after_BSD], dim=1)

    def opened(self) -> DynamicCache | None:
        """Keys and values of what opens the prompts; None if they have nothing in common."""
        return self._opening.cache(len(self._words)) if self._opening else None

    def first_token(self, given: Sequence[Tensor], cache: DynamicCache | None) -> tuple[Tensor, DynamicCache]:
        """Logits (B, V) of the answers' first token, and the keys and values of the whole prompts.

        What ``cache`` holds from the beginning of the prompts is not computed again.
        """
        start = int(cache.get_seq_length()) if cache is not None else 0
        output = self._speaker.base.model(
            inputs_embeds=self.embeddings(given)[:, start:],
            attention_mask=self.mask_BL,
            position_ids=self._positions_BL[:, start:],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1], output.past_key_values

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
