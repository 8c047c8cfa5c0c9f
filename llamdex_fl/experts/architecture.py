"""The registry of architectures: a name on the wire fixes every tensor's name and shape, given a schema.

A name is never reused: another coding or another meaning of a tensor is another version.
"""

from llamdex_fl.errors import InputError
from llamdex_fl.experts.coding import coded_size
from llamdex_fl.schema import Schema

__all__ = ["ARCHITECTURES", "THERMOMETER_LINEAR", "require_architecture", "tensor_shapes"]

#: Softmax regression on the coding of ``llamdex_fl.experts.coding``.
THERMOMETER_LINEAR = "thermometer_linear/v1"
#: All that this version can train and plug in.
ARCHITECTURES: tuple[str, ...] = (THERMOMETER_LINEAR,)


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


def tensor_shapes(architecture: str, schema: Schema) -> dict[str, tuple[int, ...]]:
    """The tensors of an expert, with their shapes (C classes, D coded values).

    Returns:
        ``weight`` [C, D] and ``bias`` [C] of the softmax, and ``class_counts`` [C]: the noisy number of records of
        each class, which gives the expert its prior and its weight among others.

    Raises:
        InputError: the architecture is unknown.
    """
    require_architecture(architecture)
    classes = len(schema.target.labels)
    return {"weight": (classes, coded_size(schema)), "bias": (classes,), "class_counts": (classes,)}
