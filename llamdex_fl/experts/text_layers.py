"""The one layer of a text base that experts fine-tune: evaluated for one query a text.

What the query attends to, its keys and values, is as frozen as the layers below, so ``read`` computes it once a text
and no training or expert does it again; ``forward`` is what an expert changes. Both layers compute what the model's
own layer computes for that query (a test holds them against transformers). Their linear maps are ``Linear`` children,
those under the names of ``TextArchitecture.targets`` made to have low-rank parameters put beside them.

Legend: B texts, T tokens, H states, N heads, D numbers a head, M = keys and values of a token.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, Module
from torch.nn.functional import gelu, layer_norm, rms_norm, silu

__all__ = ["CausalLayer", "EncoderLayer", "TextLayer"]


class TextLayer(Module):
    """A layer that is fine-tuned, and what the softmax reads of it and of its query.

    Query and output are each centred and scaled to the same length. The centres are the means over public texts,
    before any training: a constant offset would be length that DP-SGD clips and pays for, and says nothing.
    """

    def __init__(self, width: int) -> None:
        """Start with no centres."""
        super().__init__()
        self.query_centre = self.centre = torch.zeros(width)

    def set_centres(self, query_BH: Tensor, memory_BTM: Tensor, mask_BT: Tensor) -> None:
        """Take the means of some public texts, as ``read`` gives them."""
        self.query_centre = self.evened(query_BH).mean(dim=0)
        self.centre = self.pooled(query_BH, memory_BTM, mask_BT).mean(dim=0)

    def evened(self, query_BH: Tensor) -> Tensor:
        """The query's state, its numbers on one scale, [B, H]."""
        return query_BH

    def read(self, states_BTH: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """The frozen part: each text's query state [B, H], and its keys and values [B, T, M]."""
        raise NotImplementedError

    def pooled(self, query_BH: Tensor, memory_BTM: Tensor, mask_BT: Tensor) -> Tensor:
        """The layer's output for the queries, [B, H]."""
        raise NotImplementedError

    def forward(self, query_BH: Tensor, memory_BTM: Tensor, mask_BT: Tensor) -> Tensor:
        """What the softmax reads, [B, 2 H]: the query's direction and the output's; each row is of length 1."""
        output_BH = self.pooled(query_BH, memory_BTM, mask_BT)
        return torch.cat(
            [_direction(self.evened(query_BH) - self.query_centre), _direction(output_BH - self.centre)], dim=1
        )


class EncoderLayer(TextLayer):
    """A layer of BERT's kind; the query is the mean of a text's states."""

    def __init__(self, layer: Any, config: Any) -> None:  # noqa: ANN401 - transformers' own
        """Take the parts of a ``BertLayer``."""
        super().__init__(config.hidden_size)
        attention = layer.attention
        self.query: Linear = attention.self.query
        self.key: Linear = attention.self.key
        self.value: Linear = attention.self.value
        self.attended: Linear = attention.output.dense
        self.up: Linear = layer.intermediate.dense
        self.down: Linear = layer.output.dense
        self.first, self.second = attention.output.LayerNorm, layer.output.LayerNorm
        self._heads, self._epsilon = config.num_attention_heads, config.layer_norm_eps

    def read(self, states_BTH: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """The mean state, and keys and values."""
        weights_BT = mask_BT / mask_BT.sum(dim=1, keepdim=True)
        memory_BTM = torch.cat([self.key(states_BTH), self.value(states_BTH)], dim=2)
        return torch.einsum("bt,bth->bh", weights_BT, states_BTH), memory_BTM

    def pooled(self, query_BH: Tensor, memory_BTM: Tensor, mask_BT: Tensor) -> Tensor:
        """The layer's output for the mean state, [B, H]."""
        key_BTH, value_BTH = memory_BTM.chunk(2, dim=2)
        seen_BH = _attend(self.query(query_BH), key_BTH, value_BTH, mask_BT, (self._heads, self._heads))
        middle_BH = self._norm(self.first, query_BH + self.attended(seen_BH))
        return self._norm(self.second, middle_BH + self.down(gelu(self.up(middle_BH))))

    def _norm(self, norm: Any, states: Tensor) -> Tensor:  # noqa: ANN401 - a LayerNorm
        return layer_norm(states, states.shape[-1:], norm.weight, norm.bias, self._epsilon)


class CausalLayer(TextLayer):
    """A layer of Llama's kind; the query is the last token's state."""

    def __init__(self, layer: Any, rotary: Any, config: Any) -> None:  # noqa: ANN401 - transformers' own
        """Take the parts of a ``LlamaDecoderLayer``, and the model's rotary positions."""
        super().__init__(config.hidden_size)
        attention, mlp = layer.self_attn, layer.mlp
        self.query: Linear = attention.q_proj
        self.key: Linear = attention.k_proj
        self.value: Linear = attention.v_proj
        self.attended: Linear = attention.o_proj
        self.gate: Linear = mlp.gate_proj
        self.up: Linear = mlp.up_proj
        self.down: Linear = mlp.down_proj
        self.first, self.second = layer.input_layernorm, layer.post_attention_layernorm
        self._rotary, self._epsilon = rotary, config.rms_norm_eps
        self._heads = (config.num_attention_heads, config.num_key_value_heads)

    def read(self, states_BTH: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """The last token's state, and keys, turned by their places, and values."""
        last_B = mask_BT.sum(dim=1).long() - 1
        normed_BTH = self._norm(self.first, states_BTH)
        places_1T = torch.arange(states_BTH.shape[1])[None]
        key_BTK = self._turned(self.key(normed_BTH), places_1T, self._heads[1])
        memory_BTM = torch.cat([key_BTK, self.value(normed_BTH)], dim=2)
        return states_BTH[torch.arange(len(states_BTH)), last_B], memory_BTM

    def pooled(self, query_BH: Tensor, memory_BTM: Tensor, mask_BT: Tensor) -> Tensor:
        """The layer's output for the last token, [B, H]."""
        key_BTK, value_BTK = memory_BTM.chunk(2, dim=2)
        asked_BH = self.query(self._norm(self.first, query_BH))
        last_B1 = mask_BT.sum(dim=1, keepdim=True) - 1
        turned_BH = self._turned(asked_BH[:, None], last_B1, self._heads[0])[:, 0]
        seen_BH = _attend(turned_BH, key_BTK, value_BTK, mask_BT, self._heads)
        middle_BH = query_BH + self.attended(seen_BH)
        normed_BH = self._norm(self.second, middle_BH)
        out_BH = middle_BH + self.down(silu(self.gate(normed_BH)) * self.up(normed_BH))
        return self.evened(out_BH)

    def evened(self, query_BH: Tensor) -> Tensor:
        """Of length sqrt H, [B, H]: later tokens have longer states; the model itself reads their direction only."""
        return rms_norm(query_BH, query_BH.shape[-1:])

    def _norm(self, norm: Any, states: Tensor) -> Tensor:  # noqa: ANN401 - an RMSNorm
        return rms_norm(states, states.shape[-1:], norm.weight, self._epsilon)

    def _turned(self, parts_BTH: Tensor, places_BT: Tensor, heads: int) -> Tensor:
        """Rotary positions as Llama's: the halves of a head turned against each other."""
        cos_BTD, sin_BTD = self._rotary(parts_BTH, places_BT)
        parts_BTND = parts_BTH.reshape(*parts_BTH.shape[:2], heads, parts_BTH.shape[2] // heads)
        first, second = parts_BTND.chunk(2, dim=-1)
        halves_BTND = torch.cat([-second, first], dim=-1)
        turned_BTND: Tensor = parts_BTND * cos_BTD[:, :, None] + halves_BTND * sin_BTD[:, :, None]
        return turned_BTND.flatten(2)


def _direction(states_BH: Tensor) -> Tensor:
    """Scaled to length sqrt 1/2, so that two of them have length 1."""
    scaled_BH: Tensor = states_BH * (math.sqrt(0.5) / states_BH.norm(dim=1, keepdim=True).clamp_min(1e-6))
    return scaled_BH


def _attend(query_BH: Tensor, key_BTK: Tensor, value_BTK: Tensor, mask_BT: Tensor, heads: tuple[int, int]) -> Tensor:
    """Attention of one query a text, [B, H]; several query heads may share keys and values."""
    groups = heads[0] // heads[1]
    query_BNGD = query_BH.reshape(len(query_BH), heads[1], groups, query_BH.shape[1] // heads[0])
    split = (*key_BTK.shape[:2], heads[1], key_BTK.shape[2] // heads[1])
    key_BTND, value_BTND = key_BTK.reshape(split), value_BTK.reshape(split)
    # Not torch's fused attention, whose backward pass computes gradients of keys and values, which are frozen here.
    scores_BNGT = torch.einsum("bngd,btnd->bngt", query_BNGD, key_BTND) / math.sqrt(query_BNGD.shape[-1])
    shares_BNGT = scores_BNGT.masked_fill(mask_BT[:, None, None] == 0, -math.inf).softmax(dim=-1)
    return torch.einsum("bngt,btnd->bngd", shares_BNGT, value_BTND).flatten(1)
