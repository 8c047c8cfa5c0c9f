"""The frozen part of a text base: from texts to what the fine-tuned layer reads.

Loaded once a process, however many experts stand on it. For whoever asks several experts about the same texts the
result is kept for a while (``recent``); a training asks ``read``, which keeps nothing. Legend: B texts, T tokens,
H states, M keys and values of a token.
"""

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer

from llamdex_fl.base_llm.packaged import packaged_encoder, packaged_llm
from llamdex_fl.base_llm.quiet import quiet_loading
from llamdex_fl.errors import ArtefactError
from llamdex_fl.experts.text_architecture import TEXT_ARCHITECTURES, TextArchitecture
from llamdex_fl.experts.text_layers import CausalLayer, EncoderLayer, TextLayer

__all__ = ["ReadText", "TextBase", "load_text_base", "padded"]

#: Tokens that are encoded together, padding included.
_BATCH_TOKENS = 4096
#: What ``recent`` may keep.
_KEPT_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class ReadText:
    """What the fine-tuned layer needs of a text: the query's state [H], and keys and values [T, M]."""

    query_H: Tensor = field(repr=False)
    memory_TM: Tensor = field(repr=False)

    @property
    def bytes(self) -> int:
        """Of memory."""
        return self.query_H.nbytes + self.memory_TM.nbytes


class TextBase:
    """Tokenizer, frozen layers, and the layer that experts fine-tune, as it is before any training."""

    def __init__(self, architecture: TextArchitecture, tokenizer: Any, lower: Any, top: TextLayer) -> None:  # noqa: ANN401 - transformers' own
        """Set the centre from public texts."""
        self.architecture = architecture
        self._tokenizer = tokenizer
        self._lower = lower
        self._top = top.requires_grad_(requires_grad=False).eval()
        self._kept: OrderedDict[str, ReadText] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        public = files("llamdex_fl.experts").joinpath("public_texts.txt").read_text(encoding="utf-8").splitlines()
        with torch.no_grad():
            batch = padded(self.read(public))
            top.set_centres(*batch)
        #: H and M.
        self.sizes = int(batch[0].shape[1]), int(batch[1].shape[2])

    def top(self) -> TextLayer:
        """A copy of the layer that is fine-tuned; frozen, for the caller to change."""
        return copy.deepcopy(self._top)

    def read(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> list[ReadText]:
        """What the fine-tuned layer reads of each text; nothing of it is kept.

        Args:
            texts: not empty ones; what comes after the architecture's ``most_tokens`` is not read.
            progress: told texts done, and in all.
        """
        if not texts:
            return []
        # A text of characters that no vocabulary has may be without a token: the model's first stands in for it.
        ids = [
            tokens or [0]
            for tokens in self._tokenizer(list(texts), truncation=True, max_length=self.architecture.most_tokens)[
                "input_ids"
            ]
        ]
        found: dict[int, ReadText] = {}
        for places in _batches([len(tokens) for tokens in ids]):
            longest = max(len(ids[place]) for place in places)
            ids_BT = torch.tensor([ids[place] + [0] * (longest - len(ids[place])) for place in places])
            mask_BT = torch.tensor([[1.0] * len(ids[p]) + [0.0] * (longest - len(ids[p])) for p in places])
            with torch.no_grad():
                states_BTH = self._lower(input_ids=ids_BT, attention_mask=mask_BT.long()).last_hidden_state
                query_BH, memory_BTM = self._top.read(states_BTH, mask_BT)
            for row, place in enumerate(places):
                # Clones, so that a text's memory does not hold its whole batch's.
                found[place] = ReadText(query_BH[row].clone(), memory_BTM[row, : len(ids[place])].clone())
            if progress is not None:
                progress(len(found), len(ids))
        return [found[place] for place in range(len(ids))]

    def recent(self, texts: Sequence[str]) -> list[ReadText]:
        """The same, computed once for texts that are asked about again soon."""
        with self._lock:
            found = {text: self._kept[text] for text in texts if text in self._kept}
            missing = [text for text in dict.fromkeys(texts) if text not in found]
            if missing:
                found |= dict(zip(missing, self.read(missing), strict=True))
            for text, read in found.items():
                if text not in self._kept:
                    self._kept_bytes += read.bytes
                self._kept[text] = read
                self._kept.move_to_end(text)
            while self._kept_bytes > _KEPT_BYTES:
                _, oldest = self._kept.popitem(last=False)
                self._kept_bytes -= oldest.bytes
        return [found[text] for text in texts]


def padded(read: Sequence[ReadText]) -> tuple[Tensor, Tensor, Tensor]:
    """Texts of unequal length as one batch: queries [B, H], memories [B, T, M], and 1 where a token is, [B, T]."""
    memories = [text.memory_TM for text in read]
    lengths_B = torch.tensor([len(memory) for memory in memories])
    mask_BT = (torch.arange(int(lengths_B.max())) < lengths_B[:, None]).float()
    return torch.stack([text.query_H for text in read]), pad_sequence(memories, batch_first=True), mask_BT


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Places of texts, those of like length together."""
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not batches or (len(batches[-1]) + 1) * max(lengths[place], 1) > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(place)
    return batches


@lru_cache(maxsize=2)
def load_text_base(name: str) -> TextBase:
    """The text base of an architecture.

    Args:
        name: a key of ``TEXT_ARCHITECTURES``.

    Raises:
        ArtefactError: the package that carries the model is not installed, or damaged.
    """
    architecture = TEXT_ARCHITECTURES[name]
    folder = packaged_encoder() if architecture.base == "minilm" else packaged_llm()
    try:
        with quiet_loading():
            model = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"The text base {architecture.base} could not be loaded.",
            expected="a directory that transformers loads",
            got=type(error).__name__,
            next_step="install requirements-assets.txt again",
        ) from error
    config = model.config
    if architecture.base == "minilm":
        layers = model.encoder.layer
        top: TextLayer = EncoderLayer(layers[architecture.layer], config)
        model.encoder.layer = layers[: architecture.layer]
    else:
        top = CausalLayer(model.layers[architecture.layer], model.rotary_emb, config)
        model.layers = model.layers[: architecture.layer]
        model.norm = torch.nn.Identity()
    return TextBase(architecture, tokenizer, model, top)
