"""What a reader's network needs to point at a text: which word of the question begins it, and which ends it.

The encoder and the routing are the reader's own, shared with every schema; a schema of texts adds a start and an end,
found from the description of its feature. Shape suffixes as in ``llamdex_fl.connectors.reader.network``; H is the width
in which words and the feature meet.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from llamdex_fl.connectors.reader.network import EncodedQuestions, ReaderNetwork, SchemaVocabulary

__all__ = ["TextReaderNetwork", "spans", "words"]

_WIDTH = 256
# torch refuses modules called "keys" or "train", which a schema may be.
_SCHEMA = "schema-"


class _Text(nn.Module):
    """A feature that is a text: its description's embedding, and learnt corrections."""

    feature_text_D: Tensor

    def __init__(self, feature_text_D: Tensor) -> None:
        super().__init__()
        self.register_buffer("feature_text_D", feature_text_D)
        self.start_shift_H = nn.Parameter(torch.zeros(_WIDTH))
        self.end_shift_H = nn.Parameter(torch.zeros(_WIDTH))


class TextReaderNetwork(ReaderNetwork):
    """The reader's network, and two pointers for schemas of texts."""

    def __init__(self, encoder: PreTrainedModel) -> None:
        """Wrap a bidirectional encoder."""
        super().__init__(encoder)
        width = encoder.config.hidden_size
        self.from_start, self.from_end = nn.Linear(width, _WIDTH), nn.Linear(width, _WIDTH)
        self.feature_to_start = nn.Linear(self.described, _WIDTH)
        self.feature_to_end = nn.Linear(self.described, _WIDTH)
        self.texts = nn.ModuleDict()

    def add_text(self, schema: str, vocabulary: SchemaVocabulary, feature_text_D: Tensor) -> None:
        """Take a schema of texts: ``vocabulary``, without features, has what routes to it."""
        self.add_vocabulary(schema, vocabulary)
        self.texts[_SCHEMA + schema] = _Text(feature_text_D)

    def point(self, encoded: EncodedQuestions, schema: str, words_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, T) of the first and of the last token of the text; ``words_BT`` are the tokens that may be."""
        text = self.texts[_SCHEMA + schema]
        assert isinstance(text, _Text)  # noqa: S101 - add_text takes nothing else
        scale = _WIDTH**-0.5
        start_H = self.feature_to_start(text.feature_text_D) + text.start_shift_H
        end_H = self.feature_to_end(text.feature_text_D) + text.end_shift_H
        start_BT = self.from_start(encoded.tokens_BTD) @ start_H * scale
        end_BT = self.from_end(encoded.tokens_BTD) @ end_H * scale
        return start_BT.masked_fill(~words_BT, float("-inf")), end_BT.masked_fill(~words_BT, float("-inf"))


def spans(start_BT: Tensor, end_BT: Tensor) -> Tensor:
    """Log-probabilities (B, T, T) of each first and last token together; none ends before it begins."""
    pairs_BTT = start_BT[:, :, None] + end_BT[:, None, :]
    backwards_TT = torch.ones(pairs_BTT.shape[1:], dtype=torch.bool, device=pairs_BTT.device).tril(-1)
    pairs_BTT = pairs_BTT.masked_fill(backwards_TT, float("-inf"))
    log_BTT: Tensor = pairs_BTT.flatten(1).log_softmax(-1).view_as(pairs_BTT)
    return log_BTT


def words(offsets_BT2: Tensor) -> Tensor:
    """(B, T): the tokens that stand for characters, and are neither special nor padding."""
    words_BT: Tensor = offsets_BT2[..., 1] > offsets_BT2[..., 0]
    return words_BT
