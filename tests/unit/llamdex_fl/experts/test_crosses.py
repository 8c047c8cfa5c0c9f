"""Codes of pairs of categories, and which architecture a schema asks for."""

import itertools
from collections.abc import Sequence

import numpy as np

from llamdex_fl.experts import (
    THERMOMETER_CROSSES,
    THERMOMETER_LARGE,
    THERMOMETER_LINEAR,
    code_length,
    code_records,
    encode,
    recommended_architecture,
    tensor_shapes,
)
from llamdex_fl.schema import Feature, Schema, Target, Value, load_library_schema

NURSERY = load_library_schema("nursery")


def schema(sizes: Sequence[int], *, number: bool = False) -> Schema:
    features = [
        Feature(name=f"f{place}", kind="category", description="d", categories=tuple(map(str, range(size))))
        for place, size in enumerate(sizes)
    ]
    if number:
        features.insert(1, Feature(name="n", kind="number", description="d", bounds=(0.0, 1.0)))
    target = Target(name="t", labels=("a", "b"), answers=("a", "b"), sentences=("a", "b"))
    return Schema(name="s", title="S", question="?", features=tuple(features), target=target)


def test_a_pairs_codes_are_products_of_the_features_own() -> None:
    two = schema([2, 3], number=True)
    record: dict[str, Value] = {"f0": "1", "n": 0.3, "f1": "2"}
    codes = code_records(THERMOMETER_CROSSES, two, [record])[0]
    own = encode(two, [record])[0]
    np.testing.assert_array_equal(codes[: len(own)], own)
    expected = np.outer([-1 / 2, 1 / 2], [-1 / 3, -1 / 3, 2 / 3]).ravel()
    np.testing.assert_allclose(codes[len(own) :], expected, atol=1e-6)


def test_pairs_say_nothing_that_single_features_say() -> None:
    three = schema([2, 3, 4])
    records = [
        {f"f{place}": str(value) for place, value in enumerate(values)}
        for values in itertools.product(range(2), range(3), range(4))
    ]
    codes = code_records(THERMOMETER_CROSSES, three, records).astype(float)
    own = encode(three, records).shape[1]
    np.testing.assert_allclose(codes[:, :own].T @ codes[:, own:], 0.0, atol=1e-5)


def test_an_absent_category_has_no_pairs() -> None:
    codes = code_records(THERMOMETER_CROSSES, schema([2, 3]), [{"f0": "1"}, {}])
    np.testing.assert_array_equal(codes[:, 7:], 0.0)


def test_the_nursery_has_343_codes_and_eight_for_absence() -> None:
    assert tensor_shapes(THERMOMETER_CROSSES, NURSERY)["weight"] == (4, 343 + 8)


def test_the_length_of_codes_is_exact_where_all_are_categories() -> None:
    record = {feature.name: feature.categories[-1] for feature in NURSERY.features}
    for architecture in (THERMOMETER_LINEAR, THERMOMETER_CROSSES):
        length = np.linalg.norm(code_records(architecture, NURSERY, [record]))
        assert abs(code_length(architecture, NURSERY) - length) < 1e-5


def test_pairs_are_for_few_categories_and_no_numbers() -> None:
    assert recommended_architecture(NURSERY) == THERMOMETER_CROSSES
    assert recommended_architecture(NURSERY, 16384) == recommended_architecture(NURSERY, 4096) == THERMOMETER_CROSSES
    assert recommended_architecture(NURSERY, 2048) == recommended_architecture(NURSERY, 0) == THERMOMETER_LARGE
    assert recommended_architecture(schema([3, 3], number=True)) == THERMOMETER_LARGE
    assert recommended_architecture(schema([12] * 10)) == THERMOMETER_LARGE
    for name in ("titanic", "heart", "wine", "bank", "pima"):
        assert recommended_architecture(load_library_schema(name)) == THERMOMETER_LARGE
