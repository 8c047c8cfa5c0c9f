"""An expert as whoever receives it can use it: released tensors and the schema, nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import WeightsError
from llamdex_fl.experts.architecture import THERMOMETER_LINEAR, code_records, tensor_shapes
from llamdex_fl.schema import Schema, Value

__all__ = ["Expert", "log_softmax"]

#: Counts beyond this cannot be a number of records, and would only serve to shout down other experts.
_MOST_RECORDS = 1e9
_LARGEST = 1e6


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of the softmax over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


@dataclass(frozen=True, kw_only=True, slots=True)
class Expert:
    """Softmax regression on coded records. Legend: n records, C classes, D codes."""

    schema: Schema
    weight_CD: NDArray[np.float64]
    bias_C: NDArray[np.float64]
    class_counts_C: NDArray[np.float64]
    architecture: str = THERMOMETER_LINEAR

    @classmethod
    def from_tensors(
        cls, schema: Schema, tensors: Mapping[str, NDArray[np.float32]], architecture: str = THERMOMETER_LINEAR
    ) -> Self:
        """Take released tensors after checking every one.

        Raises:
            WeightsError: names, shapes or values are not those of an expert of this schema.
            InputError: the architecture is unknown.
        """
        shapes = tensor_shapes(architecture, schema)
        got = {name: tuple(array.shape) for name, array in tensors.items()}
        if got != shapes:
            raise _wrong(f"the tensors {shapes}", str(got)[:400])
        if not all(
            bool(np.isfinite(array).all()) and float(np.abs(array).max()) <= _MOST_RECORDS for array in tensors.values()
        ):
            raise _wrong("finite numbers", "others")
        if float(np.abs(tensors["weight"]).max()) > _LARGEST or float(np.abs(tensors["bias"]).max()) > _LARGEST:
            raise _wrong(f"weights of at most {_LARGEST:g}", "larger ones")
        if not float(tensors["class_counts"].min()) > 0.0:
            raise _wrong("class counts above 0", "others")
        copies = {name: np.array(tensors[name], np.float64) for name in shapes}
        for copy in copies.values():
            copy.setflags(write=False)
        return cls(
            schema=schema,
            weight_CD=copies["weight"],
            bias_C=copies["bias"],
            class_counts_C=copies["class_counts"],
            architecture=architecture,
        )

    @property
    def prior(self) -> NDArray[np.float64]:
        """The classes' noisy shares in the silo's records, [C]."""
        shares: NDArray[np.float64] = self.class_counts_C / self.class_counts_C.sum()
        return shares

    def log_odds(self, records: Sequence[Mapping[str, Value]]) -> NDArray[np.float64]:
        """Centred log-probabilities, [n, C]: each class against the geometric mean of all; rows sum to 0.

        Raises:
            RecordError: a record does not fit the schema.
        """
        codes_nD = code_records(self.architecture, self.schema, records).astype(np.float64)
        logits_nC = codes_nD @ self.weight_CD.T + self.bias_C
        centred: NDArray[np.float64] = logits_nC - logits_nC.mean(axis=1, keepdims=True)
        return centred

    def predict_proba(self, records: Sequence[Mapping[str, Value]]) -> NDArray[np.float64]:
        """The classes' probabilities as this expert alone sees them, [n, C]; rows sum to 1.

        Raises:
            RecordError: a record does not fit the schema.
        """
        probabilities: NDArray[np.float64] = np.exp(log_softmax(self.log_odds(records)))
        return probabilities


def _wrong(expected: str, got: str) -> WeightsError:
    return WeightsError(
        "These tensors are not an expert of this schema.",
        expected=expected,
        got=got,
        next_step="upload an expert that was trained for this schema and architecture",
    )
