"""The expert of a text architecture: a fine-tuned layer over a frozen base. Legend: n records, C classes, H states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import RecordError
from llamdex_fl.experts.expert import Expert
from llamdex_fl.experts.text_architecture import TEXT_ARCHITECTURES
from llamdex_fl.schema import Schema, Value

if TYPE_CHECKING:
    from llamdex_fl.experts.text_base import ReadText
    from llamdex_fl.experts.text_layers import TextLayer

__all__ = ["TextExpert", "texts_of"]

#: Texts that go through the fine-tuned layer together.
_BATCH = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class TextExpert(Expert):
    """A softmax on what a fine-tuned layer makes of a text; made by ``Expert.from_tensors``.

    Attributes:
        tensors: of the layer and of the softmax, as ``tensor_shapes`` names them.
    """

    schema: Schema
    architecture: str
    tensors: Mapping[str, NDArray[np.float64]]
    class_counts_C: NDArray[np.float64]

    def as_tensors(self) -> dict[str, NDArray[np.float32]]:
        """The released tensors, as ``from_tensors`` took them."""
        own = {**self.tensors, "class_counts": self.class_counts_C}
        return {name: array.astype(np.float32) for name, array in own.items()}

    def log_odds(self, records: Sequence[Mapping[str, Value]]) -> NDArray[np.float64]:
        """Centred log-probabilities, [n, C]; where the text is absent, those of the prior.

        Raises:
            RecordError: a record does not fit the schema.
            ArtefactError: the base is not installed.
        """
        from llamdex_fl.experts.text_base import load_text_base  # noqa: PLC0415 - imports torch

        texts = texts_of(self.schema, records)
        logits_nC = np.tile(np.log(self.prior), (len(texts), 1))
        present = [row for row, text in enumerate(texts) if text is not None]
        if present:
            read = load_text_base(self.architecture).recent([text for text in texts if text is not None])
            logits_nC[present] = self.log_odds_of_read(read)
        centred: NDArray[np.float64] = logits_nC - logits_nC.mean(axis=1, keepdims=True)
        return centred

    def log_odds_of_read(self, read: "Sequence[ReadText]") -> NDArray[np.float64]:
        """``log_odds`` of texts that went through the frozen layers already, [n, C]."""
        import torch  # noqa: PLC0415 - whoever only checks tensors need not wait for it

        from llamdex_fl.experts.text_base import padded  # noqa: PLC0415

        order = sorted(range(len(read)), key=lambda place: len(read[place].memory_TM))
        features_nH = np.zeros((len(read), self.tensors["head.weight"].shape[1]))
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            with torch.inference_mode():
                features_nH[places] = self._layer(*padded([read[place] for place in places])).double().numpy()
        logits_nC = features_nH @ self.tensors["head.weight"].T + self.tensors["head.bias"]
        centred: NDArray[np.float64] = logits_nC - logits_nC.mean(axis=1, keepdims=True)
        return centred

    @cached_property
    def _layer(self) -> "TextLayer":
        """The fine-tuned layer, its low-rank parameters added into its weights."""
        import torch  # noqa: PLC0415 - see above

        from llamdex_fl.experts.text_base import load_text_base  # noqa: PLC0415

        shape = TEXT_ARCHITECTURES[self.architecture]
        layer = load_text_base(self.architecture).top()
        for target in shape.targets:
            a, b = (self.tensors[f"lora.{shape.layer}.{target}.{part}"] for part in "ab")
            weight = getattr(layer, target).weight
            with torch.no_grad():
                weight += torch.from_numpy(shape.alpha / shape.rank * b @ a).to(weight.dtype)
        return layer


def texts_of(schema: Schema, records: Sequence[Mapping[str, Value]]) -> list[str | None]:
    """Each record's text; None where it is absent.

    Raises:
        RecordError: a record does not fit the schema. The text is not told.
    """
    (feature,) = schema.features
    texts: list[str | None] = []
    for row, record in enumerate(records):
        text = record.get(feature.name)
        if not set(record) <= {feature.name} or not (text is None or (feature.is_text and feature.contains(text))):
            raise RecordError(
                f"Record {row + 1} cannot be read: it does not fit the schema.",
                expected=f"{feature.name}: {feature.expected()}, and no other feature",
                got="something else (not shown: it may be private)",
                next_step="mend the record, or leave the feature out",
            )
        texts.append(str(text) if text is not None else None)
    return texts
