"""Numbers in running text: what is written is found, and nothing is made up in between."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llamdex_fl.connectors.numbers import find_numbers, write_number

_PLAIN = st.integers(-99_999, 99_999).map(float) | st.decimals(-9999, 9999, places=2).map(float)


@given(value=_PLAIN | st.floats(-1e15, 1e15), seed=st.integers(0, 2**32), worded=st.sampled_from([0.0, 0.2, 1.0]))
@example(value=-5.5, seed=3, worded=1.0)
@example(value=1e-7, seed=0, worded=1.0)
@example(value=100.0, seed=0, worded=1.0)
@example(value=-0.0, seed=0, worded=0.0)
def test_a_written_number_is_found(value: float, seed: int, worded: float) -> None:
    text = write_number(value, random.Random(seed), worded=worded)
    for around in ("{}", "It is {}.", "({})", "value: {}, and so on", "- {}\n- next", "of {}; then"):
        said = around.format(text)
        found = find_numbers(said)
        assert any(number.value == value for number in found), said


@given(value=_PLAIN, seed=st.integers(0, 2**32), worded=st.sampled_from([0.0, 1.0]))
def test_a_written_number_is_one_number(value: float, seed: int, worded: float) -> None:
    text = write_number(value, random.Random(seed), worded=worded)
    (number,) = find_numbers(f"It was {text} then.")
    assert number.value == value
    assert (number.start, number.end) == (7, 7 + len(text))


@given(st.text())
def test_finding_never_fails_and_stays_within_the_text(text: str) -> None:
    found = find_numbers(text)
    assert all(0 <= number.start < number.end <= len(text) for number in found)
    assert [number.start for number in found] == sorted(number.start for number in found)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a 51-year-old with 2.4 and 1,5", [51, 2.4, 1.5]),
        ("1,234.5 pounds", [1234.5]),
        ("fifty-one", [51]),
        ("two hundred and five", [205]),
        ("three thousand two hundred", [3200]),
        ("thirteen point two", [13.2]),
        ("nought point oh five", [0.05]),
        ("two and a half hours", [2.5]),
        ("half a millimetre", [0.5]),
        ("minus one point five", [-1.5]),
        ("minus 2", [-2]),
        ("it fell to -0.5 mm", [-0.5]),
        ("it fell to \u22120.5 mm", [-0.5]),
        ("5\u00bd", [5.5]),
        ("the years 1912-1915", [1912, 1915]),
        ("BP 120/80", [120, 80]),
        ("53M", [53]),
        ("age 40 \u2013 two sisters", [40, 2]),
        ("forty point two - one parent", [40.2, 1]),
        ("six point six\nSeven sisters", [6.6, 7]),
        ("two sisters and three brothers", [2, 3]),
        ("one of them was alone", [1]),
        ("someone often weighed stones", []),
        ("no number at all", []),
    ],
)
def test_what_people_write(text: str, values: list[float]) -> None:
    assert [number.value for number in find_numbers(text)] == values


def test_a_long_text_takes_time_in_proportion() -> None:
    """It took quadratic time: half a minute for 40 kB. Counted in characters searched, not in seconds."""
    text = "1 " * 200_000
    assert len(find_numbers(text)) == 200_000
    assert [number.value for number in find_numbers("minus 3 and negative  2, minus of 4")] == [-3, -2, 4]
