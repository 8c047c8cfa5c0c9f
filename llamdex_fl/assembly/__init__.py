"""A frozen base LLM, shared connectors and the experts of many silos, put together."""

from llamdex_fl.assembly.assembled import Answer, AssembledLlamdex, Seat
from llamdex_fl.assembly.evaluation import AskedQuestion, evaluate, read_questions

__all__ = ["Answer", "AskedQuestion", "AssembledLlamdex", "Seat", "evaluate", "read_questions"]
