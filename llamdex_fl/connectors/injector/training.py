"""Trains the injector against the frozen LLM, from public wordings and made-up outcomes, through the short suffix only.

Attention is causal: injected tokens cannot change the keys and values of the outcomes and the question before them. So
each training question runs through the LLM once, and every step runs only the injected tokens, the assistant header
and the answer. Most questions stand with outcomes that were made up (``practice.py``), some with those of their own
schema; the outcomes stand in a drawn order, in words that fit the likeliest one's probability, and the unlikely ones
have no token, all as it is when the assembly speaks.

The loss asks for two things. At the first token of the answer the LLM's full-vocabulary distribution must equal the
expert's probabilities on the answers' words (cross-entropy against a soft target, and the distance of the answers'
shares from it), which makes the probability that is read from the LLM calibrated. After it, the sentence that states
the likeliest outcome must follow.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from llamdex_fl.base_llm.base import BaseLLM
from llamdex_fl.base_llm.layers import middle_layer, state_size
from llamdex_fl.connectors.injector.network import Injector
from llamdex_fl.connectors.injector.placing import injected_tokens, injecting
from llamdex_fl.connectors.injector.practice import made_up_outcomes
from llamdex_fl.connectors.injector.prompt import Frame, Layers, Offers, joined, marked
from llamdex_fl.connectors.injector.sentences import confidence_level, worded_sentences
from llamdex_fl.connectors.questions import QuestionGenerator, Wording
from llamdex_fl.errors import SchemaError

__all__ = ["InjectorRecipe", "Practice", "draw_outputs", "outcome_loss", "practice", "suffix_loss", "train_injector"]

_IGNORED = -100
_DRAWS = 256
_MOST_DRAWS = 1000
_WARMUP = 0.06
_SENTENCE_WEIGHT = 0.5
_DISTANCE_WEIGHT = 0.5
_LOOSE_COUNTS = (2, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True, slots=True)
class InjectorRecipe:
    """How an injector is trained.

    The defaults were chosen with made-up outputs and questions in the training wordings (docs/adr/0003).

    Attributes:
        questions: how many questions' keys and values are computed and kept.
        own: share of them that stand with their own schema's outcomes.
        loose: share of the examples in which words stand for outcomes that the prompt does not hold.
        steps: optimiser steps. One in four asks for the sentence too, the others for the outcome alone.
        outcome_batch, sentence_batch: examples a step.
        rate: peak learning rate.
        turn_rate: share of it by which the large matrices learn, which turn words.
        layer: before which decoder layer of the LLM the injected vectors go in; 0: as input embeddings; None: the
            middle one, or 0 where the LLM's layers cannot be told.
        seed: of the questions, the outputs drawn and the initial weights.
    """

    questions: int = 300
    own: float = 0.3
    loose: float = 0.2
    steps: int = 1400
    outcome_batch: int = 12
    sentence_batch: int = 6
    rate: float = 5e-3
    turn_rate: float = 0.15
    layer: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Practice:
    """One prompt up to where the injected tokens go.

    Attributes:
        ids: its tokens after the opening.
        layers: keys and values, the opening's included.
        first_N: the tokens with which the sentences of the outcomes that are marked begin.
        sentences: these sentences' tokens, with the end of the turn.
        chances: probabilities (N,) that fit the words in which the outcomes are said.
    """

    ids: tuple[int, ...]
    layers: Layers
    first_N: Tensor
    sentences: tuple[tuple[int, ...], ...]
    chances: tuple[Tensor, ...]


def train_injector(
    base: BaseLLM,
    wordings: Sequence[Wording],
    *,
    recipe: InjectorRecipe | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Injector:
    """Train one injector for a base LLM on questions, outcomes and outputs that are made up.

    Args:
        base: the frozen LLM.
        wordings: whose questions it practises on; what it learns is the same for every schema.
        recipe: how to train.
        on_step: told (steps done, steps in all, loss) after each step.
    """
    recipe = recipe or InjectorRecipe()
    rng = random.Random(recipe.seed)  # noqa: S311 - questions, not keys
    frame = Frame(base)
    practices = _practices(frame, wordings, recipe, rng)
    layer = middle_layer(base.model) if recipe.layer is None else recipe.layer
    scale = _scale(frame, layer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        injector = Injector(base.width, scale, base.digest, layer=layer).to(base.model.device)
        optimiser = torch.optim.AdamW(_rates(injector, recipe), weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=[group["lr"] for group in optimiser.param_groups],
            total_steps=recipe.steps,
            pct_start=_WARMUP,
        )
        words = [base.answer_ids(word)[0] for word in frame.words]
        for step in range(recipe.steps):
            sentence = step % 4 == 3  # noqa: PLR2004 - see the recipe
            batch = rng.choices(practices, k=recipe.sentence_batch if sentence else recipe.outcome_batch)
            if not sentence:
                batch = [_loosened(own, words, rng) if rng.random() < recipe.loose else own for own in batch]
            loss = suffix_loss(frame, injector, batch, rng, sentence=sentence)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(injector.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if on_step is not None:
                on_step(step + 1, recipe.steps, float(loss.detach()))
    return injector.eval()


def _practices(frame: Frame, wordings: Sequence[Wording], recipe: InjectorRecipe, rng: random.Random) -> list[Practice]:
    generators = [(QuestionGenerator(wording), worded_sentences(wording.schema.target)) for wording in wordings]
    practices = []
    for number in range(max(1, recipe.questions)):
        generator, own = generators[number % len(generators)]
        sentences = own if rng.random() < recipe.own and _apart(frame, own) else _distinct(frame, rng)
        drawn = rng.sample(sentences, len(sentences))
        practices.append(practice(frame, frame.offers(drawn), generator.sample(rng).text, rng))
    return practices


def _rates(injector: Injector, recipe: InjectorRecipe) -> list[dict[str, Any]]:
    """The parameters, and how fast they learn."""
    turns = [injector.turns, injector.mark_turn]
    known = set(map(id, turns))
    rest = [own for own in injector.parameters() if id(own) not in known]
    return [{"params": turns, "lr": recipe.rate * recipe.turn_rate}, {"params": rest, "lr": recipe.rate}]


def _loosened(own: Practice, words: Sequence[int], rng: random.Random) -> Practice:
    """The same question, with words that do not stand in it for outcomes: so that the injector calls for any word."""
    count = rng.choice(_LOOSE_COUNTS)
    if len(words) < count:
        return own
    drawn = rng.sample(words, count)
    return replace(
        own,
        first_N=torch.tensor(drawn, device=own.first_N.device),
        sentences=tuple((word,) for word in drawn),
        chances=(draw_outputs(1, count, rng)[0],),
    )


def _distinct(frame: Frame, rng: random.Random) -> tuple[tuple[str, ...], ...]:
    """Made-up outcomes that begin differently for this tokenizer."""
    for _ in range(_MOST_DRAWS):
        if _apart(frame, sentences := made_up_outcomes(rng, frame.words)):
            return sentences
    raise SchemaError(
        "For this LLM all sentences begin alike, so its first token can tell no outcomes apart.",
        expected="a tokenizer whose first token of an answer is a part of its first word",
        got=f"{_MOST_DRAWS} sets of outcomes that begin alike",
        next_step="name another base LLM in provider.toml",
    )


def _apart(frame: Frame, sentences: Sequence[Sequence[str]]) -> bool:
    """Whether outcomes begin differently for this tokenizer."""
    try:
        frame.offers(sentences)
    except SchemaError:
        return False
    return True


@torch.no_grad()
def practice(frame: Frame, offers: Offers, question: str, rng: random.Random) -> Practice:
    """A prompt to practise on, with probabilities drawn for the outcomes."""
    chance_N = draw_outputs(1, len(offers.ids), rng)[0]
    own = marked(chance_N.tolist())
    chance_K = chance_N[own] / chance_N[own].sum()
    top = int(chance_K.argmax())
    level = confidence_level(float(chance_K[top]))
    ids = (*frame.offered_ids([wordings[level] for wordings in offers.ids]), *frame.question_ids(question))
    fitting = [
        other_K
        for other_K in draw_outputs(_DRAWS, len(own), rng)
        if int(other_K.argmax()) == top and confidence_level(float(other_K[top])) == level
    ]
    end = frame.base.tokenizer.eos_token_id
    return Practice(
        ids=ids,
        layers=frame.opened(ids),
        first_N=torch.tensor([offers.first[place] for place in own], device=frame.after_A.device),
        sentences=tuple((*offers.ids[place][level], end) for place in own),
        chances=(chance_K, *fitting),
    )


def draw_outputs(count: int, classes: int, rng: random.Random) -> Tensor:
    """Expert outputs (B, N) over the whole simplex, sure and unsure ones alike."""
    logits_BN = torch.tensor([[rng.gauss(0, 1) for _ in range(classes)] for _ in range(count)])
    sharpness_B1 = torch.tensor([[rng.choice([0.5, 1.0, 2.0, 4.0])] for _ in range(count)])
    return torch.softmax(logits_BN * sharpness_B1, dim=-1)


def suffix_loss(
    frame: Frame, injector: Injector, batch: Sequence[Practice], rng: random.Random, *, sentence: bool
) -> Tensor:
    """The loss of one training step, through the tokens after the questions alone.

    Args:
        frame: of the LLM.
        injector: what is trained.
        batch: prompts.
        rng: draws the probabilities.
        sentence: whether the likeliest outcome's whole sentence must follow, or its first token alone.
    """
    device = frame.base.model.device
    chances = [rng.choice(own.chances).to(device) for own in batch]
    drawn = [own.sentences[int(chance_N.argmax())] for own, chance_N in zip(batch, chances, strict=True)]
    longest = max(map(len, drawn)) if sentence else 1
    said_BS = torch.full((len(batch), longest), _IGNORED, device=device)
    for row, said in enumerate(drawn):
        said_BS[row, : len(said)] = torch.tensor(said[:longest], device=device)
    logits_BSV = _suffix_logits(frame, injector, batch, chances, said_BS)
    first_BV = torch.log_softmax(logits_BSV[:, 0], dim=-1)
    loss = torch.stack(
        [
            outcome_loss(chance_N, row_V[own.first_N])
            for own, chance_N, row_V in zip(batch, chances, first_BV, strict=True)
        ]
    ).mean()
    if sentence:
        # Summed over a sentence, not averaged: few of its tokens tell the outcomes apart, and these must count in full.
        rest = torch.nn.functional.cross_entropy(
            logits_BSV[:, 1:].flatten(0, 1), said_BS[:, 1:].flatten(), ignore_index=_IGNORED, reduction="sum"
        )
        loss = loss + _SENTENCE_WEIGHT * rest / len(batch)
    return loss


def outcome_loss(chance_N: Tensor, said_N: Tensor) -> Tensor:
    """Of one answer: cross-entropy, and how far the outcomes' shares are from what is wanted.

    Small distances hardly count in a cross-entropy, and are what an asker sees.

    Args:
        chance_N: what is wanted.
        said_N: log-probabilities of the outcomes' first tokens.
    """
    distance = (said_N.softmax(-1) - chance_N).abs().sum()
    return _DISTANCE_WEIGHT * distance - (chance_N * said_N).sum()


def _suffix_logits(
    frame: Frame, injector: Injector, batch: Sequence[Practice], chances: Sequence[Tensor], said_BS: Tensor
) -> Tensor:
    """(B, S, V): the LLM's logits where it is to say ``said_BS``, of which all but the last is fed to it."""
    embed = frame.base.model.get_input_embeddings()
    after_AD = embed(frame.after_A)
    tokens = [
        injected_tokens(injector, chance_N, embed(own.first_N), after_AD[0])
        for own, chance_N in zip(batch, chances, strict=True)
    ]
    most = max(map(len, tokens))
    padding = [most - len(own) for own in tokens]
    padded = [torch.nn.functional.pad(own, (0, 0, gap, 0)) for own, gap in zip(tokens, padding, strict=True)]
    after_BAD = after_AD.expand(len(batch), -1, -1)
    inputs_BLD = torch.cat(
        [torch.stack(padded).to(after_BAD.dtype), after_BAD, embed(said_BS[:, :-1].clamp(min=0))], dim=1
    )
    cache, mask_BT = joined([own.layers for own in batch])
    places_L = torch.arange(inputs_BLD.shape[1], device=mask_BT.device)
    gaps_B1 = torch.tensor([[gap] for gap in padding], device=mask_BT.device)
    mask_BL = torch.cat([mask_BT, (places_L >= gaps_B1).long()], dim=1)
    with injecting(frame.base.model, injector, chances, most):
        logits_BSV: Tensor = frame.base.model(
            inputs_embeds=inputs_BLD,
            past_key_values=cache,
            attention_mask=mask_BL,
            position_ids=(mask_BL.cumsum(-1) - 1)[:, mask_BT.shape[1] :],
            logits_to_keep=said_BS.shape[1],
        ).logits.float()
    return logits_BSV


def _scale(frame: Frame, layer: int) -> float:
    """How large the LLM's own vectors are where the injected ones go in."""
    if layer > 0:
        return state_size(frame.base.model, layer, frame.opening_P)
    return float(frame.base.model.get_input_embeddings().weight.float().pow(2).mean().sqrt())
