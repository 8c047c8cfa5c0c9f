"""A frozen base LLM, shared connectors and the experts of many silos, put together.

Importing this package tells transformers' Auto classes how to load a saved assembly.
"""

from llamdex_fl.assembly.asked import AskedQuestion, read_questions
from llamdex_fl.assembly.assembled import Answer, AssembledLlamdex, Seat
from llamdex_fl.assembly.base_alone import evaluate_base
from llamdex_fl.assembly.causal_lm import LlamdexConfig, LlamdexForCausalLM
from llamdex_fl.assembly.evaluation import evaluate, expected_calibration_error

__all__ = [
    "Answer",
    "AskedQuestion",
    "AssembledLlamdex",
    "LlamdexConfig",
    "LlamdexForCausalLM",
    "Seat",
    "evaluate",
    "evaluate_base",
    "expected_calibration_error",
    "read_questions",
]
