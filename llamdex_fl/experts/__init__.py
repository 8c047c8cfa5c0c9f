"""Experts: models that were trained on one silo's private records, and how several of them speak together.

Here: the registry of architectures, the coding of records (from the public schema alone), prediction from
released tensors, and the combination of several experts. Not here: training (``silo_client.training``), how an
expert's answer enters the LLM (``llamdex_fl.connectors``). Everything works on the provider's side, without opacus.
"""

from llamdex_fl.experts.architecture import (
    ARCHITECTURES,
    THERMOMETER_CROSSES,
    THERMOMETER_LARGE,
    THERMOMETER_LINEAR,
    code_length,
    code_records,
    recommended_architecture,
    tensor_shapes,
)
from llamdex_fl.experts.coding import coded_size, encode
from llamdex_fl.experts.combine import CombinationRecipe, Evidence, combine, pooled_prior, voices
from llamdex_fl.experts.expert import Expert
from llamdex_fl.experts.scores import auc, one_against_rest

__all__ = [
    "ARCHITECTURES",
    "THERMOMETER_CROSSES",
    "THERMOMETER_LARGE",
    "THERMOMETER_LINEAR",
    "CombinationRecipe",
    "Evidence",
    "Expert",
    "auc",
    "code_length",
    "code_records",
    "coded_size",
    "combine",
    "encode",
    "one_against_rest",
    "pooled_prior",
    "recommended_architecture",
    "tensor_shapes",
    "voices",
]
