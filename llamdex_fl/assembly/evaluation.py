"""Measures an assembly on questions whose records and outcomes are known: what was read, said, and how fast."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llamdex_fl.assembly.asked import AskedQuestion
from llamdex_fl.assembly.assembled import Answer, AssembledLlamdex
from llamdex_fl.assembly.base_alone import evaluate_base
from llamdex_fl.assembly.latency import latency_report, timed_turn
from llamdex_fl.connectors.texts import same_text
from llamdex_fl.errors import InputError
from llamdex_fl.experts import one_against_rest
from llamdex_fl.schema import Value

__all__ = ["evaluate", "expected_calibration_error"]

_BATCH = 16
_BINS = 10
_LLM_BATCH = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One question asked.

    ``route`` is the schema that it was routed to, ``facts`` what is read in it for its own schema. ``whole`` tells
    whether the text is an outcome's whole sentence, ``again`` whether it took a second time of asking. ``chances`` (by
    label) come from the LLM's first token, ``read_chances`` from the experts on the features that were read, both empty
    where the question was not routed; ``expert_chances`` from the experts on the true features; ``lean`` is the gap
    before what is injected was corrected.
    """

    schema: str
    label: str
    route: str | None
    facts: Mapping[str, Value]
    text: str
    said: str | None
    whole: bool
    again: bool
    chances: Mapping[str, float]
    read_chances: Mapping[str, float]
    expert_chances: Mapping[str, float]
    lean: float | None

    @property
    def expert_true(self) -> str:
        return _likeliest(self.expert_chances)

    @property
    def expert_read(self) -> str | None:
        return _likeliest(self.read_chances) if self.read_chances else None

    @property
    def gap(self) -> float | None:
        """The largest distance between what the LLM and what the experts say, on the features that were read."""
        distances = [abs(self.chances[label] - chance) for label, chance in self.read_chances.items()]
        return max(distances) if distances else None


def evaluate(
    assembly: AssembledLlamdex,
    questions: Sequence[AskedQuestion],
    *,
    timed: int = 12,
    base_asked: int | None = None,
    on_question: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Everything ``llamdex-provider eval`` reports; None where no question can tell.

    ``calibration_error`` compares the LLM's probabilities with the experts', which is what an injector answers for;
    ``outcome_calibration_error`` with what became true, which is also the experts' affair and needs many questions.

    Args:
        assembly: what is measured.
        questions: with their truth.
        timed: how many of them are timed, base LLM and assembly in turns.
        base_asked: how many are put to the base LLM alone too; None puts all.
        on_question: told (done, in all) after each question.

    Raises:
        InputError: a question is longer than what LLM or reader take; nothing was asked yet.
    """
    _check(assembly, questions)
    domain = [asked for asked in questions if asked.schema in assembly.schemas]
    rows: dict[int, _Row] = {}
    # Questions of like length together: little padding.
    order = sorted(range(len(domain)), key=lambda place: len(domain[place].question))
    for start in range(0, len(domain), _LLM_BATCH):
        places = order[start : start + _LLM_BATCH]
        part = [domain[place] for place in places]
        answers = assembly.answer_all(
            [asked.question for asked in part], askers=[asked.asker for asked in part], batch=_LLM_BATCH
        )
        for place, asked, answer in zip(places, part, answers, strict=True):
            rows[place] = _row(assembly, asked, answer)
        if on_question is not None:
            on_question(len(rows), len(domain))
    report = _report(assembly, questions, domain, [rows[place] for place in range(len(domain))])
    return report | _base_report(assembly, domain[:base_asked]) | {"latency": _latency(assembly, domain[:timed])}


def _check(assembly: AssembledLlamdex, questions: Sequence[AskedQuestion]) -> None:
    for asked in questions:
        try:
            assembly.check(asked.question)
            if asked.schema in assembly.schemas:
                assembly.check_readable(asked.question, asked.schema)
        except InputError as error:
            raise InputError(
                f"Question {asked.identity}: {error.problem}",
                expected=error.expected,
                got=error.got,
                next_step=error.next_step,
            ) from error


def _report(
    assembly: AssembledLlamdex,
    questions: Sequence[AskedQuestion],
    domain: Sequence[AskedQuestion],
    rows: Sequence[_Row],
) -> dict[str, Any]:
    """What was read and said; ``domain`` are the questions that an expert answers, ``rows`` what became of them."""
    others = [asked for asked in questions if asked.schema not in assembly.schemas]
    other_routes = [
        reading.schema
        for start in range(0, len(others), _BATCH)
        for reading in assembly.read([asked.question for asked in others[start : start + _BATCH]])
    ]
    ordinary = [route for asked, route in zip(others, other_routes, strict=True) if asked.schema is None]
    domain_routed = [row.route == row.schema for row in rows]
    # A question of a schema without an expert is to be left to the base LLM, and counts as one that was not reached.
    unserved = [False for asked in others if asked.schema is not None]
    return {
        "questions": len(questions),
        "reader": _reader_report(domain, rows),
        "answer_accuracy": _mean([row.said == row.label for row in rows]),
        "expert_accuracy_true_features": _mean([row.expert_true == row.label for row in rows]),
        "expert_accuracy_read_features": _mean([row.expert_read == row.label for row in rows]),
        "answer_sentence_rate": _mean([row.whole for row in rows]),
        "asked_again_rate": _mean([row.again for row in rows]),
        "answer_auc": _auc(assembly, rows, lambda row: row.chances),
        "expert_auc_true_features": _auc(assembly, rows, lambda row: row.expert_chances),
        "calibration_error": _calibration_error(rows, _of_experts),
        "outcome_calibration_error": _calibration_error(rows, _of_outcomes),
        "injection_gap": _mean([row.gap for row in rows if row.gap is not None]),
        "injection_lean": _mean([row.lean for row in rows if row.lean is not None]),
        "routing": {
            "accuracy": _mean([*domain_routed, *unserved, *(route is None for route in ordinary)]),
            "correct_rate": _mean([*domain_routed, *unserved]),
            "false_route_rate": _mean([route is not None for route in ordinary]),
        },
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


def _row(assembly: AssembledLlamdex, asked: AskedQuestion, answer: Answer) -> _Row:
    if asked.schema is None or asked.label is None:
        raise AssertionError("only questions of a schema are asked here")
    schema = assembly.schema(asked.schema)
    target = schema.target
    true_N = assembly.consult(schema.name, [asked.features], asker=asked.asker)[0].tolist()
    routed = answer.schema == schema.name
    facts = answer.facts if routed else assembly.reader.read([asked.question], schema=schema.name)[0].features
    read = dict(zip(target.labels, answer.expert_probabilities.values(), strict=True)) if routed else {}
    chances = dict(zip(target.labels, answer.probabilities.values(), strict=True)) if routed else {}
    return _Row(
        schema=schema.name,
        label=asked.label,
        route=answer.schema,
        facts=facts,
        text=answer.text,
        # Only an outcome's sentence counts, as it was offered: "Yes" with the words of "no" says neither.
        said=answer.stated if routed else None,
        whole=answer.whole,
        again=answer.asked_again,
        chances=chances,
        read_chances=read,
        expert_chances=dict(zip(target.labels, true_N, strict=True)),
        lean=answer.lean,
    )


def _base_report(assembly: AssembledLlamdex, domain: Sequence[AskedQuestion]) -> dict[str, Any]:
    found = evaluate_base(assembly.base, assembly.reader.schemas, domain)
    return {f"base_llm_{name}": found[name] for name in ("accuracy", "forced_choice_accuracy")}


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


def _reader_report(domain: Sequence[AskedQuestion], rows: Sequence[_Row]) -> dict[str, Any]:
    """Exact match over (question, feature) pairs, each question read for its own schema; absent is a value.

    Of a text, blanks and quotation marks around it do not count.
    """
    hits: dict[str, dict[str, list[bool]]] = {}
    for asked, row in zip(domain, rows, strict=True):
        for feature, value in asked.features.items():
            read = row.facts[feature]
            same = read == value or same_text(read, value)
            hits.setdefault(row.schema, {}).setdefault(feature, []).append(same)
    every = [hit for features in hits.values() for values in features.values() for hit in values]
    several = len(hits) > 1
    return {
        "exact_match": _mean(every),
        "per_feature": {
            f"{name}.{feature}" if several else feature: _mean(values)
            for name, features in sorted(hits.items())
            for feature, values in features.items()
        },
    }


def expected_calibration_error(said_n: Sequence[float], truth_n: Sequence[float]) -> float | None:
    """How far said probabilities are from the true ones (or from outcomes, 0 or 1): ten bins of equal width.

    None where nothing was said.
    """
    said, truth = np.array(said_n, dtype=float), np.array(truth_n, dtype=float)
    if not len(said):
        return None
    bins = np.minimum((said * _BINS).astype(int), _BINS - 1)
    return float(sum(abs((said - truth)[bins == own].sum()) for own in np.unique(bins)) / len(said))


def _calibration_error(rows: Sequence[_Row], truth: Callable[[_Row, str], float]) -> float | None:
    """Of the outcome that the LLM finds likeliest, in the questions that were routed."""
    pairs = [(row.chances[top], truth(row, top)) for row in rows if row.chances for top in [_likeliest(row.chances)]]
    return expected_calibration_error([said for said, _ in pairs], [true for _, true in pairs])


def _of_experts(row: _Row, label: str) -> float:
    return row.read_chances[label]


def _of_outcomes(row: _Row, label: str) -> float:
    return float(row.label == label)


def _likeliest(chances: Mapping[str, float]) -> str:
    return max(chances, key=chances.__getitem__)


def _latency(assembly: AssembledLlamdex, questions: Sequence[AskedQuestion]) -> dict[str, Any]:
    """See ``latency_report``. A first turn is not counted: it allocates, and computes what is kept of prompts."""
    for asked in questions[:1]:
        timed_turn(assembly, asked)
    return latency_report(
        [timed_turn(assembly, asked, assembled_first=number % 2 == 1) for number, asked in enumerate(questions)]
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
