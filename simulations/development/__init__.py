"""Questions that people wrote by hand and that whoever improves a reader may look at.

Those of ``simulations.evaluation`` judge and choose nothing. These show what a reader misreads, so that its wordings
and parsers can be mended; a score on them is therefore too good.
"""

from pathlib import Path

from llamdex_fl.assembly import AskedQuestion, read_questions
from llamdex_fl.schema import load_library_schema

__all__ = ["DEVELOPMENT_QUESTIONS", "development_questions"]

#: The folder of the development questions, a JSONL file a schema; not every schema has one.
DEVELOPMENT_QUESTIONS = Path(__file__).parent / "questions"


def development_questions(schema: str) -> list[AskedQuestion]:
    """The development questions of a schema of the library; none where nobody has written any.

    Raises:
        QuestionError: a line of the file is not a question.
    """
    path = DEVELOPMENT_QUESTIONS / f"{schema}.jsonl"
    return read_questions(path, {schema: load_library_schema(schema)}) if path.is_file() else []
