"""Trains the injector against the frozen LLM, from schemas alone, through the short suffix only.

Attention is causal: injected tokens cannot change the keys and values of the question and the outcomes before them. So
each training question runs through the LLM once, and every step runs only the injected tokens, the assistant header
and the answer. The outcomes stand in a drawn order, so that the LLM learns to go by their words and not by their place.

The loss asks for two things. At the first token of the answer the LLM's full-vocabulary distribution must equal the
expert's probabilities on the answers' words (cross-entropy against a soft target), which makes the probability that
is read from the LLM calibrated. After it, the sentence that states the drawn outcome must follow.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from llamdex_fl.base_llm.base import BaseLLM
from llamdex_fl.connectors.injector.network import Injector, answer_words, injection_prompt
from llamdex_fl.connectors.questions import QuestionGenerator, Wording

__all__ = ["InjectorRecipe", "train_injector"]

_IGNORED = -100


@dataclass(frozen=True, kw_only=True, slots=True)
class InjectorRecipe:
    """How an injector is trained.

    The defaults were chosen with made-up outputs, but on questions in the held-out wordings (docs/adr/0003).

    Attributes:
        questions: how many questions' keys and values are computed and kept, over all schemas.
        steps: optimiser steps. One in three asks for the outcome alone, the others for the sentence too.
        outcome_batch, sentence_batch: examples a step, all of one schema.
        rate: peak learning rate.
        seed: of the questions, the outputs drawn and the initial weights.
    """

    questions: int = 32
    steps: int = 130
    outcome_batch: int = 12
    sentence_batch: int = 8
    rate: float = 5e-3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Prefix:
    """Keys and values of one prompt up to where the tokens go: per layer (1, heads, T, width).

    ``order_N`` is the order in which the outcomes stand in it.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    length: int
    order_N: Tensor


@dataclass(frozen=True, slots=True)
class _Domain:
    """What training needs to know of one schema."""

    words_ND: Tensor
    first_N: Tensor
    sentences: tuple[tuple[int, ...], ...]
    prefixes: tuple[_Prefix, ...]


def train_injector(
    base: BaseLLM,
    wordings: Sequence[Wording],
    *,
    recipe: InjectorRecipe | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Injector:
    """Train one injector for a base LLM on questions and outputs made up from schemas.

    Args:
        base: the frozen LLM.
        wordings: one a schema; more schemas make it more general.
        recipe: how to train.
        on_step: told (steps done, steps in all, loss) after each step.
    """
    recipe = recipe or InjectorRecipe()
    rng = random.Random(recipe.seed)  # noqa: S311 - questions, not keys
    each = max(1, recipe.questions // len(wordings))
    domains = [_domain(base, wording, each, rng) for wording in wordings]
    scale = float(base.model.get_input_embeddings().weight.float().pow(2).mean().sqrt())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        injector = Injector(base.width, scale, base.digest).to(base.model.device)
        optimiser = torch.optim.AdamW(injector.parameters(), lr=recipe.rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=recipe.rate, total_steps=recipe.steps, pct_start=0.1
        )
        for step in range(recipe.steps):
            domain = domains[step // 3 % len(domains)]
            sentence = step % 3 > 0
            batch = recipe.sentence_batch if sentence else recipe.outcome_batch
            loss = _loss(base, injector, domain, batch, rng, sentence=sentence)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(injector.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if on_step is not None:
                on_step(step + 1, recipe.steps, float(loss.detach()))
    return injector.eval()


@torch.no_grad()
def _domain(base: BaseLLM, wording: Wording, count: int, rng: random.Random) -> _Domain:
    target = wording.schema.target
    generator = QuestionGenerator(wording)
    end = base.tokenizer.eos_token_id
    sentences = tuple((*base.answer_ids(sentence), end) for sentence in target.sentences)
    prefixes = []
    for _ in range(count):
        order = rng.sample(range(len(sentences)), len(sentences))
        question = generator.sample(rng).text
        before_T = injection_prompt(base, question, [target.sentences[place] for place in order]).before_T
        cache = base.model(before_T[None], use_cache=True, logits_to_keep=1).past_key_values
        layers = tuple((layer.keys, layer.values) for layer in cache.layers)
        prefixes.append(_Prefix(layers, len(before_T), torch.tensor(order, device=base.model.device)))
    return _Domain(
        answer_words(base, target),
        torch.tensor([sentence[0] for sentence in sentences], device=base.model.device),
        sentences,
        tuple(prefixes),
    )


def _draw_outputs(count: int, classes: int, rng: random.Random) -> Tensor:
    """Expert outputs (B, N) over the whole simplex, sure and unsure ones alike."""
    logits_BN = torch.tensor([[rng.gauss(0, 1) for _ in range(classes)] for _ in range(count)])
    sharpness_B1 = torch.tensor([[rng.choice([0.5, 1.0, 2.0, 4.0])] for _ in range(count)])
    return torch.softmax(logits_BN * sharpness_B1, dim=-1)


def _joined_prefixes(prefixes: Sequence[_Prefix]) -> tuple[DynamicCache, Tensor]:
    """Prefixes side by side, padded on the left; and the mask (B, T) of what is real."""
    longest = max(prefix.length for prefix in prefixes)
    mask_BT = torch.tensor([[0] * (longest - p.length) + [1] * p.length for p in prefixes])
    cache = DynamicCache()
    for layer in range(len(prefixes[0].layers)):
        keys, values = (
            torch.cat(
                [torch.nn.functional.pad(p.layers[layer][which], (0, 0, longest - p.length, 0)) for p in prefixes]
            )
            for which in (0, 1)
        )
        cache.update(keys, values, layer)
    return cache, mask_BT.to(keys.device)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Runs of some questions (B) through the tokens after them."""

    base: BaseLLM
    injector: Injector
    domain: _Domain
    prefixes: Sequence[_Prefix]

    def logits(self, probability_BN: Tensor, said_BS: Tensor) -> Tensor:
        """(B, S, V): the LLM's logits where it is to say ``said_BS``, of which all but the last is fed to it."""
        cache, mask_BT = _joined_prefixes(self.prefixes)
        order_BN = torch.stack([prefix.order_N for prefix in self.prefixes])
        tokens_BND = self.injector(probability_BN.gather(1, order_BN), self.domain.words_ND[order_BN])
        embed = self.base.model.get_input_embeddings()
        after_BAD = embed(self.base.prompt("").after_T).expand(len(self.prefixes), -1, -1)
        inputs_BLD = torch.cat([tokens_BND, after_BAD, embed(said_BS[:, :-1].clamp(min=0))], dim=1)
        ones_BL = torch.ones(inputs_BLD.shape[:2], dtype=mask_BT.dtype, device=mask_BT.device)
        logits_BSV: Tensor = self.base.model(
            inputs_embeds=inputs_BLD,
            past_key_values=cache,
            attention_mask=torch.cat([mask_BT, ones_BL], dim=1),
            position_ids=mask_BT.sum(1, keepdim=True) + torch.arange(inputs_BLD.shape[1], device=mask_BT.device),
            logits_to_keep=said_BS.shape[1],
        ).logits.float()
        return logits_BSV

    def first(self, logits_BSV: Tensor) -> Tensor:
        """(B, N): log-probabilities of the outcomes' first tokens at the first place."""
        return torch.log_softmax(logits_BSV[:, 0], dim=-1)[:, self.domain.first_N]


def _loss(  # noqa: PLR0913 - the parts of one training step
    base: BaseLLM, injector: Injector, domain: _Domain, batch: int, rng: random.Random, *, sentence: bool
) -> Tensor:
    device = base.model.device
    probability_BN = _draw_outputs(batch, len(domain.sentences), rng).to(device)
    drawn = [rng.choices(range(len(domain.sentences)), row)[0] for row in probability_BN.tolist()]
    trial = _Trial(base, injector, domain, rng.choices(domain.prefixes, k=batch))
    longest = max(len(said) for said in domain.sentences) if sentence else 1
    said_BS = torch.full((batch, longest), _IGNORED, device=device)
    for row, index in enumerate(drawn):
        said = torch.tensor(domain.sentences[index][:longest], device=device)
        said_BS[row, : len(said)] = said
    logits_BSV = trial.logits(probability_BN, said_BS)
    loss = -(probability_BN * trial.first(logits_BSV)).sum(-1).mean()
    if sentence:
        # Summed over a sentence, not averaged: few of its tokens tell the outcomes apart, and these must count in full.
        rest = torch.nn.functional.cross_entropy(
            logits_BSV[:, 1:].flatten(0, 1), said_BS[:, 1:].flatten(), ignore_index=_IGNORED, reduction="sum"
        )
        loss = loss + rest / batch
    return loss
