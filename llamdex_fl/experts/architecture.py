"""The registry of architectures: a name on the wire fixes every tensor's name and shape, given a schema.

A name is never reused: another coding or another meaning of a tensor is another version.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import InputError
from llamdex_fl.experts.coding import coded_size, encode
from llamdex_fl.experts.crosses import crossed_size, with_crosses
from llamdex_fl.experts.text_architecture import MINILM_LORA, TEXT_ARCHITECTURES
from llamdex_fl.schema import Schema, Value

__all__ = [
    "ARCHITECTURES",
    "THERMOMETER_CROSSES",
    "THERMOMETER_LARGE",
    "THERMOMETER_LINEAR",
    "architectures_for",
    "code_length",
    "code_records",
    "recommended_architecture",
    "require_architecture",
    "require_fit",
    "takes_text",
    "tensor_shapes",
]

#: Softmax regression on the coding of ``llamdex_fl.experts.coding``, for hundreds of records that are combined.
THERMOMETER_LINEAR = "thermometer_linear/v1"
#: The same coding with weights that fit the number of records: for a table that speaks for itself.
THERMOMETER_LARGE = "thermometer_linear/v2"
#: The same as that, with codes for pairs of categories.
THERMOMETER_CROSSES = "thermometer_crosses/v1"
#: All that this version can train and plug in.
ARCHITECTURES: tuple[str, ...] = (THERMOMETER_LINEAR, THERMOMETER_LARGE, THERMOMETER_CROSSES, *TEXT_ARCHITECTURES)

#: Crosses cost noise with every code; where they are more than this, nothing is left of them at epsilon 1.
_MOST_CROSSED = 500
#: Below this bound on the number of records crosses lose at epsilon 1, even where labels follow rules (docs/adr/0008).
_LEAST_CROSSED_RECORDS = 4096
_PROBES = 101


def require_architecture(architecture: str) -> None:
    """Refuse a name that this version does not know.

    Raises:
        InputError: the name is unknown.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(
            "This architecture of an expert is unknown.",
            expected=", ".join(ARCHITECTURES),
            got=architecture[:80],
            next_step="ask for a known one, or update this side",
        )


def takes_text(architecture: str) -> bool:
    """Whether experts of this architecture read texts; the others read tables.

    Raises:
        InputError: the architecture is unknown.
    """
    require_architecture(architecture)
    return architecture in TEXT_ARCHITECTURES


def architectures_for(schema: Schema) -> tuple[str, ...]:
    """The architectures that records of a schema can be learned with."""
    return tuple(name for name in ARCHITECTURES if takes_text(name) == schema.is_text)


def require_fit(architecture: str, schema: Schema) -> None:
    """Refuse an architecture that cannot read a schema's records.

    Raises:
        InputError: the architecture is unknown, or reads texts where records are tables, or the other way round.
    """
    if takes_text(architecture) != schema.is_text:
        raise InputError(
            "This architecture cannot read records of this schema.",
            expected=f"for {schema.name}: {', '.join(architectures_for(schema))}",
            got=architecture,
            next_step="ask for one that reads " + ("texts" if schema.is_text else "tables"),
        )


def tensor_shapes(architecture: str, schema: Schema) -> dict[str, tuple[int, ...]]:
    """The tensors of an expert, with their shapes (C classes, D coded values, H states, R rank).

    Returns:
        Of a tabular one ``weight`` [C, D] and ``bias`` [C] of the softmax; of a text expert ``lora.<layer>.<target>.a``
        [R, inputs] and ``.b`` [outputs, R] of every target, ``head.weight`` [C, 2 H] and ``head.bias`` [C]. Of both
        ``class_counts`` [C]: the noisy number of records of each class, which gives the expert its prior and its
        weight among others.

    Raises:
        InputError: the architecture is unknown, or not for records of this schema.
    """
    require_fit(architecture, schema)
    classes = len(schema.target.labels)
    if architecture in TEXT_ARCHITECTURES:
        return TEXT_ARCHITECTURES[architecture].tensor_shapes(classes) | {"class_counts": (classes,)}
    size = crossed_size(schema) if architecture == THERMOMETER_CROSSES else coded_size(schema)
    return {"weight": (classes, size), "bias": (classes,), "class_counts": (classes,)}


def code_records(architecture: str, schema: Schema, records: Sequence[Mapping[str, Value]]) -> NDArray[np.float32]:
    """Records as an architecture's experts see them, [n, D]; everything comes from the schema.

    Raises:
        InputError: the architecture is unknown.
        RecordError: a record does not fit the schema.
    """
    require_architecture(architecture)
    codes_nD = encode(schema, records)
    return with_crosses(schema, codes_nD) if architecture == THERMOMETER_CROSSES else codes_nD


def code_length(architecture: str, schema: Schema) -> float:
    """The usual Euclidean length of a whole record's codes: public, for it comes from the schema.

    Of records whose numbers are spread evenly over their ranges. Which category a record has makes no difference.

    Raises:
        InputError: the architecture is unknown.
    """
    probes: list[dict[str, Value]] = []
    for place in np.linspace(0.0, 1.0, _PROBES):
        probe: dict[str, Value] = {}
        for feature in schema.features:
            if feature.is_category:
                probe[feature.name] = feature.categories[0]
            else:
                low, high = feature.low_high()
                probe[feature.name] = low + float(place) * (high - low)
        probes.append(probe)
    codes_nD = code_records(architecture, schema, probes).astype(np.float64)
    return float(np.sqrt((codes_nD**2).sum(axis=1).mean()))


def recommended_architecture(schema: Schema, record_bound: int | None = None) -> str:
    """What to offer the owner of one large table or of texts; nothing but public facts decide.

    Where every feature is a category, numbers cannot carry what features say together, so pairs get codes of their
    own, if these are few enough, and records many enough, for them to be learned under noise. For consortia of silos
    with hundreds of records each, offer ``THERMOMETER_LINEAR``: the combination of experts was made for it.

    Args:
        schema: what the records mean.
        record_bound: the policy's bound on the number of records; None takes them to be many.
    """
    if schema.is_text:
        return MINILM_LORA
    if record_bound is not None and record_bound < _LEAST_CROSSED_RECORDS:
        return THERMOMETER_LARGE
    only_categories = all(feature.is_category for feature in schema.features)
    return THERMOMETER_CROSSES if only_categories and crossed_size(schema) <= _MOST_CROSSED else THERMOMETER_LARGE
