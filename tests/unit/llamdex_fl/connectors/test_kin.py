"""Relatives that are counted one by one make one number, those of each generation their own."""

import pytest

from llamdex_fl.connectors.numbers import find_numbers, values_for
from llamdex_fl.schema import Feature

_COUNT = Feature(name="siblings", kind="integer", description="d", bounds=(0.0, 10.0))


def _sums(text: str) -> list[tuple[str, float]]:
    return [(text[n.start : n.end], n.value) for n in find_numbers(text) if n.composite and n.unit is None]


@pytest.mark.parametrize(
    ("text", "sums"),
    [
        ("with two brothers and a sister", [("two brothers and a sister", 3)]),
        ("his wife, two sons and a daughter", [("two sons and a daughter", 3)]),
        ("one daughter, 8 sons and her mother", [("one daughter, 8 sons and her mother", 10)]),
        ("two of her sons and a little daughter", [("two of her sons and a little daughter", 3)]),
        ("both parents and a baby", [("both parents and a baby", 3)]),
        ("my wife Anna (34), brother Karl", [("my wife Anna (34), brother", 2)]),
        ("a half-brother and two kid sisters", [("a half-brother and two kid sisters", 3)]),
        ("his mother, two brothers and his father", []),
        ("the mother of two sons and a daughter", [("two sons and a daughter", 3)]),
        ("two brothers; a sister", []),
        ("his brother (31) and the brother's wife", []),
        ("two brothers", []),
        ("no brother, sister or spouse", []),
        ("counting mother, father, sons and daughters", []),
        ("brothers/sisters/spouse 2", []),
    ],
)
def test_what_people_write(text: str, sums: list[tuple[str, float]]) -> None:
    assert _sums(text) == sums


def test_a_sum_is_a_count_and_its_parts_are_none() -> None:
    numbers = find_numbers("four sons and 1 daughter, fare 7")
    assert values_for(numbers, _COUNT) == [5, None, None, 7]
    age = Feature(name="age", kind="integer", description="d", bounds=(0.0, 100.0), unit="years")
    share = Feature(name="share", kind="number", description="d", bounds=(0.0, 100.0))
    assert values_for(numbers, age)[0] is None
    assert values_for(numbers, share)[0] is None
