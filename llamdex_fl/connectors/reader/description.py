"""What a schema's descriptions mean, for the reader: made once from the pretrained encoder, and never trained.

A reader that was trained has another encoder, so a schema that joins later is described by the pretrained one again.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from llamdex_fl.base_llm.quiet import quiet_loading

__all__ = ["Describer"]


class Describer:
    """Embeds descriptions: half what they mean as a whole, half which words they are made of."""

    def __init__(self, encoder_path: Path) -> None:
        """Load a pretrained encoder from a local directory."""
        self._tokenizer = AutoTokenizer.from_pretrained(encoder_path, local_files_only=True)
        with quiet_loading():
            self._encoder = AutoModel.from_pretrained(encoder_path, local_files_only=True, add_pooling_layer=False)
        self._encoder.eval()

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """(N, 2 D): the mean of the last layer's states beside the mean of the word embeddings, scaled alike."""
        encoded = self._tokenizer(list(texts), return_tensors="pt", padding=True)
        states = self._encoder(**encoded, output_hidden_states=True).hidden_states
        mask_NT1 = encoded["attention_mask"].clone()[..., None]
        whole_ND = _scaled((states[-1] * mask_NT1).sum(1))
        mask_NT1[:, 0] = 0  # the two special tokens are the same everywhere
        mask_NT1[torch.arange(len(mask_NT1)), encoded["attention_mask"].sum(1) - 1] = 0
        return torch.cat([whole_ND, _scaled((states[0] * mask_NT1).sum(1))], dim=-1)


def _scaled(states_ND: Tensor) -> Tensor:
    scaled_ND: Tensor = torch.nn.functional.normalize(states_ND, dim=-1) * states_ND.shape[-1] ** 0.5
    return scaled_ND
