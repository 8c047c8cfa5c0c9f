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
    architectures_for,
    code_length,
    code_records,
    recommended_architecture,
    require_fit,
    takes_text,
    tensor_shapes,
)
from llamdex_fl.experts.coding import coded_size, encode, number_edges
from llamdex_fl.experts.combine import combine, pooled_prior, voices
from llamdex_fl.experts.evidence import CombinationRecipe, Evidence, Robustness, Weighed, combination_recipe
from llamdex_fl.experts.expert import Expert
from llamdex_fl.experts.linear_expert import LinearExpert
from llamdex_fl.experts.panel import Panel, disagreement, public_records
from llamdex_fl.experts.scores import auc, one_against_rest
from llamdex_fl.experts.text_architecture import MINILM_LORA, SMOLLM2_LORA, TEXT_ARCHITECTURES, TextArchitecture
from llamdex_fl.experts.text_expert import TextExpert, texts_of

__all__ = [
    "ARCHITECTURES",
    "MINILM_LORA",
    "SMOLLM2_LORA",
    "TEXT_ARCHITECTURES",
    "THERMOMETER_CROSSES",
    "THERMOMETER_LARGE",
    "THERMOMETER_LINEAR",
    "CombinationRecipe",
    "Evidence",
    "Expert",
    "LinearExpert",
    "Panel",
    "Robustness",
    "TextArchitecture",
    "TextExpert",
    "Weighed",
    "architectures_for",
    "auc",
    "code_length",
    "code_records",
    "coded_size",
    "combination_recipe",
    "combine",
    "disagreement",
    "encode",
    "number_edges",
    "one_against_rest",
    "pooled_prior",
    "public_records",
    "recommended_architecture",
    "require_fit",
    "takes_text",
    "tensor_shapes",
    "texts_of",
    "voices",
]
