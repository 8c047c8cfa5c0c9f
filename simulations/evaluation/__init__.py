"""Questions in wordings that no connector was trained on, written by other hands than the training wordings."""

from simulations.evaluation.hand_written import HANDS, hand_written_questions
from simulations.evaluation.questions import held_out_questions, held_out_texts, ordinary_routes
from simulations.evaluation.wordings import DEVELOPMENT_WORDINGS, WORDINGS

__all__ = [
    "DEVELOPMENT_WORDINGS",
    "HANDS",
    "WORDINGS",
    "hand_written_questions",
    "held_out_questions",
    "held_out_texts",
    "ordinary_routes",
]
