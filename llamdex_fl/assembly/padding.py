"""Batches of prompts that somebody else padded, on either side."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

__all__ = ["moved_left", "prompt_mask"]


def prompt_mask(model: PreTrainedModel, ids_BT: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Which tokens are real: what the caller says, or else all that are no padding at either end.

    As in transformers, a padding token that also ends a turn is taken for a real one.
    """
    if mask_BT is not None:
        return mask_BT.bool()
    padding, ends = model.generation_config.pad_token_id, model.generation_config.eos_token_id
    every_BT = torch.ones_like(ids_BT, dtype=torch.bool)
    if padding is None or padding in (ends if isinstance(ends, list) else [ends]):
        return every_BT
    real_BT = ids_BT != padding
    before_BT = real_BT.cumsum(-1) > 0
    after_BT = real_BT.flip(-1).cumsum(-1).flip(-1) > 0
    inside_BT: Tensor = before_BT & after_BT
    return inside_BT


def moved_left(ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The same prompts with all padding on the left, where a decoder needs it to go on; and their mask (int64)."""
    order_BT = mask_BT.long().sort(dim=-1, stable=True).indices
    return ids_BT.gather(1, order_BT), mask_BT.long().gather(1, order_BT)
