"""The coding of records: schema only, bounded, absent has a code of its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamdex_fl.errors import InputError, RecordError
from llamdex_fl.experts import coded_size, encode
from llamdex_fl.schema import Feature, Schema, Target, Value, load_library_schema

HEART = load_library_schema("heart")
TARGET = Target(name="t", labels=("a", "b"), answers=("A", "B"), sentences=("A.", "B."))


def schema_of(*features: Feature) -> Schema:
    return Schema(name="s", title="S", question="?", features=features, target=TARGET)


def number(low: float, high: float) -> Feature:
    return Feature(name="x", kind="number", description="x", bounds=(low, high))


@st.composite
def features(draw: st.DrawFn, name: str) -> Feature:
    if draw(st.booleans()):
        count = draw(st.integers(2, 6))
        return Feature(name=name, kind="category", description=name, categories=tuple(f"c{i}" for i in range(count)))
    low = draw(st.floats(-1e5, 1e5))
    span = draw(st.floats(1e-3, 1e6))
    return Feature(name=name, kind="number", description=name, bounds=(low, low + span))


@st.composite
def schemas_with_records(draw: st.DrawFn) -> tuple[Schema, list[dict[str, Value]]]:
    schema = schema_of(*[draw(features(f"f{i}")) for i in range(draw(st.integers(1, 5)))])
    records: list[dict[str, Value]] = []
    for _ in range(draw(st.integers(1, 6))):
        record: dict[str, Value] = {}
        for feature in schema.features:
            if draw(st.booleans()):
                record[feature.name] = (
                    draw(st.sampled_from(feature.categories))
                    if feature.is_category
                    else draw(st.floats(*feature.low_high()))
                )
        records.append(record)
    return schema, records


@given(schemas_with_records())
def test_codes_are_bounded_and_a_record_is_coded_alone(given_: tuple[Schema, list[dict[str, Value]]]) -> None:
    schema, records = given_
    codes = encode(schema, records)
    assert codes.shape == (len(records), coded_size(schema))
    assert codes.dtype == np.float32
    assert np.isfinite(codes).all()
    assert np.abs(codes).max() <= 1.0
    # No statistic of the other records enters: each alone has the same codes, bit by bit.
    for row, record in enumerate(records):
        assert (encode(schema, [record])[0] == codes[row]).all()


@given(schemas_with_records())
def test_absent_has_its_own_code_and_nothing_else(given_: tuple[Schema, list[dict[str, Value]]]) -> None:
    schema, records = given_
    codes = encode(schema, records)
    start = 0
    for feature in schema.features:
        size = (len(feature.categories) if feature.is_category else 9) + 1
        block = codes[:, start : start + size]
        start += size
        for row, record in enumerate(records):
            if feature.name in record:
                assert block[row, -1] == 0.0
            else:
                assert block[row, -1] == 0.5
                assert (block[row, :-1] == 0.0).all()


@given(
    st.sampled_from([(0.0, 1.0), (18.0, 100.0), (0.0, 600.0), (-10000.0, 110000.0), (-3.0, 7.0)]),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_numbers_keep_their_order(bounds: tuple[float, float], first: float, second: float) -> None:
    low, high = bounds
    small, large = sorted((low + first * (high - low), low + second * (high - low)))
    codes = encode(schema_of(number(low, high)), [{"x": min(small, high)}, {"x": min(large, high)}])
    assert (codes[0] <= codes[1]).all()


def test_a_wide_range_is_logarithmic_and_a_narrow_one_is_not() -> None:
    wide = encode(schema_of(number(0, 600)), [{"x": 10}, {"x": 30}])
    narrow = encode(schema_of(number(0, 100)), [{"x": 1}, {"x": 3}])
    assert np.abs(wide[0] - wide[1]).sum() > 0.5
    assert np.abs(narrow[0] - narrow[1]).sum() < 0.1


def test_the_ends_and_the_middle() -> None:
    codes = encode(schema_of(number(0, 10)), [{"x": 0}, {"x": 10}, {"x": 5}])
    assert codes[0, 1:9].tolist() == [-0.5] * 8
    assert codes[1, :8].tolist() == [0.5] * 8
    np.testing.assert_allclose(codes[2, :9], -codes[2, 8::-1], atol=1e-6)


def test_a_category_is_centred() -> None:
    feature = Feature(name="x", kind="category", description="x", categories=("a", "b", "c"))
    codes = encode(schema_of(feature), [{"x": "b"}])
    np.testing.assert_allclose(codes[0], [-1 / 3, 2 / 3, -1 / 3, 0], atol=1e-6)


def test_numbers_beyond_the_range_are_moved_to_its_end() -> None:
    codes = encode(HEART, [{"age": 140}, {"age": 100}, {"age": 2}, {"age": 18}])
    assert (codes[0] == codes[1]).all()
    assert (codes[2] == codes[3]).all()


@pytest.mark.parametrize(
    "record",
    [{"sex": "SECRET"}, {"sex": 1}, {"age": "SECRET"}, {"age": float("nan")}, {"age": True}, {"SECRET": 1}],
)
def test_what_does_not_fit_is_refused_without_its_value(record: dict[str, Value]) -> None:
    with pytest.raises(RecordError) as refused:
        encode(HEART, [{}, record])
    assert "Record 2" in str(refused.value)
    assert "SECRET" not in str(refused.value)


def test_size() -> None:
    assert coded_size(HEART) == 5 * 10 + 3 + 5 + 3 + 4 + 3
    assert encode(HEART, []).shape == (0, coded_size(HEART))


def test_texts_have_no_such_coding() -> None:
    with pytest.raises(InputError, match="are texts"):
        encode(load_library_schema("sentiment"), [{"text": "good"}])
