"""Where an injector's tokens go in: as input embeddings, or into the states before a deeper layer.

Before a deeper layer, placeholders stand in the prompt: for each outcome the token with which its sentence begins, then
tokens that mean nothing. In the LLM's states at these places the injector's vectors take the place of what the layers
before made of them.

Shape suffixes: B prompts, T tokens of a pass, K outcomes that are marked, D width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from llamdex_fl.base_llm.layers import changed_before
from llamdex_fl.connectors.injector.network import MIXTURES, Injector

__all__ = ["injected_tokens", "injecting"]


def injected_tokens(injector: Injector, probability_K: Tensor, words_KD: Tensor, filler_D: Tensor) -> Tensor:
    """(K + MIXTURES, D): the input embeddings in which the outcomes are marked, or the placeholders for them.

    Args:
        injector: whose tokens.
        probability_K: what is injected.
        words_KD: input embedding of the token with which each outcome's sentence begins.
        filler_D: input embedding of a token that means nothing here.
    """
    if injector.layer == 0:
        # In the injector's own numbers, whatever the LLM's are.
        tokens_KD: Tensor = injector(probability_K, words_KD.float())
        return tokens_KD
    return torch.cat([words_KD, filler_D.expand(MIXTURES, -1)])


@contextmanager
def injecting(
    model: PreTrainedModel, injector: Injector, given: Sequence[Tensor], end: int, *, seen: list[Tensor] | None = None
) -> Iterator[None]:
    """Within the context a pass through the model has the injected states before the injector's layer.

    Args:
        model: the LLM.
        injector: whose layer; at layer 0 there is nothing to do.
        given: probabilities (K,) by prompt.
        end: the place in the pass after the injected tokens, the same in all prompts.
        seen: gets the states (B, T, D) before the injector's layer, as they were before it changed them.
    """
    if injector.layer == 0:
        yield
        return

    def change(states_BTD: Tensor) -> Tensor:
        if seen is not None:
            seen.append(states_BTD)
        rows = []
        for state_TD, probability_K in zip(states_BTD, given, strict=True):
            start = end - len(probability_K) - MIXTURES
            own = injector(probability_K, state_TD[start : end - MIXTURES].float())
            rows.append(torch.cat([state_TD[:start], own.to(state_TD.dtype), state_TD[end:]]))
        return torch.stack(rows)

    with changed_before(model, injector.layer, change):
        yield
