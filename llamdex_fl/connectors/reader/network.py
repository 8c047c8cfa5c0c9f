"""The reader's network: which words of a question say a feature, and what value they say.

One network serves all schemas. A question is encoded once by a small pretrained encoder. Each feature then points at
what says it:

- a number that stands in the question (found exactly by ``llamdex_fl.connectors.numbers``),
- a word, together with the value that the word says ("no ST depression", "both parents", a category),
- nothing: the question does not say, the feature is absent.

Pointing was kept after a decoder over features with attention to the question, and one vote a value, was tried: after
300 steps both read numbers at 99 %, but the decoder still guessed the categories.

Shape suffixes: B questions, T tokens, C numbers in a question, F features of a schema, V values that words can say,
O choices of a feature (C + T * V + 1), D encoder width (of a description's embedding: twice that), H width in which
words and values meet, S schemas.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from llamdex_fl.schema import Feature, Schema

__all__ = ["EncodedQuestions", "ReaderNetwork", "SchemaVocabulary", "said_values"]

_WIDTH = 256
# torch refuses modules called "keys" or "train", which a schema may be.
_SCHEMA = "schema-"
_MOST_SAID_NUMBERS = 12


def said_values(feature: Feature) -> tuple[str | float, ...]:
    """The values of a feature that words can say without a number, in a fixed order.

    A category, each value of an integer whose range spans at most 12, -1, 0 and 1 of other integers ("never contacted"
    as -1, "the single contact"), 0 of numbers.
    """
    if feature.is_category:
        return feature.categories
    low, high = feature.low_high()
    if feature.kind == "integer" and high - low <= _MOST_SAID_NUMBERS:
        return tuple(float(value) for value in range(math.ceil(low), math.floor(high) + 1))
    special = (-1.0, 0.0, 1.0) if feature.kind == "integer" else (0.0,)
    return tuple(value for value in special if low <= value <= high)


@dataclass(frozen=True, slots=True)
class EncodedQuestions:
    """A batch of questions after the encoder.

    ``tokens_BTD`` with ``token_mask_BT``; ``numbers_BCT`` averages the tokens of each number; ``number_mask_BC``.
    """

    tokens_BTD: Tensor
    token_mask_BT: Tensor
    numbers_BCT: Tensor
    number_mask_BC: Tensor

    def rows(self, rows: Sequence[int]) -> "EncodedQuestions":
        """Some of the questions, in this order."""
        chosen = list(rows)
        return EncodedQuestions(
            self.tokens_BTD[chosen], self.token_mask_BT[chosen], self.numbers_BCT[chosen], self.number_mask_BC[chosen]
        )


class SchemaVocabulary(nn.Module):
    """A schema in the network's terms: embeddings of its features' and values' descriptions, learnt corrections."""

    feature_text_FD: Tensor
    value_text_FVD: Tensor
    schema_text_D: Tensor
    value_mask_FV: Tensor

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
        self.absent_shift_FH = nn.Parameter(torch.zeros(features, _WIDTH))
        self.absent_bias_F = nn.Parameter(torch.zeros(features))
        self.value_shift_FVH = nn.Parameter(torch.zeros(features, values, _WIDTH))
        self.route_shift_D = nn.Parameter(torch.zeros(len(schema_text_D) // 2))
        self.route_bias = nn.Parameter(torch.zeros(()))


class ReaderNetwork(nn.Module):
    """Encoder, and the choice among numbers, words and absent."""

    def __init__(self, encoder: PreTrainedModel) -> None:
        """Wrap a bidirectional encoder."""
        super().__init__()
        self.encoder = encoder
        width = encoder.config.hidden_size
        #: The width of a description's embedding.
        self.described = 2 * width
        self.from_token = nn.Linear(width, _WIDTH)
        self.from_number = nn.Linear(width, _WIDTH)
        self.from_pooled = nn.Linear(width, _WIDTH)
        self.feature_to_number = nn.Linear(self.described, _WIDTH)
        self.feature_to_absent = nn.Linear(self.described, _WIDTH)
        self.to_value = nn.Linear(self.described, _WIDTH)
        self.route_weight = nn.Linear(width, 1)
        self.route = nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, width))
        self.schema_to_route = nn.Linear(self.described, width)
        self.vocabularies = nn.ModuleDict()

    def encode(self, input_ids_BT: Tensor, token_mask_BT: Tensor, numbers_BCT: Tensor) -> EncodedQuestions:
        """Encode questions. ``numbers_BCT`` has a row of weights that average each number, else zeros."""
        states = self.encoder(input_ids=input_ids_BT, attention_mask=token_mask_BT.long()).last_hidden_state
        return EncodedQuestions(states, token_mask_BT, numbers_BCT, numbers_BCT.sum(-1) > 0)

    def read(self, encoded: EncodedQuestions, schema: str, allowed_BFC: Tensor) -> Tensor:
        """Logits (B, F, O) over the numbers, the pairs of a token and a value (token-major), and absent (last).

        ``allowed_BFC`` tells which numbers can be a value of which feature.
        """
        vocabulary = self.vocabulary(schema)
        scale = _WIDTH**-0.5
        numbers_BCH = self.from_number(encoded.numbers_BCT @ encoded.tokens_BTD)
        wanted_FH = self.feature_to_number(vocabulary.feature_text_FD) + vocabulary.feature_shift_FH
        numbers_BFC = torch.einsum("fh,bch->bfc", wanted_FH, numbers_BCH) * scale
        numbers_BFC = numbers_BFC.masked_fill(~(allowed_BFC & encoded.number_mask_BC[:, None, :]), float("-inf"))
        values_FVH = self.to_value(vocabulary.value_text_FVD) + vocabulary.value_shift_FVH
        words_BFTV = torch.einsum("bth,fvh->bftv", self.from_token(encoded.tokens_BTD), values_FVH) * scale
        real_BFTV = vocabulary.value_mask_FV[None, :, None, :] & encoded.token_mask_BT[:, None, :, None]
        words_BFTV = words_BFTV.masked_fill(~real_BFTV, float("-inf"))
        missing_FH = self.feature_to_absent(vocabulary.feature_text_FD) + vocabulary.absent_shift_FH
        absent_BF = self.from_pooled(pooled(encoded)) @ missing_FH.T * scale + vocabulary.absent_bias_F
        return torch.cat([numbers_BFC, words_BFTV.flatten(2), absent_BF[..., None]], dim=-1)

    def routes(self, encoded: EncodedQuestions, schemas: list[str]) -> Tensor:
        """Logits (B, number of schemas): does a question ask what the schema answers, about a record?"""
        weight_BT = self.route_weight(encoded.tokens_BTD)[..., 0].masked_fill(~encoded.token_mask_BT, float("-inf"))
        telling_BD = (weight_BT.softmax(-1)[..., None] * encoded.tokens_BTD).sum(1)
        # Whether a question asks about a record is told by a few of its words: "translate", "on average".
        sent_BD = self.route(torch.cat([pooled(encoded), encoded.tokens_BTD[:, 0], telling_BD], dim=-1))
        known = [self.vocabulary(name) for name in schemas]
        texts_SD = torch.stack([vocabulary.schema_text_D for vocabulary in known])
        key_SD = self.schema_to_route(texts_SD) + torch.stack([vocabulary.route_shift_D for vocabulary in known])
        logits_BS: Tensor = sent_BD @ key_SD.T * sent_BD.shape[-1] ** -0.5
        return logits_BS + torch.stack([vocabulary.route_bias for vocabulary in known])

    def add_vocabulary(self, schema: str, vocabulary: SchemaVocabulary) -> None:
        """Take the vocabulary of a schema."""
        self.vocabularies[_SCHEMA + schema] = vocabulary

    def forget(self, schema: str) -> None:
        """Drop the vocabulary of a schema."""
        del self.vocabularies[_SCHEMA + schema]

    def vocabulary(self, schema: str) -> SchemaVocabulary:
        """The vocabulary of a schema."""
        vocabulary = self.vocabularies[_SCHEMA + schema]
        assert isinstance(vocabulary, SchemaVocabulary)  # noqa: S101 - add_vocabulary takes nothing else
        return vocabulary


def pooled(encoded: EncodedQuestions) -> Tensor:
    """(B, D): the mean over each question's tokens."""
    mask_BT1 = encoded.token_mask_BT[..., None]
    mean_BD: Tensor = (encoded.tokens_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)
    return mean_BD
