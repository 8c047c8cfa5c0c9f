"""Pounds, shillings and pence: one number in pounds, and nothing where no such amount is written."""

import pytest

from llamdex_fl.connectors.numbers import find_numbers, values_for
from llamdex_fl.schema import Feature

_FARE = Feature(name="fare", kind="number", description="d", bounds=(0.0, 600.0), unit="pounds")
_LENGTH = Feature(name="length", kind="integer", description="d", bounds=(0.0, 600.0), unit="seconds")


def _fares(text: str) -> list[float]:
    return [value for value in values_for(find_numbers(text), _FARE) if value is not None]


@pytest.mark.parametrize(
    ("text", "fares"),
    [
        ("paid £7 5s", [7.25]),
        ("£7 5s 6d. and 2 trunks", [7.275, 2.0]),
        ("£7. 5s. 6d.", [7.275]),
        ("7 pounds 5 shillings", [7.25]),
        ("seven pounds, five shillings and six pence", [7.275]),
        ("£7 17s 11d", [7.8958]),
        ("seven pounds, seventeen shillings and sixpence", [7.875]),
        ("£5 2s and tuppence, a sixpence", [5.1083]),
        ("£7/5/6, £7-5-6, £7.5.6", [7.275, 7.275, 7.275]),
        ("£8 1s", [8.05]),
        ("8 guineas", [8.4]),
        ("fifteen shillings", [0.75]),
        ("12s 6d", [0.625]),
        ("6 pence", [0.025]),
        ("nine pounds and three pence", [9.0125]),
        ("£26, aged 30", [26.0, 30.0]),
        ("26 pounds and 2 children", [26.0, 2.0]),
        ("£7.25 and 7.25 pounds", [7.25, 7.25]),
    ],
)
def test_what_people_write(text: str, fares: list[float]) -> None:
    assert _fares(text) == fares


def test_seconds_stay_seconds() -> None:
    numbers = find_numbers("he ran 5s, and then 12 s")
    assert [value for value in values_for(numbers, _LENGTH) if value is not None] == [5.0, 12.0]
    assert _fares("he ran 5s") == []


def test_an_amount_is_nothing_but_money() -> None:
    assert [value for value in values_for(find_numbers("£7 5s"), _LENGTH) if value is not None] == [7.0, 5.0]


def test_no_amount_is_too_large_to_look_at() -> None:
    assert _fares("1" * 300 + " shillings") == []
