"""Numbers in running text: what is written is found, and nothing is made up in between."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llamdex_fl.connectors.numbers import find_numbers, value_for, values_for, write_number
from llamdex_fl.schema import Feature

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
        ("a hundred and thirty-eight", [138]),
        ("hundred and twenty over seventy", [120, 70]),
        ("a thousand and a few hundred", [1000]),
        ("a few hundred and ten", [10]),
        ("it went up by hundreds", []),
        ("one forty", [140, 1, 40]),
        ("two-seventeen", [217, 2, 17]),
        ("one forty three over ninety", [143, 1, 43, 90]),
        ("two oh four", [204, 2, 4]),
        ("one three five", [135, 1, 3, 5]),
        ("point eight mm, at this point one", [0.8, 8, 0.1, 1]),
        ("the point", []),
        ("two, forty of them", [2, 40]),
        ("1 forty", [1, 40]),
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
        ("two sisters and three brothers", [5, 2, 3]),
        ("one of them was alone", [1]),
        ("someone often weighed stones", []),
        ("no number at all", []),
        ("the 14th, the fourteenth, the Twenty-Third, 1st and 101st", [14, 14, 23, 1, 101]),
        ("the second of May", [2]),
        ("a second call, every second pear, 5 second delay", [5]),
        ("once, twice or thrice", [1, 2, 3]),
        ("three quarters full, a quarter of a pint", [0.75, 0.25]),
        ("two and three quarters, one-and-a-quarter, 5\u00be, 1 1/2", [2.75, 1.25, 5.75, 1.5]),
        ("a dozen, two dozen, half a dozen", [12, 24, 6]),
        ("1.467 EUR, \u20ac 12.500, 1.467,50, 3.456 euro", [1467, 12500, 1467.5, 3456]),
        ("1.467 of it, 0.125 EUR, \u00a37.925", [1.467, 0.125, 7.925]),
        ("2k, 2.5K and 5 k", [2000, 2500, 5]),
        ("4 grand, four grand, 21 thousand, 1.5 thousand", [4000, 4000, 21000, 1500]),
        ("EUR 1 945, 12 450 euros, 1 945,50 \u20ac", [1945, 12450, 1945.5]),
        ("12 450 and 2014 300 euros", [12, 450, 2014, 300]),
        ("nil and zero", [0, 0]),
        ("fourty and ninty", [40, 90]),
        ("overdrawn by 250, overdrawn by -30, in the red by EUR 20", [-250, -30, -20]),
        ("-\u00a330, minus \u20ac5, an hour-\u20ac6", [-30, -5, 6]),
    ],
)
def test_what_people_write(text: str, values: list[float]) -> None:
    assert [number.value for number in find_numbers(text)] == values


def test_a_long_text_takes_time_in_proportion() -> None:
    """It took quadratic time: half a minute for 40 kB. Counted in characters searched, not in seconds."""
    text = "1 " * 200_000
    assert len(find_numbers(text)) == 200_000
    assert [number.value for number in find_numbers("minus 3 and negative  2, minus of 4")] == [-3, -2, 4]


def _feature(unit: str | None, kind: str = "number", bounds: tuple[float, float] = (-1e9, 1e9)) -> Feature:
    return Feature(
        name="f", kind="integer" if kind == "integer" else "number", description="d", bounds=bounds, unit=unit
    )


def _read(text: str, feature: Feature) -> list[float]:
    return [value for value in values_for(find_numbers(text), feature) if value is not None]


@pytest.mark.parametrize(
    "text",
    [
        "4 minutes and 5 seconds",
        "4 min 5 s",
        "4min5s",
        "4:05 min",
        "4:05",
        "4m05s",
        "4 m 5 s",
        "Four minutes, five seconds",
        "4 mins plus 5 secs",
        "245 s",
        "two hundred and forty-five seconds",
        "a 245-second call",
        "0:04:05",
    ],
)
def test_a_span_of_time_is_one_value(text: str) -> None:
    assert _read(text, _feature("seconds", "integer")) == [245.0]


@pytest.mark.parametrize(
    ("text", "unit", "values"),
    [
        ("1 hour 2 minutes", "seconds", [3720]),
        ("1h02", "seconds", [3720]),
        ("1:02:05", "seconds", [3725]),
        ("six and a half minutes", "seconds", [390]),
        ("six and a half minutes plus 6 seconds", "seconds", [396]),
        ("an hour and a half", "minutes", [90]),
        ("half a minute", "seconds", [30]),
        ("three quarters of an hour", "minutes", [45]),
        ("a call of twenty-second length", "seconds", [20]),
        ("in a minute and five seconds", "s", [65]),
        ("at 14:30", "seconds", [14, 30]),
        ("called at 2:30 pm", "seconds", [2, 30]),
        ("4 minutes and 75 seconds", "seconds", [240, 75]),
        ("18 months", "years", [1.5]),
        ("an 11-month-old", "years", [0.92]),
        ("a year and a half", "years", [1.5]),
        ("two years and 5 months", "years", [2.42]),
        ("8 weeks old", "years", [0.15]),
        ("a one-year-old, a year old", "years", [1, 1]),
        ("two years and a half brother", "years", [2]),
        ("1.5 years", "months", [18]),
        ("51 y/o, 40 yo, 30 yrs, 20y", "years", [51, 40, 30, 20]),
        ("in his 40s, for 9 minutes", "years", []),
        ("6 weeks, 2 months, a year ago", "days", [42]),
        ("8 minutes 20 on the phone", "seconds", [500]),
        ("one minute five; 3 min. 20 sec.", "seconds", [65, 200]),
        ("5 minutes 12 calls", "seconds", [300, 12]),
        ("half a minute, 25 seconds", "seconds", [30, 25]),
        ("2'14'', 1min05", "seconds", [134, 65]),
        ("it lasted a minute, twice a minute", "seconds", [60, 2]),
        ("95 mg/l", "g/l", [0.095]),
        ("95 milligrams per litre, 95 mg", "g/l", [0.095, 0.095]),
        ("0.042 g/l, 0.042 g", "mg/l", [42, 42]),
        ("42 mg/L", "mg/l", [42]),
        ("2.2 g/l, 220 mg per dl, 220 mg/100 ml", "mg/dl", [220, 220, 220]),
        ("994 g/l, 0.994 g/cm3, 994 kg/m3", "g/ml", [0.994, 0.994, 0.994]),
        ("5 mg/kg, 3 mmol/l", "g/l", [5]),
        ("13.5/8 cmHg", "mm Hg", [135, 80]),
        ("15 over 9 cm Hg, 20 kPa", "mm Hg", [150, 90, 150.01]),
        ("120/80 mmHg", "beats per minute", []),
        ("95 mg/l, 4 minutes", "mm Hg", []),
        ("120 mm Hg, 120", "mm Hg", [120, 120]),
        ("150 beats a minute", "beats per minute", [150]),
        ("39 weeks", "completed weeks", [39]),
        ("18 months, 95 mg/l", None, [18, 95]),
        ("4 minutes and 5 seconds", None, [4, 5]),
        ("her 53rd birthday", "years", [53]),
        ("the 3rd call, first class", "pounds", []),
        ("the 3rd call", None, [3]),
    ],
)
def test_a_number_is_taken_in_the_unit_of_the_feature(text: str, unit: str | None, values: list[float]) -> None:
    feature = _feature(unit)
    found = find_numbers(text)
    assert [value for value in values_for(found, feature) if value is not None] == values
    assert set(values_for(found, feature)) <= {value_for(number, feature) for number in found} | {None}


def test_where_a_composite_is_no_value_its_parts_may_be() -> None:
    assert _read("35 years, 2 months since", _feature("years", "integer", (18, 100))) == [35]
    assert _read("two minutes 30 seconds", _feature("seconds", "integer", (0, 120))) == [120, 30]


def test_millimoles_are_taken_by_the_substance() -> None:
    cholesterol = Feature(name="chol", kind="integer", description="serum cholesterol", bounds=(80, 620), unit="mg/dl")
    assert _read("6.2 mmol/L, 5.4, 217, 3", cholesterol) == [240, 209, 217]
    assert _read("6.2 mmol/L, 2.4 g/l", _feature("mg/dl", "integer", (80, 620))) == [240]
    assert _read("6.2", _feature("mg/dl", "number", (0, 620))) == [6.2]


def test_no_number_is_a_category() -> None:
    (number,) = find_numbers("3")
    assert value_for(number, Feature(name="c", kind="category", description="d", categories=("3", "4"))) is None


@pytest.mark.parametrize(
    "piece", ["4 minutes 5 seconds ", "1:30 ", "a half a ", "two and ", "a year ", "-", "1.467 ", "quarter ", "h1"]
)
def test_long_texts_are_read_piece_by_piece(piece: str) -> None:
    """Twice the text has twice the numbers; a quadratic search would not end within the test's patience."""
    short, long = find_numbers(piece * 4_000), find_numbers(piece * 8_000)
    assert abs(len(long) - 2 * len(short)) <= 4
    assert len(values_for(long, _feature("seconds"))) == len(long)
