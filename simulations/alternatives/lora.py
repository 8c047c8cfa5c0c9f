"""Low-rank tuning of a base LLM on pairs of question and answer, and the base as it was afterwards."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from llamdex_fl.base_llm.base import BaseLLM

__all__ = ["LoraSettings", "tuned"]

_IGNORED = -100


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraSettings:
    """How an LLM is tuned; set before any result was seen, and small, since it must run on a CPU.

    Attributes:
        steps: of AdamW, each on ``batch`` questions.
        rank: of the adapters of all attention projections; alpha is twice that.
        learning_rate: falls linearly to 0.
    """

    steps: int = 60
    batch: int = 4
    rank: int = 8
    learning_rate: float = 1e-3
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")


@contextmanager
def tuned(base: BaseLLM, pairs: Sequence[tuple[str, str]], settings: LoraSettings, seed: int) -> Iterator[BaseLLM]:
    """A base LLM tuned on ``pairs``; when the context ends, ``base`` is what it was.

    Args:
        base: is changed meanwhile: use what is yielded.
        pairs: questions and answers, taken in this order, from the first again when they are used up.
        settings: how.
        seed: of the adapters' start.
    """
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - takes a second to load

    with torch.random.fork_rng(), warnings.catch_warnings():
        # peft asks transformers by a name that will be gone in its next version.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        torch.manual_seed(seed)
        config = LoraConfig(
            r=settings.rank, lora_alpha=2 * settings.rank, target_modules=list(settings.targets), task_type="CAUSAL_LM"
        )
        model = get_peft_model(base.model, config)
    own = copy.copy(base)
    own.model = model
    try:
        _train(own, pairs, settings)
        model.eval()
        yield own
    finally:
        model.unload()
        base.model.eval()


def _train(base: BaseLLM, pairs: Sequence[tuple[str, str]], settings: LoraSettings) -> None:
    weights = [own for own in base.model.parameters() if own.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    base.model.train()
    for step in range(settings.steps):
        part = [pairs[(step * settings.batch + place) % len(pairs)] for place in range(settings.batch)]
        ids_BT, labels_BT, mask_BT = _batch(base, part)
        # Scores of all words are wanted where an answer stands, and the prompts before it are most of the tokens.
        kept = labels_BT.shape[1] - int((labels_BT != _IGNORED).long().argmax(dim=1).min()) + 1
        logits_BTV = base.model(input_ids=ids_BT, attention_mask=mask_BT, logits_to_keep=kept).logits[:, :-1]
        loss = cross_entropy(
            logits_BTV.flatten(0, 1).float(), labels_BT[:, 1 - kept :].flatten(), ignore_index=_IGNORED
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch's own
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * (1.0 - step / settings.steps)
        optimizer.step()


def _batch(base: BaseLLM, pairs: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, labels and mask; only the answer and its end are learned."""
    end = int(base.tokenizer.eos_token_id)
    prompts = [base.prompt_ids(question)[0].tolist() for question, _ in pairs]
    answers = [[*base.answer_ids(answer), end] for _, answer in pairs]
    longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    ids_BT = torch.full((len(pairs), longest), end)
    labels_BT = torch.full((len(pairs), longest), _IGNORED)
    mask_BT = torch.zeros((len(pairs), longest), dtype=torch.long)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        size = len(prompt) + len(answer)
        ids_BT[row, :size] = torch.tensor(prompt + answer)
        labels_BT[row, len(prompt) : size] = torch.tensor(answer)
        mask_BT[row, :size] = 1
    device = base.model.device
    return ids_BT.to(device), labels_BT.to(device), mask_BT.to(device)
