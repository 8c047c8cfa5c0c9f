"""The other ways to what a consortium wants, each real, on the same splits and under the same budget as ours.

Here: each silo's expert alone, DP-FedAvg through Flower, one expert on the pooled table with and without privacy,
synthesis under privacy and what is learned from it, the LLM as it is, told by the experts, and tuned on synthetic
questions; how they are compared. Not here: the assembly itself (``llamdex_fl.experts``), reports.
"""

from simulations.alternatives.cohorts import COHORTS, architecture_for, delta_for, load_cohort
from simulations.alternatives.comparison import OURS, Comparison, compare
from simulations.alternatives.dp_fedavg import dp_fedavg, federated
from simulations.alternatives.experts import alone, assembled, pooled, pooled_dp
from simulations.alternatives.llm import LLMSettings, assembled_llm, expert_api, llm_on_synthetic, plain_llm
from simulations.alternatives.lora import LoraSettings
from simulations.alternatives.methods import METHODS, TABULAR, Settings, alternatives
from simulations.alternatives.outcome import Alternative, Cohort, Outcome, Spent, with_silo
from simulations.alternatives.paired import (
    Difference,
    Interval,
    SeedDifference,
    interval,
    paired_difference,
    seed_difference,
)
from simulations.alternatives.synthesis import SynthesisSettings, SyntheticTable, synthesis, synthesise

__all__ = [
    "COHORTS",
    "METHODS",
    "OURS",
    "TABULAR",
    "Alternative",
    "Cohort",
    "Comparison",
    "Difference",
    "Interval",
    "LLMSettings",
    "LoraSettings",
    "Outcome",
    "SeedDifference",
    "Settings",
    "Spent",
    "SynthesisSettings",
    "SyntheticTable",
    "alone",
    "alternatives",
    "architecture_for",
    "assembled",
    "assembled_llm",
    "compare",
    "delta_for",
    "dp_fedavg",
    "expert_api",
    "federated",
    "interval",
    "llm_on_synthetic",
    "load_cohort",
    "paired_difference",
    "plain_llm",
    "pooled",
    "pooled_dp",
    "seed_difference",
    "synthesis",
    "synthesise",
    "with_silo",
]
