"""Named float32 tensors as canonical safetensors bytes, read by a strict parser of our own.

Here: the one accepted encoding, limits, the checks on tensors from elsewhere. Not here: what the tensors mean
(``llamdex_fl.experts``), who sent them (``llamdex_fl.envelope``). Nothing is ever unpickled.
"""

from llamdex_fl.weights.files import check_file, file_digest, load, read_shapes, save, slices
from llamdex_fl.weights.format import Limits, Shapes, Tensors, decode, digest, encode

__all__ = [
    "Limits",
    "Shapes",
    "Tensors",
    "check_file",
    "decode",
    "digest",
    "encode",
    "file_digest",
    "load",
    "read_shapes",
    "save",
    "slices",
]
