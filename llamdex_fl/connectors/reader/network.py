"""The reader's network: which words of a question say a feature, and what value they say.

One network serves all schemas. A question is encoded once by a small pretrained encoder; each feature, described by
its own words, looks at the encoded question and chooses among

- a number that stands in the question (found exactly by ``llamdex_fl.connectors.numbers``),
- a value that words say without a number ("no ST depression", "both parents", a category),
- absent: the question does not say.

Shape suffixes: B questions, T tokens, C numbers in a question, F features of a schema, V values without a number,
D encoder width, H decoder width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from llamdex_fl.schema import Feature, Schema

__all__ = ["EncodedQuestions", "ReaderNetwork", "SchemaVocabulary", "said_values"]

_WIDTH = 256
_HEADS = 8
_LAYERS = 2
_MOST_SAID_NUMBERS = 12


def said_values(feature: Feature) -> tuple[str | float, ...]:
    """The values of a feature that words can say without a number, in a fixed order."""
    if feature.is_category:
        return feature.categories
    low, high = feature.low_high()
    if feature.kind == "integer" and high - low <= _MOST_SAID_NUMBERS:
        return tuple(float(value) for value in range(int(low), int(high) + 1))
    return (0.0,) if low <= 0 <= high else ()


@dataclass(frozen=True, slots=True)
class EncodedQuestions:
    """A batch of questions after the encoder.

    ``tokens_BTD`` with ``token_mask_BT``; ``numbers_BCT`` averages the tokens of each number; ``number_mask_BC``.
    """

    tokens_BTD: Tensor
    token_mask_BT: Tensor
    numbers_BCT: Tensor
    number_mask_BC: Tensor


class SchemaVocabulary(nn.Module):
    """A schema in the network's terms: embeddings of its features' and values' descriptions, learnt corrections."""

    def __init__(self, schema: Schema, feature_text_FD: Tensor, value_text_FVD: Tensor, schema_text_D: Tensor) -> None:
        """Take the descriptions' embeddings; ``value_text_FVD`` is zero where a feature has fewer values."""
        super().__init__()
        features, values = value_text_FVD.shape[:2]
        mask_FV = torch.zeros(features, values, dtype=torch.bool)
        for index, feature in enumerate(schema.features):
            mask_FV[index, : len(said_values(feature))] = True
        self.register_buffer("feature_text_FD", feature_text_FD)
        self.register_buffer("value_text_FVD", value_text_FVD)
        self.register_buffer("schema_text_D", schema_text_D)
        self.register_buffer("value_mask_FV", mask_FV)
        self.feature_shift_FH = nn.Parameter(torch.zeros(features, _WIDTH))
        self.value_shift_FVH = nn.Parameter(torch.zeros(features, values, _WIDTH))
        self.route_shift_D = nn.Parameter(torch.zeros_like(schema_text_D))
        self.route_bias = nn.Parameter(torch.zeros(()))


class _DecoderLayer(nn.Module):
    """Features look at one another and at the question."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(_WIDTH, _HEADS, batch_first=True)
        self.question = nn.MultiheadAttention(_WIDTH, _HEADS, batch_first=True)
        self.forward_ = nn.Sequential(nn.Linear(_WIDTH, 2 * _WIDTH), nn.GELU(), nn.Linear(2 * _WIDTH, _WIDTH))
        self.norms = nn.ModuleList([nn.LayerNorm(_WIDTH) for _ in range(3)])

    def forward(self, features_BFH: Tensor, tokens_BTH: Tensor, hidden_BT: Tensor) -> Tensor:
        x = self.norms[0](features_BFH)
        features_BFH = features_BFH + self.own(x, x, x, need_weights=False)[0]
        x = self.norms[1](features_BFH)
        looked, _ = self.question(x, tokens_BTH, tokens_BTH, key_padding_mask=hidden_BT, need_weights=False)
        features_BFH = features_BFH + looked
        return features_BFH + self.forward_(self.norms[2](features_BFH))


class ReaderNetwork(nn.Module):
    """Encoder, a decoder over features, and the choice among numbers, said values and absent."""

    def __init__(self, encoder: PreTrainedModel) -> None:
        """Wrap a bidirectional encoder; its lower half stays as it is."""
        super().__init__()
        self.encoder = encoder
        width = encoder.config.hidden_size
        self.from_tokens = nn.Linear(width, _WIDTH)
        self.from_feature = nn.Linear(width, _WIDTH)
        self.from_value = nn.Linear(width, _WIDTH)
        self.from_number = nn.Linear(width, _WIDTH)
        self.layers = nn.ModuleList([_DecoderLayer() for _ in range(_LAYERS)])
        self.norm = nn.LayerNorm(_WIDTH)
        self.to_number = nn.Linear(_WIDTH, _WIDTH)
        self.to_value = nn.Linear(_WIDTH, _WIDTH)
        self.to_absent = nn.Linear(_WIDTH, 1)
        self.route = nn.Linear(width, width)
        self.vocabularies = nn.ModuleDict()

    def encode(self, input_ids_BT: Tensor, token_mask_BT: Tensor, numbers_BCT: Tensor) -> EncodedQuestions:
        """Encode questions; ``numbers_BCT`` has a row of averaging weights for each number, zero where there is none."""
        states = self.encoder(input_ids=input_ids_BT, attention_mask=token_mask_BT.long()).last_hidden_state
        return EncodedQuestions(states, token_mask_BT, numbers_BCT, numbers_BCT.sum(-1) > 0)

    def read(self, encoded: EncodedQuestions, schema: str, allowed_BFC: Tensor) -> Tensor:
        """Logits (B, F, C + V + 1) over the numbers, the said values and absent (last).

        ``allowed_BFC`` tells which numbers can be a value of which feature.
        """
        vocabulary = self.vocabularies[schema]
        tokens_BTH = self.from_tokens(encoded.tokens_BTD)
        features_FH = self.from_feature(vocabulary.feature_text_FD) + vocabulary.feature_shift_FH
        features_BFH = features_FH.expand(len(tokens_BTH), -1, -1)
        for layer in self.layers:
            features_BFH = layer(features_BFH, tokens_BTH, ~encoded.token_mask_BT)
        features_BFH = self.norm(features_BFH)
        scale = _WIDTH**-0.5
        numbers_BCH = self.from_number(encoded.numbers_BCT @ encoded.tokens_BTD)
        numbers_BFC = torch.einsum("bfh,bch->bfc", self.to_number(features_BFH), numbers_BCH) * scale
        numbers_BFC = numbers_BFC.masked_fill(~(allowed_BFC & encoded.number_mask_BC[:, None, :]), float("-inf"))
        values_FVH = self.from_value(vocabulary.value_text_FVD) + vocabulary.value_shift_FVH
        values_BFV = torch.einsum("bfh,fvh->bfv", self.to_value(features_BFH), values_FVH) * scale
        values_BFV = values_BFV.masked_fill(~vocabulary.value_mask_FV, float("-inf"))
        return torch.cat([numbers_BFC, values_BFV, self.to_absent(features_BFH)], dim=-1)

    def routes(self, encoded: EncodedQuestions, schemas: list[str]) -> Tensor:
        """Logits (B, number of schemas): does a question ask what the schema answers, about a record?"""
        mask_BT1 = encoded.token_mask_BT[..., None]
        pooled_BD = (encoded.tokens_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)
        sent_BD = self.route(pooled_BD)
        columns = []
        for name in schemas:
            vocabulary = self.vocabularies[name]
            key_D = vocabulary.schema_text_D + vocabulary.route_shift_D
            columns.append(sent_BD @ key_D + vocabulary.route_bias)
        return torch.stack(columns, dim=-1)
