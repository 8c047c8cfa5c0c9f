"""Measures an assembly on questions whose records and outcomes are known: what was read, said, and how fast."""

import json
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llamdex_fl.assembly.assembled import Answer, AssembledLlamdex
from llamdex_fl.errors import QuestionError
from llamdex_fl.experts import one_against_rest
from llamdex_fl.schema import Schema, Value

__all__ = ["AskedQuestion", "evaluate", "read_questions", "said_answer"]

_BATCH = 16
_BINS = 10
_LLM_BATCH = 8
_TIMED_TOKENS = 16
_BASE_TOKENS = 24
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
        lines = path.read_text(encoding="utf-8").split("\n")
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


def said_answer(text: str, schema: Schema) -> str | None:
    """The label whose answer stands first in a text; None if there is none. Longer answers win over their parts."""
    found = []
    for label, answer in zip(schema.target.labels, schema.target.answers, strict=True):
        match = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE)
        if match:
            found.append((match.start(), -len(answer), label))
    return min(found)[2] if found else None


def evaluate(
    assembly: AssembledLlamdex,
    questions: Sequence[AskedQuestion],
    *,
    timed: int = 12,
    base_asked: int | None = None,
    on_question: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Everything ``llamdex-provider eval`` reports; None where no question can tell.

    Args:
        assembly: what is measured.
        questions: with their truth.
        timed: how many of them are timed, base LLM and assembly one after the other.
        base_asked: how many are put to the base LLM alone too; None puts all.
        on_question: told (done, in all) after each question.
    """
    readings = [
        reading
        for start in range(0, len(questions), _BATCH)
        for reading in assembly.read([asked.question for asked in questions[start : start + _BATCH]])
    ]
    routed = [asked.schema == reading.schema for asked, reading in zip(questions, readings, strict=True)]
    domain = [asked for asked in questions if asked.schema in assembly.schemas]
    rows: list[_Row] = []
    for start in range(0, len(domain), _LLM_BATCH):
        part = domain[start : start + _LLM_BATCH]
        wanted = len(part) if base_asked is None else max(0, min(len(part), base_asked - start))
        rows += _ask(assembly, part, with_base=wanted)
        if on_question is not None:
            on_question(len(rows), len(domain))
    ordinary = [reading.schema for asked, reading in zip(questions, readings, strict=True) if asked.schema is None]
    domain_routed = [right for asked, right in zip(questions, routed, strict=True) if asked.schema is not None]
    return {
        "questions": len(questions),
        "reader": _reader_report(assembly, domain),
        "answer_accuracy": _mean([row.said == row.label for row in rows]),
        "expert_accuracy_true_features": _mean([row.expert_true == row.label for row in rows]),
        "expert_accuracy_read_features": _mean([row.expert_read == row.label for row in rows]),
        "answer_auc": _auc(assembly, rows, lambda row: row.chances),
        "expert_auc_true_features": _auc(assembly, rows, lambda row: row.expert_chances),
        "base_llm_accuracy": _mean([row.base == row.label for row in rows if row.base_was_asked]),
        "calibration_error": _calibration_error(rows),
        "injection_gap": _mean([row.gap for row in rows if row.gap is not None]),
        "routing": {
            "accuracy": _mean(routed),
            "correct_rate": _mean(domain_routed),
            "false_route_rate": _mean([schema is not None for schema in ordinary]),
        },
        "latency": _latency(assembly, domain[:timed]),
        "answers": [
            {
                "id": asked.identity,
                "question": asked.question,
                "text": row.text,
                "label": row.label,
                "said": row.said,
                "probabilities": row.chances,
            }
            for asked, row in zip(domain, rows, strict=True)
        ],
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One question asked.

    ``chances`` (by label) come from the LLM's first token, empty where the question was not routed;
    ``expert_chances`` from the experts on the true features; ``gap`` is the largest distance between what the LLM
    and what the experts say on the features that were read.
    """

    schema: str
    label: str
    text: str
    said: str | None
    base: str | None
    base_was_asked: bool
    expert_read: str | None
    chances: Mapping[str, float]
    expert_chances: Mapping[str, float]
    gap: float | None

    @property
    def expert_true(self) -> str:
        return max(self.expert_chances, key=self.expert_chances.__getitem__)


def _ask(assembly: AssembledLlamdex, part: Sequence[AskedQuestion], *, with_base: int) -> list[_Row]:
    """Ask the assembly all of these, and the base LLM alone the first ``with_base``."""
    texts = [asked.question for asked in part]
    answers = assembly.answer_all(texts, askers=[asked.asker for asked in part])
    base = assembly.base_answers(texts[:with_base], max_new_tokens=_BASE_TOKENS) if with_base else []
    return [
        _row(assembly, asked, answer, base[place] if place < with_base else None)
        for place, (asked, answer) in enumerate(zip(part, answers, strict=True))
    ]


def _row(assembly: AssembledLlamdex, asked: AskedQuestion, answer: Answer, base: str | None) -> _Row:
    if asked.schema is None or asked.label is None:
        raise AssertionError("only questions of a schema are asked here")
    schema = assembly.schema(asked.schema)
    target = schema.target
    true_N = assembly.consult(schema.name, [asked.features], asker=asked.asker)[0].tolist()
    routed = answer.schema == schema.name
    read = dict(zip(target.labels, answer.expert_probabilities.values(), strict=True)) if routed else {}
    chances = dict(zip(target.labels, answer.probabilities.values(), strict=True)) if routed else {}
    return _Row(
        schema=schema.name,
        label=asked.label,
        text=answer.text,
        said=said_answer(answer.text, schema),
        base=said_answer(base, schema) if base is not None else None,
        base_was_asked=base is not None,
        expert_read=max(read, key=read.__getitem__) if read else None,
        chances=chances,
        expert_chances=dict(zip(target.labels, true_N, strict=True)),
        gap=max(abs(chances[label] - read[label]) for label in read) if read else None,
    )


def _auc(
    assembly: AssembledLlamdex, rows: Sequence[_Row], chances: Callable[[_Row], Mapping[str, float]]
) -> float | None:
    """Mean over the schemas that were asked; a question that was not routed counts as undecided."""
    values = []
    for name in sorted({row.schema for row in rows}):
        labels = assembly.schema(name).target.labels
        own = [row for row in rows if row.schema == name]
        scores_nC = np.array([[chances(row).get(label, 1 / len(labels)) for label in labels] for row in own])
        truth_n = np.array([labels.index(row.label) for row in own])
        if len(np.unique(truth_n)) > 1:
            values.append(one_against_rest(scores_nC, truth_n))
    return _mean(values)


def _reader_report(assembly: AssembledLlamdex, domain: Sequence[AskedQuestion]) -> dict[str, Any]:
    """Exact match over (question, feature) pairs, each question read for its own schema; absent is a value."""
    hits: dict[str, dict[str, list[bool]]] = {}
    for name in sorted({asked.schema for asked in domain if asked.schema}):
        own = [asked for asked in domain if asked.schema == name]
        for start in range(0, len(own), _BATCH):
            part = own[start : start + _BATCH]
            for asked, reading in zip(
                part, assembly.reader.read([asked.question for asked in part], schema=name), strict=True
            ):
                for feature, value in asked.features.items():
                    hits.setdefault(name, {}).setdefault(feature, []).append(reading.features[feature] == value)
    every = [hit for features in hits.values() for values in features.values() for hit in values]
    several = len(hits) > 1
    return {
        "exact_match": _mean(every),
        "per_feature": {
            f"{name}.{feature}" if several else feature: _mean(values)
            for name, features in hits.items()
            for feature, values in features.items()
        },
    }


def _calibration_error(rows: Sequence[_Row]) -> float | None:
    """Expected calibration error of the stated answer, ten bins of equal width."""
    pairs = [(max(row.chances.values()), row.said == row.label) for row in rows if row.chances]
    if not pairs:
        return None
    chance = np.array([pair[0] for pair in pairs])
    right = np.array([pair[1] for pair in pairs], dtype=float)
    bins = np.minimum((chance * _BINS).astype(int), _BINS - 1)
    return float(
        sum(abs(chance[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins))
    )


def _latency(assembly: AssembledLlamdex, questions: Sequence[AskedQuestion]) -> dict[str, float | None]:
    """Wall time for the same number of generated tokens, base LLM and assembly side by side, medians."""
    base, assembled = [], []
    for asked in questions:
        started = time.perf_counter()
        assembly.base_answers([asked.question], max_new_tokens=_TIMED_TOKENS, min_new_tokens=_TIMED_TOKENS)
        between = time.perf_counter()
        reading = assembly.read([asked.question])[0]
        if reading.schema is None:
            # It was read for the likeliest schema, which need not be its own.
            reading = assembly.reader.read([asked.question], schema=asked.schema)[0]
        name = str(reading.schema)
        probability_N = assembly.consult(name, [reading.features], asker=asked.asker)[0]
        assembly.speak([(asked.question, name, probability_N)], _TIMED_TOKENS, min_new_tokens=_TIMED_TOKENS)
        base.append(between - started)
        assembled.append(time.perf_counter() - between)
    if not base:
        return {"base_ms": None, "assembled_ms": None, "ratio": None}
    ratio = statistics.median(a / b for a, b in zip(assembled, base, strict=True))
    return {
        "base_ms": 1000 * statistics.median(base),
        "assembled_ms": 1000 * statistics.median(assembled),
        "ratio": ratio,
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
