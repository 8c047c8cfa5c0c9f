"""Levels that decide a category: the number is compared, whatever unit it has."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llamdex_fl.connectors.numbers import find_numbers
from llamdex_fl.connectors.questions import Question
from llamdex_fl.connectors.reader import Reader
from llamdex_fl.connectors.reader.training import choices_of
from llamdex_fl.connectors.thresholds import said_by
from llamdex_fl.schema import Feature, load_library_schema

_SUGAR = load_library_schema("heart").feature("fasting_blood_sugar_high")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FBG 104", ["no"]),
        ("FBG 146 mg/dl", ["yes"]),
        ("119, 121", ["no", "yes"]),
        ("5.1 mmol/l, 7.9 mmol/L, 7 mmol/l", ["no", "yes", "yes"]),
        ("fasting 5.6, later 9.4", ["no", "yes"]),
        ("1.26 g/L", ["yes"]),
        ("above 120 mg/dl, not over 6.7 mmol/l", [None, None]),
        ("1 of 3, in 2019, 0.8, 150 mm Hg, 90 days", [None, None, None, None, None, None]),
    ],
)
def test_a_level_says_the_category(text: str, said: list[str | None]) -> None:
    assert said_by(find_numbers(text), _SUGAR) == said


def test_a_limit_may_be_one_from_below_and_other_categories_have_none() -> None:
    low = replace(_SUGAR, description="haemoglobin below 12 g/dl")
    assert said_by(find_numbers("11 g/dl, 13.5, 120 g/l"), low) == ["yes", "no", None]
    for other in (
        replace(_SUGAR, description="fasting blood sugar"),
        replace(_SUGAR, categories=("low", "high")),
        Feature(name="c", kind="category", description="above 3", categories=("3", "4")),
    ):
        assert said_by(find_numbers("104 and 4"), other) == [None, None]


def test_the_reader_learns_to_point_at_the_level_and_reads_the_category_from_it(tiny_encoder: Path) -> None:
    torch.manual_seed(random.Random(0).randrange(100))
    schema = load_library_schema("heart")
    reader = Reader.untrained(tiny_encoder, [schema], layers=1)
    text = "cholesterol 263, FBG 104"
    features = dict.fromkeys([feature.name for feature in schema.features]) | {
        "cholesterol": 263.0,
        "fasting_blood_sugar_high": "no",
    }
    spans = {"cholesterol": [(12, 15)], "fasting_blood_sugar_high": [(0, len(text))]}
    batch = reader.batch([text])
    logits = reader.network.read(reader.encode(batch), "heart", reader.allowed(batch, schema))
    right = choices_of(reader, batch, [Question(text, features, spans)], "heart", logits)[0]
    place = [feature.name for feature in schema.features].index("fasting_blood_sugar_high")
    assert right[place].nonzero().flatten().tolist() == [1]  # the second number, and none of the words
