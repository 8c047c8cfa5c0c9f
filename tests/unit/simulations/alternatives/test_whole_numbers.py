"""Records as whole numbers: nothing but a number's place in its bin is lost, and the schema alone decides."""

import numpy as np
import pytest

from llamdex_fl.experts import encode, number_edges
from llamdex_fl.schema import Feature, library_names, load_library_schema
from simulations.alternatives.whole_numbers import columns, from_whole_numbers, to_whole_numbers
from simulations.datasets import LabelledRecord
from simulations.datasets.synthetic_tables import synthetic_table


@pytest.mark.parametrize("seed", range(6))
def test_coding_what_was_decoded_gives_the_same_numbers(seed: int) -> None:
    table = synthetic_table(seed, 80)
    numbers = to_whole_numbers(table.schema, table.records)
    assert numbers.min() >= 0
    assert (numbers.max(axis=0) < list(columns(table.schema).values())).all()
    again = from_whole_numbers(table.schema, numbers, 1)
    np.testing.assert_array_equal(to_whole_numbers(table.schema, again), numbers)
    for record in again:
        assert all(table.schema.feature(name).contains(value) for name, value in record.features.items())


@pytest.mark.parametrize("name", ["heart", "titanic", "wine", "bank", "nursery"])
def test_every_code_of_a_library_schema_is_a_value(name: str) -> None:
    assert name in library_names()
    schema = load_library_schema(name)
    sizes = list(columns(schema).values())
    random = np.random.default_rng(0)
    table = np.column_stack([random.integers(size, size=200) for size in sizes])
    again = from_whole_numbers(schema, table, 1)
    np.testing.assert_array_equal(to_whole_numbers(schema, again), table)


def test_absent_stays_absent_and_short_integers_are_exact() -> None:
    schema = load_library_schema("titanic")
    few = [LabelledRecord(features={"siblings_spouses": number}, label=1) for number in range(9)]
    again = from_whole_numbers(schema, to_whole_numbers(schema, few), 1)
    assert [record.features for record in again] == [record.features for record in few]


def test_edges_are_where_the_experts_codes_turn() -> None:
    schema = load_library_schema("titanic")
    for feature in schema.features:
        if feature.is_category:
            continue
        edges = number_edges(feature)
        assert (edges[0], edges[-1]) == feature.low_high()
        start = sum(_width(own) for own in schema.features[: schema.features.index(feature)])
        for place, edge in enumerate(edges[1:-1]):
            code = encode(schema, [{feature.name: float(edge)}])[0, start + place]
            assert code == pytest.approx(0.0, abs=1e-5)


def _width(feature: Feature) -> int:
    return (len(feature.categories) if feature.is_category else 9) + 1
