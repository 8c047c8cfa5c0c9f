"""The registry of architectures: a name on the wire fixes every tensor's name and shape, given a schema.

A name is never reused: another coding or another meaning of a tensor is another version.
"""

from llamdex_fl.errors import InputError
from llamdex_fl.experts.coding import coded_size
from llamdex_fl.experts.text_architecture import TEXT_ARCHITECTURES
from llamdex_fl.schema import Schema

__all__ = [
    "ARCHITECTURES",
    "THERMOMETER_LINEAR",
    "architectures_for",
    "require_architecture",
    "require_fit",
    "takes_text",
    "tensor_shapes",
]

#: Softmax regression on the coding of ``llamdex_fl.experts.coding``.
THERMOMETER_LINEAR = "thermometer_linear/v1"
#: All that this version can train and plug in.
ARCHITECTURES: tuple[str, ...] = (THERMOMETER_LINEAR, *TEXT_ARCHITECTURES)


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
    return {"weight": (classes, coded_size(schema)), "bias": (classes,), "class_counts": (classes,)}
