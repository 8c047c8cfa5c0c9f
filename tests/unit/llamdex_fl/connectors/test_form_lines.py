"""Forms with boxes to tick, numbers that are corrected and numbers as they are spoken."""

import random

import pytest

from llamdex_fl.connectors.loose_hundreds import loosely
from llamdex_fl.connectors.numbers import find_numbers, write_number
from llamdex_fl.connectors.questions import Wording, training_wording
from llamdex_fl.connectors.questions.form_lines import FormStyle, blank_line, form_line, form_style
from llamdex_fl.connectors.questions.slips import slipped, written
from llamdex_fl.schema import load_library_schema


@pytest.fixture(scope="module")
def wording() -> Wording:
    return training_wording(load_library_schema("heart"))


def test_only_the_ticked_box_says_the_category(wording: Wording) -> None:
    rng = random.Random(0)
    for _ in range(50):
        style = FormStyle(("[x]", "[ ]"), 0.0)
        line = form_line(wording, "resting_ecg", "normal", style, rng, marked=lambda _, text: f"<{text}>", number="")
        assert line is not None
        said = line[line.index("<") + 1 : line.index(">")]
        assert "[x]" in said
        assert "[ ]" not in said
        assert line.count("[ ]") == 2
        assert line.count("<") == line.count("[x]") == 1


def test_a_blank_line_says_nothing(wording: Wording) -> None:
    rng = random.Random(0)
    style = FormStyle(("[x]", "[ ]"), 1.0)
    for _ in range(50):
        boxes, number = (
            blank_line(wording, name, style, rng) for name in ("exercise_angina", "resting_blood_pressure")
        )
        assert boxes is not None
        assert "[x]" not in boxes
        assert boxes.count("[ ]") == 2
        assert number is not None
        assert not find_numbers(number.rsplit(":", 1)[1])
    assert blank_line(wording, "age", FormStyle(None, 0.0), rng) is None
    assert {form_style(rng).boxes is None for _ in range(50)} == {True, False}


@pytest.mark.parametrize("value", [0.0, 2.0, 120.0, 1.25, -0.5, 0.1, 999.0])
def test_a_slip_says_another_number(value: float) -> None:
    for seed in range(100):
        slip = slipped(value, random.Random(seed))
        (number,) = find_numbers(slip)
        assert number.value != value, slip
        both = find_numbers(slip + write_number(value, random.Random(seed), worded=0.0))
        assert [one.value for one in both] == [number.value, value], slip


@pytest.mark.parametrize(
    "value", [100.0, 101.0, 110.0, 120.0, 143.0, 204.0, 300.0, 999.0, 51.0, 2.5, 1000.0, 0.8, 0.25]
)
def test_what_is_spoken_loosely_is_found_again(value: float) -> None:
    rng = random.Random(0)
    for _ in range(50):
        full = write_number(value, rng, worded=1.0)
        for said in (loosely(value, full, rng), written(value, rng, worded=1.0)):
            found = find_numbers(f"It was {said} then.")
            assert found[0].value == value, said
            assert found[0].end == 7 + len(said), said


def test_where_the_schema_marks_what_is_missing_a_blank_line_is_empty() -> None:
    bank, rng = training_wording(load_library_schema("bank")), random.Random(0)
    for name in ("job", "days_since_previous", "previous_outcome"):
        for _ in range(20):
            line = blank_line(bank, name, FormStyle(None, 1.0), rng)
            assert line is not None
            assert not line.rsplit(":", 1)[1].strip(" _")
