"""An expert as whoever receives it can use it: released tensors and the schema, nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import WeightsError
from llamdex_fl.experts.architecture import THERMOMETER_LINEAR, require_fit, takes_text, tensor_shapes
from llamdex_fl.schema import Schema, Value

__all__ = ["Expert", "log_softmax"]

#: Counts beyond this cannot be a number of records, and would only serve to shout down other experts.
_MOST_RECORDS = 1e9
_LARGEST = 1e6
#: Of low-rank parameters: beyond it products of several of them could leave float32.
_LARGEST_LORA = 100.0


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of the softmax over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


class Expert(ABC):
    """What combination and assembly use of an expert, whatever its architecture. Legend: n records, C classes."""

    schema: Schema
    #: The noisy number of records of each class, [C].
    class_counts_C: NDArray[np.float64]
    architecture: str = THERMOMETER_LINEAR

    @staticmethod
    def from_tensors(
        schema: Schema, tensors: Mapping[str, NDArray[np.float32]], architecture: str = THERMOMETER_LINEAR
    ) -> "Expert":
        """Take released tensors after checking every one.

        Raises:
            WeightsError: names, shapes or values are not those of an expert of this schema.
            InputError: the architecture is unknown, or not for records of this schema.
        """
        require_fit(architecture, schema)
        copies = _checked(schema, tensors, architecture)
        # Imported here because both are experts themselves.
        if takes_text(architecture):
            from llamdex_fl.experts.text_expert import TextExpert  # noqa: PLC0415

            counts_C = copies.pop("class_counts")
            return TextExpert(schema=schema, architecture=architecture, tensors=copies, class_counts_C=counts_C)
        from llamdex_fl.experts.linear_expert import LinearExpert  # noqa: PLC0415

        return LinearExpert(
            schema=schema,
            architecture=architecture,
            weight_CD=copies["weight"],
            bias_C=copies["bias"],
            class_counts_C=copies["class_counts"],
        )

    @property
    def prior(self) -> NDArray[np.float64]:
        """The classes' noisy shares in the silo's records, [C]."""
        shares: NDArray[np.float64] = self.class_counts_C / self.class_counts_C.sum()
        return shares

    @abstractmethod
    def as_tensors(self) -> dict[str, NDArray[np.float32]]:
        """The released tensors, as ``from_tensors`` took them."""

    @abstractmethod
    def log_odds(self, records: Sequence[Mapping[str, Value]]) -> NDArray[np.float64]:
        """Centred log-probabilities, [n, C]: each class against the geometric mean of all; rows sum to 0.

        Raises:
            RecordError: a record does not fit the schema.
        """

    def predict_proba(self, records: Sequence[Mapping[str, Value]]) -> NDArray[np.float64]:
        """The classes' probabilities as this expert alone sees them, [n, C]; rows sum to 1.

        Raises:
            RecordError: a record does not fit the schema.
        """
        probabilities: NDArray[np.float64] = np.exp(log_softmax(self.log_odds(records)))
        return probabilities


def _checked(
    schema: Schema, tensors: Mapping[str, NDArray[np.float32]], architecture: str
) -> dict[str, NDArray[np.float64]]:
    """Read-only copies."""
    shapes = tensor_shapes(architecture, schema)
    got = {name: tuple(array.shape) for name, array in tensors.items()}
    if got != shapes:
        raise _wrong(f"the tensors {shapes}"[:2000], str(got)[:400])
    for name, array in tensors.items():
        largest = _MOST_RECORDS if name == "class_counts" else _LARGEST_LORA if name.startswith("lora.") else _LARGEST
        if not bool(np.isfinite(array).all()):
            raise _wrong("finite numbers", "others")
        if float(np.abs(array).max()) > largest:
            raise _wrong(f"{name}: numbers of at most {largest:g}", "larger ones")
    if not float(tensors["class_counts"].min()) > 0.0:
        raise _wrong("class counts above 0", "others")
    copies = {name: np.array(tensors[name], np.float64) for name in shapes}
    for copy in copies.values():
        copy.setflags(write=False)
    return copies


def _wrong(expected: str, got: str) -> WeightsError:
    return WeightsError(
        "These tensors are not an expert of this schema.",
        expected=expected,
        got=got,
        next_step="upload an expert that was trained for this schema and architecture",
    )
