"""Questions with their truth: what an evaluation asks, read from a JSONL file."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamdex_fl.errors import QuestionError
from llamdex_fl.schema import Schema, Value

__all__ = ["AskedQuestion", "read_questions"]

_MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedQuestion:
    """A question with its true reading and outcome; ``schema`` None marks one that no schema answers."""

    identity: str
    schema: str | None
    question: str
    features: Mapping[str, Value]
    label: str | None
    asker: str | None = None


def read_questions(path: Path, schemas: Mapping[str, Schema]) -> list[AskedQuestion]:
    """Read a JSONL file of questions.

    A line is ``{"id", "schema", "question", "features", "label"}`` and may have ``"asker"``, the silo that asks;
    ordinary questions have ``"schema": null`` and need no features and label. Questions of schemas that are not in
    ``schemas`` count as ordinary: nobody here can answer them.

    Raises:
        QuestionError: the file is missing or a line is not a question.
    """
    if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
        raise QuestionError(
            f"{path} is not a file of questions.",
            expected=f"a JSONL file of at most {_MAX_FILE_BYTES >> 20} MiB",
            got="nothing" if not path.is_file() else f"{path.stat().st_size} bytes",
            next_step="mend the path",
        )
    try:
        # Not splitlines(): a JSON text may hold the line separators of Unicode as they are.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionError(
            f"{path} cannot be read.", expected="text in UTF-8", got=type(error).__name__, next_step="mend the file"
        ) from error
    questions = [
        _parse(line, f"{path}, line {number}", schemas) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not questions:
        raise QuestionError(f"{path} is empty.", expected="a question a line", got="none", next_step="give questions")
    return questions


def _parse(line: str, place: str, schemas: Mapping[str, Schema]) -> AskedQuestion:
    def wrong(expected: str, got: str) -> QuestionError:
        return QuestionError(f"{place} is not a question.", expected=expected, got=got, next_step="mend the line")

    try:
        entry: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise wrong("a JSON object", type(error).__name__) from error
    if not isinstance(entry, dict) or not {"id", "schema", "question"} <= set(entry):
        raise wrong("the keys id, schema, question, features, label", _keys(entry))
    for key, empty in (("question", False), ("schema", True), ("asker", True)):
        value = entry.get(key)
        if not (value is None and empty) and not (isinstance(value, str) and _is_text(value)):
            raise wrong(f"a text under {key}" + (" or null" if empty else ""), type(value).__name__)
    schema = schemas.get(entry["schema"]) if entry["schema"] is not None else None
    features, label = entry.get("features") or {}, entry.get("label")
    if schema is not None:
        _check_record(schema, features, label, wrong)
    return AskedQuestion(
        identity=str(entry["id"]),
        schema=schema.name if schema is not None else None,
        question=entry["question"],
        features=features if schema is not None else {},
        label=label if schema is not None else None,
        asker=entry.get("asker"),
    )


def _check_record(
    schema: Schema,
    features: Any,  # noqa: ANN401 - a JSON value may be anything
    label: Any,  # noqa: ANN401
    wrong: Callable[[str, str], QuestionError],
) -> None:
    """Refuse a record that does not fit its schema; the error names the feature, never the value."""
    if not isinstance(features, dict) or set(features) != {feature.name for feature in schema.features}:
        raise wrong("a value or null for each feature of the schema", _keys(features))
    for feature in schema.features:
        if not feature.contains(features[feature.name]):
            raise wrong(f"{feature.name}: {feature.expected()}", "another value")
    if label not in schema.target.labels:
        raise wrong("a label: " + ", ".join(schema.target.labels), "another value")


def _is_text(value: str) -> bool:
    """Something a tokenizer can take: not blank, and no lone surrogate, which JSON lets pass."""
    return bool(value.strip()) and not any("\ud800" <= character <= "\udfff" for character in value)


def _keys(value: Any) -> str:  # noqa: ANN401 - a JSON value may be anything
    return "the keys " + ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__
