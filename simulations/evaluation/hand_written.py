"""Questions that people would write, each by hand with its reading: no wording file and no generator made them.

They judge: nothing is trained on them and nothing is chosen by them. Two people wrote them, who knew neither the
wordings nor each other's questions.
"""

from pathlib import Path

from llamdex_fl.assembly import AskedQuestion, read_questions
from llamdex_fl.schema import library_names, load_library_schema

__all__ = ["HANDS", "hand_written_questions"]

#: Who wrote them.
HANDS = ("first", "second")
_FOLDER = Path(__file__).parent / "hands"


def hand_written_questions(schema: str, hand: str | None = None) -> list[AskedQuestion]:
    """The hand-written questions about records of a library schema, in the files' order.

    A feature is None where the text does not say it. The labels are only plausible: they measure nobody's accuracy.

    Args:
        schema: name of a library schema; ``"ordinary"`` for questions that no schema answers, near misses among them.
        hand: whose questions, one of ``HANDS``; None: all.

    Raises:
        QuestionError: there are none for this name.
    """
    schemas = {name: load_library_schema(name) for name in library_names()}
    hands = HANDS if hand is None else (hand,)
    return [question for own in hands for question in read_questions(_FOLDER / own / f"{schema}.jsonl", schemas)]
