"""Forms of slots: what is written in one is found again, with the value that a feature in its unit takes."""

import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llamdex_fl.connectors.numbers import find_numbers, values_for
from llamdex_fl.connectors.old_money import in_pounds
from llamdex_fl.connectors.questions import QuestionGenerator, load_wording
from llamdex_fl.connectors.questions.saying import FORMS_OF_NUMBERS, can_say, fits, months_of, other_numbers, say
from llamdex_fl.errors import SchemaError
from llamdex_fl.schema import Feature, Schema

_BOUNDS = (-1e6, 1e6)
_DURATION = Feature(name="duration", kind="integer", description="d", bounds=_BOUNDS, unit="seconds")
_AGE = Feature(name="age", kind="number", description="d", bounds=(0.0, 100.0), unit="years")
_ACID = Feature(name="acid", kind="number", description="d", bounds=(0.0, 100.0), unit="g/l")
_LIPID = Feature(name="cholesterol", kind="integer", description="d", bounds=(80, 620), unit="mg/dl")
_PRESSURE = Feature(name="pressure", kind="integer", description="d", bounds=(70, 220), unit="mm Hg")
_FARE = Feature(name="fare", kind="number", description="d", bounds=(0.0, 600.0), unit="pounds")
_COUNT = Feature(name="day", kind="integer", description="d", bounds=(0.0, 100.0))
_FEATURES = {
    "duration": _DURATION,
    "months": _AGE,
    "milli": _ACID,
    "molar": _LIPID,
    "centimetres": _PRESSURE,
    "sterling": _FARE,
    "ordinal": _COUNT,
    "times": _COUNT,
}
_VALUES = {
    "duration": st.integers(0, 20_000).map(float),
    "months": st.integers(1, 36).map(lambda months: round(months / 12, 2)),
    "milli": st.integers(0, 100_000).map(lambda tenths: float(Decimal(tenths) / 10_000)),
    "molar": st.integers(21, 160).map(lambda tenths: float(round(tenths * 3.8665))),
    "centimetres": st.integers(70, 220).map(float),
    "sterling": st.integers(1, 600 * 240 - 1).filter(lambda pence: pence % 240).map(in_pounds),
    "ordinal": st.integers(1, 99).map(float),
    "times": st.integers(1, 99).map(float),
}
_AROUND = ("{}", "It was {}.", "({})", "value: {}, and so on", "- {}\n- next", "the {} then")


@pytest.mark.parametrize("form", FORMS_OF_NUMBERS)
def test_what_a_form_says_is_found_with_its_value(form: str) -> None:
    @given(value=_VALUES[form], seed=st.integers(0, 2**32), worded=st.sampled_from([0.0, 0.3, 1.0]))
    def check(value: float, seed: int, worded: float) -> None:
        assert can_say(form, value)
        text = say(form, value, random.Random(seed), worded=worded)
        for around in _AROUND:
            said = around.format(text)
            start = around.index("{")
            numbers = find_numbers(said)
            # No other number may be a value: "4 minutes and 5 seconds" says neither 4 nor 5 nor 240.
            read = [
                own
                for number, own in zip(numbers, values_for(numbers, _FEATURES[form]), strict=True)
                if own is not None and number.start < start + len(text)
            ]
            assert set(read) == {value}, said

    check()


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(0.0)
@example(-1.0)
@example(3.01)
def test_a_form_that_cannot_say_a_value_says_so(value: float) -> None:
    assert can_say("duration", value) == (value.is_integer() and 0 <= value <= 1e6)
    assert can_say("ordinal", value) == (value.is_integer() and 1 <= value <= 99)
    assert can_say("times", value) == can_say("ordinal", value)
    assert can_say("months", value) == (value in {round(months / 12, 2) for months in range(1, 37)})


def test_absent_values_and_categories_cannot_be_said() -> None:
    assert not any(can_say(form, value) for form in FORMS_OF_NUMBERS for value in (None, "red"))


def test_pounds_alone_are_said_plainly_and_other_decimals_too() -> None:
    assert can_say("sterling", 7.8958)  # £7 17s 11d
    assert not any(can_say("sterling", pounds) for pounds in (0.0, 26.0, 7.33, -7.5))


def test_a_number_between_two_bounds_is_no_features_own() -> None:
    rng = random.Random(0)
    said = [other_numbers("BP 130/{n:55-105}, HbA1c {n:4.9-6.2}", rng) for _ in range(50)]
    found = [find_numbers(text.replace("/", ", ")) for text in said]
    assert all(55 <= numbers[1].value <= 105 and 4.9 <= numbers[-1].value <= 6.2 for numbers in found)
    assert len(set(said)) > 40


def test_milligrams_are_exact_or_not_said() -> None:
    assert can_say("milli", 0.0955)
    assert not can_say("milli", 0.09555)
    assert not can_say("milli", -0.1)


def test_months_are_those_of_passenger_lists() -> None:
    assert [months_of(years) for years in (0.08, 0.42, 0.92, 1.0, 1.5, 3.0, 3.08, 0.0, 0.9)] == [
        1, 5, 11, 12, 18, 36, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize("form", FORMS_OF_NUMBERS)
def test_a_form_fits_what_it_can_measure(form: str) -> None:
    assert fits(form, _FEATURES[form])
    other = replace(_FEATURES[form], unit="mm Hg", kind="number")
    category = Feature(name="c", kind="category", description="d", categories=("1", "2"))
    assert not fits(form, other)
    assert not fits(form, category)
    assert not fits("haiku", _FEATURES[form])


def test_the_writers_vary() -> None:
    rng = random.Random(0)
    least = {"duration": 20, "months": 8, "milli": 4, "sterling": 8, "ordinal": 2, "times": 2}
    values = {"duration": 246.0, "months": 1.5, "milli": 0.095, "sterling": 7.275, "ordinal": 23.0}
    values["times"] = 3.0
    for form, ways in least.items():
        assert len({say(form, values[form], rng) for _ in range(600)}) >= ways, form


_TOY = Path(__file__).parents[3] / "fixtures" / "fruit.toml"


def _toy(tmp_path: Path, old: str, new: str) -> Path:
    text = _TOY.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "fruit.toml").write_text(text.replace(old, new), encoding="utf-8")
    return tmp_path / "fruit.toml"


@pytest.mark.parametrize("form", ["duration", "months", "milli", "molar", "centimetres", "haiku", ""])
def test_a_form_that_does_not_fit_is_refused_with_its_place(tmp_path: Path, toy_schema: Schema, form: str) -> None:
    path = _toy(tmp_path, "{he} weighs {v} grams", f"{{he}} weighs {{v:{form}}}")
    with pytest.raises(SchemaError, match="weighs") as refusal:
        load_wording(toy_schema, path)
    assert "form" in refusal.value.expected


def test_a_form_is_taken_only_for_values_that_it_can_say(tmp_path: Path, toy_schema: Schema) -> None:
    schema = replace(
        toy_schema, features=(toy_schema.features[0], replace(toy_schema.features[1], bounds=(1.0, 400.0), unit=None))
    )
    path = _toy(tmp_path, '"{he} weighs {v} grams"', '"{he} {is} the {v:ordinal} of them"')
    joint = '\n[[joint]]\nform = "clause"\ntext = ["as red as the {weight:ordinal}"]\nstates = { colour = "red" }\n'
    path.write_text(path.read_text(encoding="utf-8") + joint, encoding="utf-8")
    generator = QuestionGenerator(load_wording(schema, path), noise=0.0)
    for weight, wanted in ((23, True), (99, True), (100, False), (230, False)):
        texts = [generator.ask({"colour": "red", "weight": weight}, random.Random(seed)).text for seed in range(60)]
        for phrase in (" of them", "as red as the "):
            assert any(phrase in text.lower() for text in texts) == wanted, (weight, phrase)
