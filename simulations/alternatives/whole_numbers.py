"""Records as small whole numbers and back, by the public schema alone: what marginals are counted over.

A category is its place; a number is the bin between two thresholds of the expert's own coding, so synthesis knows as
much beforehand as the expert does; an integer of a short range is itself. The last number of each feature is "absent".
The label is a column like any other.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.experts import number_edges
from llamdex_fl.schema import Feature, Schema, Value
from simulations.datasets import LabelledRecord

__all__ = ["columns", "from_whole_numbers", "to_whole_numbers"]

#: Integers of at most so many values are not binned.
_FEW = 16
_LABEL = "label"


def columns(schema: Schema) -> dict[str, int]:
    """The columns, with how many values each has; named by place, since a schema's names may be any text."""
    sizes = {_name(place): _size(feature) + 1 for place, feature in enumerate(schema.features)}
    return {**sizes, _LABEL: len(schema.target.labels)}


def to_whole_numbers(schema: Schema, records: Sequence[LabelledRecord]) -> NDArray[np.int64]:
    """Code records, [n, columns]."""
    table = np.empty((len(records), len(schema.features) + 1), np.int64)
    for column, feature in enumerate(schema.features):
        size = _size(feature)
        place = {category: index for index, category in enumerate(feature.categories)}
        bins = None if feature.is_category else _bins(feature)
        for row, record in enumerate(records):
            value = record.features.get(feature.name)
            if value is None:
                table[row, column] = size
            elif isinstance(value, str):
                table[row, column] = place[value]
            elif bins is not None:
                table[row, column] = _bin_of(bins, float(value))
    table[:, -1] = [record.label for record in records]
    return table


def from_whole_numbers(schema: Schema, table: NDArray[np.int64], seed: int) -> list[LabelledRecord]:
    """Records again; of a bin, a number drawn evenly from it."""
    random = np.random.default_rng([seed, 6])
    values: list[list[Value]] = []
    for column, feature in enumerate(schema.features):
        size = _size(feature)
        if feature.is_category:
            values.append([feature.categories[code] if code < size else None for code in table[:, column]])
            continue
        bins = _bins(feature)
        drawn = random.random(len(table))
        values.append(
            [
                None if code >= size else _inside(feature, bins[code], float(share))
                for code, share in zip(table[:, column], drawn, strict=True)
            ]
        )
    return [
        LabelledRecord(
            features={
                feature.name: value for feature, value in zip(schema.features, row, strict=True) if value is not None
            },
            label=int(label),
        )
        for row, label in zip(zip(*values, strict=True), table[:, -1], strict=True)
    ]


def _name(place: int) -> str:
    return f"feature{place}"


def _size(feature: Feature) -> int:
    return len(feature.categories) if feature.is_category else len(_bins(feature))


def _bins(feature: Feature) -> list[tuple[float, float]]:
    """Both ends of each bin, rising; of an integer the least and the largest integer in it."""
    low, high = feature.low_high()
    if feature.kind != "integer":
        edges = number_edges(feature)
        return [(float(a), float(b)) for a, b in pairwise(edges)]
    first, last = int(np.ceil(low)), int(np.floor(high))
    if last - first < _FEW:
        return [(float(number), float(number)) for number in range(first, last + 1)]
    # A bin ends at the last integer up to its edge; bins without an integer are none.
    ends = sorted({min(max(int(np.floor(edge)), first), last) for edge in number_edges(feature)[1:]})
    starts = [first, *(end + 1 for end in ends[:-1])]
    return [(float(a), float(b)) for a, b in zip(starts, ends, strict=True)]


def _bin_of(bins: Sequence[tuple[float, float]], value: float) -> int:
    """Values beyond the range go to its ends."""
    return min(int(np.searchsorted([end for _, end in bins], value)), len(bins) - 1)


def _inside(feature: Feature, ends: tuple[float, float], share: float) -> float | int:
    low, high = ends
    if feature.kind == "integer":
        return int(low) + min(int(share * (high - low + 1)), int(high - low))
    first, last = feature.low_high()
    # As many digits as people write: a thousandth of the range.
    digits = max(0, 3 - math.floor(math.log10(last - first)))
    value = min(low + (1.0 - share) * (high - low), high)  # a bin holds its upper end, and not its lower one
    rounded = round(value, digits)
    return rounded if low < rounded <= high else value
