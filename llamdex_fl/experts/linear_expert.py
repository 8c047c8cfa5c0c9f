"""The expert of the tabular architectures: softmax regression on codes. Legend: n records, C classes, D codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.experts.architecture import code_records
from llamdex_fl.experts.expert import Expert
from llamdex_fl.schema import Schema, Value

__all__ = ["LinearExpert"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearExpert(Expert):
    """Softmax regression; made by ``Expert.from_tensors``."""

    schema: Schema
    architecture: str
    weight_CD: NDArray[np.float64]
    bias_C: NDArray[np.float64]
    class_counts_C: NDArray[np.float64]

    def as_tensors(self) -> dict[str, NDArray[np.float32]]:
        """The released tensors, as ``from_tensors`` took them."""
        own = {"weight": self.weight_CD, "bias": self.bias_C, "class_counts": self.class_counts_C}
        return {name: array.astype(np.float32) for name, array in own.items()}

    def log_odds(self, records: Sequence[Mapping[str, Value]]) -> NDArray[np.float64]:
        """Centred log-probabilities, [n, C].

        Raises:
            RecordError: a record does not fit the schema.
        """
        return self.log_odds_of(code_records(self.architecture, self.schema, records))

    def log_odds_of(self, codes_nD: NDArray[np.float32]) -> NDArray[np.float64]:
        """The same for records that were coded already, as ``code_records`` does for this expert's architecture."""
        logits_nC = codes_nD.astype(np.float64) @ self.weight_CD.T + self.bias_C
        centred: NDArray[np.float64] = logits_nC - logits_nC.mean(axis=1, keepdims=True)
        return centred
