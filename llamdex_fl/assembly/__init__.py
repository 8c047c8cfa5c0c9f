"""A frozen base LLM, shared connectors and the experts of many silos, put together."""

from llamdex_fl.assembly.asked import AskedQuestion, read_questions
from llamdex_fl.assembly.assembled import Answer, AssembledLlamdex, Seat
from llamdex_fl.assembly.base_alone import evaluate_base
from llamdex_fl.assembly.evaluation import evaluate

__all__ = ["Answer", "AskedQuestion", "AssembledLlamdex", "Seat", "evaluate", "evaluate_base", "read_questions"]
