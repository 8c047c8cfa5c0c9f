"""Measuring an assembly: strict questions in, and figures that a hand can check."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from llamdex_fl.assembly import AskedQuestion, AssembledLlamdex, Seat, evaluate, evaluate_base, read_questions
from llamdex_fl.assembly.assembled import Answer
from llamdex_fl.assembly.base_alone import said_answer
from llamdex_fl.assembly.evaluation import (
    _auc,
    _calibration_error,
    _of_experts,
    _of_outcomes,
    _reader_report,
    _Row,
    expected_calibration_error,
)
from llamdex_fl.assembly.evaluation import _row as _row_of
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors.injector import Injector, worded_sentences
from llamdex_fl.connectors.reader import Reader
from llamdex_fl.errors import InputError, QuestionError
from llamdex_fl.schema import Schema, Target, Value

GOOD: dict[str, Any] = {
    "id": 7,
    "schema": "fruit",
    "question": "A red one. Ripe?",
    "features": {"colour": "red", "weight": None},
    "label": "1",
}


def _file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path, toy_schema: Schema) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"id": "1", "schema": None, "question": "Why?"}), encoding="utf-8-sig")
    assert [asked.question for asked in read_questions(path, {"fruit": toy_schema})] == ["Why?"]


def test_questions_are_read(tmp_path: Path, toy_schema: Schema) -> None:
    odd = {"id": "o", "schema": "vegetables", "question": "Is it raw?", "features": {"any": 1}, "label": "raw"}
    plain = {"id": "p", "schema": None, "question": "Capital of France?\u2028Or of Spain?"}
    path = _file(
        tmp_path,
        json.dumps({**GOOD, "asker": "orchard"}),
        "",
        json.dumps(odd),
        json.dumps(plain, ensure_ascii=False),
        "  ",
    )
    known, unknown, ordinary = read_questions(path, {"fruit": toy_schema})
    assert known == AskedQuestion(
        identity="7",
        schema="fruit",
        question="A red one. Ripe?",
        features={"colour": "red", "weight": None},
        label="1",
        asker="orchard",
    )
    assert (unknown.schema, unknown.label, ordinary.schema) == (None, None, None)
    assert ordinary.question.endswith("Or of Spain?")


_WRONG: dict[str, Any] = {
    "no JSON": "{",
    "nested too deeply": "[" * 100_000,
    "a list": "[]",
    "a text": '"Ripe?"',
    "no id": {key: value for key, value in GOOD.items() if key != "id"},
    "no question": {key: value for key, value in GOOD.items() if key != "question"},
    "no schema": {key: value for key, value in GOOD.items() if key != "schema"},
    "a blank question": {**GOOD, "question": " "},
    "a question that is null": {**GOOD, "question": None},
    "a question that has no UTF-8 form": {**GOOD, "question": "\ud800"},
    "a schema that is a list": {**GOOD, "schema": ["fruit"]},
    "an asker that is a number": {**GOOD, "asker": 5},
    "features that are a list": {**GOOD, "features": ["colour", "weight"]},
    "no features": {key: value for key, value in GOOD.items() if key != "features"},
    "a feature too few": {**GOOD, "features": {"colour": "red"}},
    "a feature too many": {**GOOD, "features": {**GOOD["features"], "size": 1}},
    "a category that does not exist": {**GOOD, "features": {"colour": "secret-value", "weight": 1}},
    "a number beyond the bounds": {**GOOD, "features": {"colour": "red", "weight": 987654}},
    "a number that is no number": {**GOOD, "features": {"colour": "red", "weight": [50]}},
    "a number that is true": {**GOOD, "features": {"colour": "red", "weight": True}},
    "a number beyond every float": {**GOOD, "features": {"colour": "red", "weight": 10**400}},
    "a label that does not exist": {**GOOD, "label": "secret-value"},
    "no label": {key: value for key, value in GOOD.items() if key != "label"},
    "a label that is a list": {**GOOD, "label": ["1"]},
}


@pytest.mark.parametrize("line", _WRONG.values(), ids=_WRONG)
def test_a_malformed_line_is_named(tmp_path: Path, toy_schema: Schema, line: Any) -> None:  # noqa: ANN401 - anything
    path = _file(tmp_path, json.dumps(GOOD), line if isinstance(line, str) else json.dumps(line), json.dumps(GOOD))
    with pytest.raises(QuestionError, match="line 2 ") as refusal:
        read_questions(path, {"fruit": toy_schema})
    told = str(refusal.value)
    assert "secret-value" not in told
    assert "987654" not in told


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"\xff\xfe"])
def test_what_is_no_file_of_questions_is_refused(tmp_path: Path, toy_schema: Schema, content: bytes | None) -> None:
    path = tmp_path / "questions.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(QuestionError, match=r"questions\.jsonl"):
        read_questions(path, {"fruit": toy_schema})


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Ripe. It can be eaten.", "1"),
        ("unripe, I think", "0"),
        ("It is UNRIPE", "0"),
        ("It is ripe, not unripe", "1"),
        ("ripening", None),
        ("overripe", None),
        ("", None),
        ("I do not know", None),
    ],
)
def test_the_first_whole_answer_is_what_was_said(toy_schema: Schema, text: str, label: str | None) -> None:
    assert said_answer(text, toy_schema) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [("Not present.", "0"), ("present", "1"), ("not  present", "1"), ("C++ it is", "2"), ("C, then", "3")],
)
def test_the_longer_answer_wins_where_one_holds_the_other(toy_schema: Schema, text: str, label: str) -> None:
    answers = ("present", "not present", "C++", "C")
    target = Target(name="t", labels=("1", "0", "2", "3"), answers=answers, sentences=answers)
    schema = Schema(name="s", title="S", question="?", features=toy_schema.features, target=target)
    assert said_answer(text, schema) == label


def _row(
    label: str,
    said: str | None,
    chances: Mapping[str, float],
    facts: Mapping[str, Value] | None = None,
    *,
    read: Mapping[str, float] | None = None,
) -> _Row:
    return _Row(
        schema="fruit",
        label=label,
        route="fruit",
        facts=facts or {},
        text="",
        said=said,
        whole=False,
        again=False,
        chances=chances,
        read_chances=read or {},
        expert_chances={"1": 0.5, "0": 0.5},
        lean=None,
    )


@pytest.mark.parametrize(
    ("said", "truth", "error"),
    [
        ([0.05, 0.95], [0.05, 0.95], 0.0),
        ([0.05, 0.95], [0.15, 0.85], 0.1),
        ([0.61, 0.69], [0.69, 0.61], 0.0),
        # Bin 9: .95 and 1, of which half came true; bin 7: .72, .76 and .74, of which two thirds did.
        ([0.95, 1.0, 0.72, 0.76, 0.74], [1, 0, 1, 1, 0], 2 / 5 * abs(0.975 - 0.5) + 3 / 5 * abs(0.74 - 2 / 3)),
        ([], [], None),
    ],
)
def test_the_calibration_error_of_hand_computed_examples(
    said: list[float], truth: list[float], error: float | None
) -> None:
    assert expected_calibration_error(said, truth) == (None if error is None else pytest.approx(error))


def test_calibration_is_of_the_likeliest_outcome_by_the_experts_and_by_what_became_true() -> None:
    rows = [
        _row("1", "1", {"1": 0.95, "0": 0.05}, read={"1": 0.85, "0": 0.15}),
        _row("1", "0", {"1": 0.28, "0": 0.72}, read={"1": 0.3, "0": 0.7}),
        _row("1", "1", {}),  # not routed: nothing was stated
    ]
    assert _calibration_error(rows, _of_experts) == pytest.approx((0.1 + 0.02) / 2)
    assert _calibration_error(rows, _of_outcomes) == pytest.approx((0.05 + 0.72) / 2)
    assert _calibration_error(rows[-1:], _of_experts) is None


def test_the_auc_counts_a_question_without_a_route_as_undecided(toy_schema: Schema) -> None:
    assembly: Any = SimpleNamespace(schema=lambda _: toy_schema)
    rows = [
        _row("1", None, {"1": 0.9, "0": 0.1}),
        _row("1", None, {}),
        _row("0", None, {"1": 0.6, "0": 0.4}),
        _row("0", None, {"1": 0.2, "0": 0.8}),
    ]
    # Pairs (positive, negative): 0.9 beats both, 0.5 loses to 0.6 and beats 0.2.
    assert _auc(assembly, rows, lambda row: row.chances) == pytest.approx(3 / 4)
    assert _auc(assembly, rows[:2], lambda row: row.chances) is None


def test_absent_is_a_value_that_must_be_read_too() -> None:
    truth: list[Mapping[str, Value]] = [
        {"colour": "red", "weight": None},
        {"colour": None, "weight": 50.0},
        {"colour": "green", "weight": 51},
    ]
    read: list[Mapping[str, Value]] = [
        {"colour": "red", "weight": None},  # both right
        {"colour": "red", "weight": 50},  # a colour that nobody said
        {"colour": "green", "weight": None},  # a weight that was overlooked
    ]
    domain = [
        AskedQuestion(identity=str(n), schema="fruit", question=str(n), features=features, label="1")
        for n, features in enumerate(truth)
    ]
    report = _reader_report(domain, [_row("1", None, {}, facts) for facts in read])
    assert report["exact_match"] == pytest.approx(4 / 6)
    assert report["per_feature"] == pytest.approx({"colour": 2 / 3, "weight": 2 / 3})


@pytest.fixture(scope="module")
def assembly(
    make_tiny_llm: Callable[[str], Path], tiny_encoder: Path, toy_schema: Schema, make_seat: Callable[..., Seat]
) -> AssembledLlamdex:
    base = load_base_llm(str(make_tiny_llm("llama")))
    made = AssembledLlamdex(
        base, Reader.untrained(tiny_encoder, [toy_schema], layers=1), Injector(base.width, 0.2, base.digest)
    )
    made.seat("fruit", make_seat(toy_schema, "orchard", 1))
    return made


def _asked(count: int) -> list[AskedQuestion]:
    domain = [
        AskedQuestion(
            identity=f"q{n}",
            schema="fruit",
            question=f"A red fruit of {50 + n} grams. Ripe?",
            features={"colour": "red", "weight": 50 + n},
            label="10"[n % 2],
            asker="orchard" if n % 2 else None,
        )
        for n in range(count)
    ]
    plain = AskedQuestion(identity="o", schema=None, question="Capital of France?", features={}, label=None)
    return [*domain, plain]


@pytest.mark.parametrize("route", [100.0, -100.0])
def test_an_evaluation_reports_everything_routed_or_not(assembly: AssembledLlamdex, route: float) -> None:
    assembly.reader.network.vocabulary("fruit").route_bias.data.fill_(route)
    told: list[tuple[int, int]] = []
    report = evaluate(
        assembly, _asked(10), timed=1, base_asked=3, on_question=lambda done, total: told.append((done, total))
    )
    json.dumps(report, allow_nan=False)
    assert told[-1] == (10, 10)
    assert report["questions"] == 11
    assert [answer["id"] for answer in report["answers"]] == [f"q{n}" for n in range(10)]
    routed = route > 0
    assert report["routing"] == {
        "accuracy": 10 / 11 if routed else 1 / 11,
        "correct_rate": 1.0 if routed else 0.0,
        "false_route_rate": 1.0 if routed else 0.0,
    }
    assert (report["calibration_error"] is not None) == routed
    assert (report["injection_gap"] is not None) == routed
    latency = report["latency"]
    for timed in (latency, latency["first_token"], latency["per_token"]):
        assert all(math.isfinite(timed[key]) for key in ("base_ms", "assembled_ms", "ratio"))
    assert 0.0 <= report["expert_auc_true_features"] <= 1.0
    assert set(report["reader"]["per_feature"]) == {"colour", "weight"}
    target = assembly.schema("fruit").target
    sentences = dict(zip(target.labels, worded_sentences(target), strict=True))
    right = [answer["text"].startswith(sentences[answer["label"]]) for answer in report["answers"]]
    assert report["answer_accuracy"] == pytest.approx(sum(right) / 10)


def test_an_unrouted_question_of_one_schema_is_timed_for_its_own(
    make_tiny_llm: Callable[[str], Path], tiny_encoder: Path, toy_schema: Schema, make_seat: Callable[..., Seat]
) -> None:
    """The likeliest schema of an unrouted question may be another one, with other features."""
    from dataclasses import replace  # noqa: PLC0415 - one test's own

    other = replace(toy_schema, name="stone", features=(replace(toy_schema.features[0], name="hue"),))
    base = load_base_llm(str(make_tiny_llm("llama")))
    reader = Reader.untrained(tiny_encoder, [toy_schema, other], layers=1)
    reader.network.vocabulary("fruit").route_bias.data.fill_(-200.0)
    reader.network.vocabulary("stone").route_bias.data.fill_(-100.0)
    assembly = AssembledLlamdex(base, reader, Injector(base.width, 0.2, base.digest))
    assembly.seat("fruit", make_seat(toy_schema, "orchard"))
    report = evaluate(assembly, _asked(1), timed=1, base_asked=0)
    assert report["latency"]["ratio"] > 0
    assert report["base_llm_accuracy"] is None


def test_the_base_llm_alone_is_judged_by_its_words_and_by_its_likelier_outcome(
    assembly: AssembledLlamdex, toy_schema: Schema
) -> None:
    asked = [question for question in _asked(5) if question.schema]
    found = evaluate_base(assembly.base, {"fruit": toy_schema}, asked)
    base, first_ids = assembly.base, [assembly.base.answer_ids(s)[0] for s in toy_schema.target.sentences]
    spoken, chosen = [], []
    for question in asked:  # one by one, unpadded
        ids_BT = base.prompt_ids(question.question)
        with torch.inference_mode():
            likelier = base.model(ids_BT).logits[0, -1, first_ids].argmax()
            said = base.model.generate(ids_BT, max_new_tokens=24, do_sample=False)[0, ids_BT.shape[1] :]
        text = base.tokenizer.decode(said, skip_special_tokens=True)
        spoken.append(said_answer(text, toy_schema) == question.label)
        chosen.append(toy_schema.target.labels[int(likelier)] == question.label)
    assert found == {"questions": 5, "accuracy": sum(spoken) / 5, "forced_choice_accuracy": sum(chosen) / 5}
    assert evaluate_base(base, {"fruit": toy_schema}, []) == {
        "questions": 0,
        "accuracy": None,
        "forced_choice_accuracy": None,
    }


def test_questions_that_nobody_here_answers_leave_the_figures_open(assembly: AssembledLlamdex) -> None:
    report = evaluate(assembly, _asked(0))
    assert report["answer_accuracy"] is None
    assert report["reader"] == {"exact_match": None, "per_feature": {}}
    nothing = {"base_ms": None, "assembled_ms": None, "ratio": None}
    assert report["latency"] == {**nothing, "first_token": nothing, "per_token": nothing, "tokens": 16}


def test_only_an_outcomes_sentence_is_an_answer(assembly: AssembledLlamdex) -> None:
    """What counts is the outcome that the speaker found stated, and not what the words look like."""
    target = assembly.schema("fruit").target
    chances = dict.fromkeys(target.answers, 0.5)
    said = [
        _row_of(
            assembly,
            _asked(1)[0],
            Answer(
                text=target.sentences[0],
                schema="fruit",
                probabilities=chances,
                expert_probabilities=chances,
                silos=(),
                facts={},
                stated=stated,
            ),
        ).said
        for stated in (*target.labels, None)
    ]
    assert said == [*target.labels, None]


def test_a_question_that_is_too_long_is_named_before_anything_is_asked(
    assembly: AssembledLlamdex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "answer_all", lambda *_, **__: pytest.fail("something was asked"))
    first, second, *_ = _asked(2)
    long = replace(second, question="well " * 400 + second.question)
    with pytest.raises(InputError, match="q1"):
        evaluate(assembly, [first, long])
