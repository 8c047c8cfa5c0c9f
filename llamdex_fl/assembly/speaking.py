"""The LLM speaks what the experts found: it writes the sentence itself, and its own odds are the experts' odds.

Some questions lean the LLM towards an outcome whatever is injected. The injector learns to be heard above it, and the
first pass through a prompt shows what lean is left, in the LLM's log-odds at the first token of its answer. Where it is
too much, or another outcome than the experts' likeliest comes first, what is injected is corrected by it: a pass
through the few tokens after the question, whose keys and values are kept. Otherwise that first pass is the answer's
first step, and nothing is run that the LLM alone would not run. The LLM's full vocabulary stays open: nothing is
masked, restricted or set at the output.

So it may also say what is no outcome, or one with the words of another. Then it is asked once more, and offered only
the outcome that it found likeliest; the odds stay those of the first time.

Shape suffixes: B questions, N outcomes, K of them that are marked, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llamdex_fl.assembly.prompts import Offered, Prompts
from llamdex_fl.base_llm.base import BaseLLM
from llamdex_fl.connectors.injector import MIXTURES, Frame, Injector, Offers, confidence_level
from llamdex_fl.schema import Schema, Target

__all__ = ["Injection", "Speaker", "Spoken", "missing_sentence"]

_STILL = 1e-6
_MOST_NAMED = 6
#: Outcomes nearer to each other than this are as likely as each other.
_TIE = 1e-3
#: What another likeliest outcome counts for, as a distance: as much as is tolerated, so that it is not.
_TURNED = 0.05
_SPARE_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Injection:
    """A question, the schema that answers it, and the probability (N,) of each outcome as the experts find it.

    ``missing`` are descriptions of facts that the question does not say, if the LLM is to name them too.
    """

    question: str
    schema: Schema
    probability_N: Tensor
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the LLM said.

    Attributes:
        text: what it generated.
        probabilities: each outcome's share among the outcomes' first tokens, in the LLM's distribution over its full
            vocabulary at the first token.
        mass: what the outcomes' first tokens have together in that distribution.
        injected: the probabilities that were injected so that it said these; 0 for an outcome that had no token.
        asked_again: whether the text is a second one, because the first did not state an outcome.
        stated: the place of the outcome whose sentence it begins with, in the words in which it was offered, cut off or
            not; None if it states none.
        whole: whether the text is that sentence whole (with the sentence on missing facts, if one was asked for).
        corrections: how often what is injected was corrected.
        lean: the largest distance between the LLM's probabilities among the marked outcomes and the experts', before
            anything was corrected.
    """

    text: str
    probabilities: list[float]
    mass: float
    injected: list[float]
    asked_again: bool
    stated: int | None
    whole: bool
    corrections: int
    lean: float


class Speaker:
    """Lets a frozen LLM speak for experts through an injector.

    Attributes:
        corrections: most corrections of what is injected; each costs a pass through the tokens after the question.
        tolerance: the largest distance between the LLM's probabilities and the experts' that is not corrected, unless
            the LLM finds another outcome likeliest.
    """

    def __init__(
        self,
        base: BaseLLM,
        injector: Injector,
        *,
        corrections: int = 2,
        tolerance: float = _TURNED,
    ) -> None:
        """Join an LLM and its injector."""
        self.base = base
        self.injector = injector
        self.corrections = corrections
        self.tolerance = tolerance
        self._frame = Frame(base)
        self._offers: dict[Target, Offers] = {}
        self._rooms: dict[Schema, int] = {}

    @torch.inference_mode()
    def speak(
        self, injections: Sequence[Injection], max_new_tokens: int = 48, *, min_new_tokens: int = 0
    ) -> list[Spoken]:
        """Answer questions together, greedily; they may be of different schemas.

        Raises:
            SchemaError: a schema's outcomes cannot be told apart by the first token of their sentences.
        """
        if not injections:
            return []
        rows = [Offered.of(one.question, self.offers(one.schema), one.probability_N) for one in injections]
        prompts = self._prompts(rows)
        uncorrected_BV = prompts.first_token(prompts.wanted)
        given, first_BV, corrected = self._corrected(prompts, uncorrected_BV)
        leans = prompts.gaps(uncorrected_BV)
        said = [said_N.exp() for said_N in prompts.said(first_BV)]
        words = self._generated(prompts, first_BV, max_new_tokens, min_new_tokens)
        stated = [own.stated(row) for own, row in zip(words, rows, strict=True)]
        astray = [place for place, outcome in enumerate(stated) if outcome is None]
        if astray:
            likeliest = {place: int(said[place].argmax()) for place in astray}
            alone = [self._alone(injections[place], likeliest[place]) for place in astray]
            again = self._prompts(alone)
            second = self._generated(again, again.first_token(again.wanted), max_new_tokens, min_new_tokens)
            for place, own, row in zip(astray, second, alone, strict=True):
                words[place], rows[place], stated[place] = own, row, own.stated(row)
        texts = self._explained(injections, [own.text for own in words])
        return [
            Spoken(
                text=texts[place],
                probabilities=(said[place] / said[place].sum()).tolist(),
                mass=float(said[place].sum()),
                injected=_spread(given[place], prompts.marked[place], len(said[place])),
                asked_again=place in astray,
                stated=stated[place],
                whole=words[place].ended and words[place].text in map(rows[place].sentence, rows[place].outcomes),
                corrections=corrected[place],
                lean=leans[place],
            )
            for place in range(len(injections))
        ]

    @torch.no_grad()
    def begin(self, injections: Sequence[Injection]) -> Prompts:
        """Prompts with what is injected corrected: ``beginning`` of them lets transformers generate the answers.

        Raises:
            SchemaError: a schema's outcomes cannot be told apart by the first token of their sentences.
        """
        prompts = self._prompts(
            [Offered.of(one.question, self.offers(one.schema), one.probability_N) for one in injections]
        )
        self._corrected(prompts, prompts.first_token(prompts.wanted))
        return prompts

    def offers(self, schema: Schema) -> Offers:
        """The outcomes' sentences of a schema, as they stand in prompts.

        Raises:
            SchemaError: they cannot be told apart by their first tokens.
        """
        if schema.target not in self._offers:
            self._offers[schema.target] = self._frame.target_offers(schema.target)
        return self._offers[schema.target]

    def room(self, schema: Schema) -> int:
        """Tokens that a prompt has, at most, beside the question and what the LLM's chat template puts around it.

        Raises:
            SchemaError: see ``offers``.
        """
        if schema not in self._rooms:
            longest = sorted((feature.description for feature in schema.features), key=len)
            missing = self._frame.offers([[missing_sentence(longest[::-1])]])
            sentences = [*zip(*self.offers(schema).ids, strict=True), *zip(*missing.ids, strict=True)]
            said = max(len(self._frame.offered_ids(own)) for own in sentences)
            self._rooms[schema] = len(self._frame.lead_P) + said + len(schema.target.labels) + MIXTURES + _SPARE_TOKENS
        return self._rooms[schema]

    def _prompts(self, rows: Sequence[Offered]) -> Prompts:
        return Prompts(self._frame, self.injector, rows)

    def _alone(self, injection: Injection, outcome: int) -> Offered:
        level = confidence_level(float(injection.probability_N[outcome]))
        return Offered.alone(injection.question, self.offers(injection.schema), outcome, level)

    def _explained(self, injections: Sequence[Injection], texts: Sequence[str]) -> list[str]:
        """The texts, and after each what the LLM says of missing facts where it is to name them.

        It says it as it says an outcome: one sentence stands in the prompt. What it says otherwise is left out.
        """
        explained = list(texts)
        asking = [place for place, one in enumerate(injections) if one.missing]
        if asking:
            offers = [self._frame.offers([[missing_sentence(injections[place].missing)]]) for place in asking]
            rows = [
                Offered.alone(injections[place].question, own, 0, 0) for place, own in zip(asking, offers, strict=True)
            ]
            prompts = self._prompts(rows)
            most = max(len(own.ids[0][0]) for own in offers) + _SPARE_TOKENS
            second = self._generated(prompts, prompts.first_token(prompts.wanted), most, 0)
            for place, own, row in zip(asking, second, rows, strict=True):
                if own.text == row.sentence(0):
                    explained[place] = f"{explained[place]} {own.text}"
        return explained

    def _generated(self, prompts: Prompts, first_BV: Tensor, most: int, least: int) -> list["_Words"]:
        """What the LLM writes, greedily, from its logits (B, V) at the first token on."""
        end = self.base.tokenizer.eos_token_id
        if least > 0:
            first_BV = first_BV.index_fill(1, torch.tensor([end], device=first_BV.device), float("-inf"))
        first_B = first_BV.argmax(-1)
        ids_BT = first_B[:, None]
        if most > 1:
            arguments = prompts.going_on(first_B)
            before = arguments["attention_mask"].shape[1] - 1
            ids_BL = self.base.model.generate(
                **arguments, do_sample=False, max_new_tokens=most - 1, min_new_tokens=max(least - 1, 0)
            )
            ids_BT = ids_BL[:, before:]
        words = []
        for ids in ids_BT.tolist():
            ended = end in ids
            own = ids[: ids.index(end)] if ended else ids
            words.append(_Words(self.base.tokenizer.decode(own, skip_special_tokens=True).strip(), ended))
        return words

    def _corrected(self, prompts: Prompts, logits_BV: Tensor) -> tuple[list[Tensor], Tensor, list[int]]:
        """What to inject, as log-probabilities by row; the logits (B, V) that follow; how often each was corrected.

        ``logits_BV`` are those that follow what is wanted, injected as it is.
        """
        given = prompts.wanted
        gaps = _gaps(prompts, logits_BV)
        best = list(zip(gaps, given, strict=True))
        corrected = [0] * len(given)
        before: list[tuple[Tensor, Tensor]] = []
        for _ in range(self.corrections):
            said = prompts.said_among_marked(logits_BV)
            off = [gap > self.tolerance for gap in gaps]
            if not any(off):
                break
            now = list(zip(given, said, strict=True))
            slopes = [_slope(*pair) for pair in zip(before, now, strict=True)] if before else [1.0] * len(now)
            before = now
            # A row that is near enough stays as it is: what is said must not depend on what else is asked with it.
            given = [
                torch.log_softmax(own_K + (aim_K - said_K) / slope, -1) if far else own_K
                for (own_K, said_K), aim_K, slope, far in zip(now, prompts.wanted, slopes, off, strict=True)
            ]
            corrected = [times + far for times, far in zip(corrected, off, strict=True)]
            logits_BV = prompts.first_token(given)
            gaps = _gaps(prompts, logits_BV)
            best = [min(pair, key=_gap) for pair in zip(best, zip(gaps, given, strict=True), strict=True)]
        if any(gap < last for (gap, _), last in zip(best, gaps, strict=True)):
            # A correction made it worse: some outcomes are loud whatever is injected.
            given = [own_K for _, own_K in best]
            logits_BV = prompts.first_token(given)
        return given, logits_BV, corrected


@dataclass(frozen=True, slots=True)
class _Words:
    """What the LLM wrote, and whether it came to its end or was cut off."""

    text: str
    ended: bool

    def stated(self, row: Offered) -> int | None:
        """The outcome whose sentence these words begin with, or begin as far as they go."""
        for outcome in row.outcomes:
            sentence = row.sentence(outcome)
            if self.text.startswith(sentence) or (not self.ended and sentence.startswith(self.text)):
                return outcome
        return None


def missing_sentence(missing: Sequence[str]) -> str:
    """The sentence that names facts which were not said; of many, the first ones."""
    named, more = list(missing[:_MOST_NAMED]), len(missing) - _MOST_NAMED
    if more > 0:
        named.append(f"{more} more")
    return f"Not said: {', '.join(named[:-1])}{' and ' if len(named) > 1 else ''}{named[-1]}."


def _gaps(prompts: Prompts, logits_BV: Tensor) -> list[float]:
    """How far each row is from what is wanted; ``_TURNED`` more where another outcome is the likeliest.

    Which outcome is stated is what an asker acts on: where two are nearly as likely, a small distance turns them round.
    """
    said = prompts.said_among_marked(logits_BV)
    # What is wanted of the outcome that the LLM finds likeliest is less than the most that is wanted.
    turned = [
        float(aim_K.max().exp() - aim_K[own_K.argmax()].exp()) > _TIE
        for own_K, aim_K in zip(said, prompts.wanted, strict=True)
    ]
    return [gap + _TURNED * other for gap, other in zip(prompts.gaps(logits_BV), turned, strict=True)]


def _gap(trial: tuple[float, Tensor]) -> float:
    return trial[0]


def _spread(given_K: Tensor, places: Sequence[int], outcomes: int) -> list[float]:
    spread = [0.0] * outcomes
    for place, chance in zip(places, given_K.exp().tolist(), strict=True):
        spread[place] = chance
    return spread


def _slope(before: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]) -> float:
    """How much the LLM's log-odds moved for a move of one in the injected: the secant between two passes."""
    given_K, said_K = ((later_K - earlier_K) for earlier_K, later_K in zip(before, now, strict=True))
    given_K, said_K = given_K - given_K.mean(), said_K - said_K.mean()
    moved = float(given_K @ given_K)
    # A wild slope is noise: a move too small to tell, or an LLM that hardly listens.
    return min(max(float(given_K @ said_K) / moved, 0.5), 4.0) if moved > _STILL else 1.0
