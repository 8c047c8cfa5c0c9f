"""Questions that people would write, each by hand with its reading: no wording file and no generator made them.

They judge: nothing is trained on them and nothing is chosen by them.
"""

from pathlib import Path

from llamdex_fl.assembly import AskedQuestion, read_questions
from llamdex_fl.schema import library_names, load_library_schema

__all__ = ["hand_written_questions"]

_FOLDER = Path(__file__).parent / "questions"


def hand_written_questions(schema: str) -> list[AskedQuestion]:
    """The hand-written questions about records of a library schema, in the file's order.

    A feature is None where the text does not say it. The labels are only plausible: they measure nobody's accuracy.

    Args:
        schema: name of a library schema; ``"ordinary"`` for questions that no schema answers, near misses among them.

    Raises:
        QuestionError: there are none for this name.
    """
    schemas = {name: load_library_schema(name) for name in library_names()}
    return read_questions(_FOLDER / f"{schema}.jsonl", schemas)
