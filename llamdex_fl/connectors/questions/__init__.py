"""Questions made from a schema and a wording: what the reader learns from, and never a private record.

A wording is how people talk about a domain (``wording.py``, files under ``wording/``); ``generator.py`` makes
records inside the schema's public bounds and says them in that wording. Held-out wordings, by other hands, live
outside this package, so that nothing here can train on them.
"""

from llamdex_fl.connectors.questions.generator import QuestionGenerator
from llamdex_fl.connectors.questions.generic import generic_wording
from llamdex_fl.connectors.questions.near_misses import NearMisses
from llamdex_fl.connectors.questions.own import training_wording
from llamdex_fl.connectors.questions.question import Question
from llamdex_fl.connectors.questions.records import sample_record
from llamdex_fl.connectors.questions.wording import Wording, load_wording, ordinary_questions

__all__ = [
    "NearMisses",
    "Question",
    "QuestionGenerator",
    "Wording",
    "generic_wording",
    "load_wording",
    "ordinary_questions",
    "sample_record",
    "training_wording",
]
