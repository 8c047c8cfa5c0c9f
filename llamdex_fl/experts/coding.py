"""Records to numbers, from the public schema alone: the coding of ``thermometer_linear``, on which others build.

Each feature becomes a block of its own, and a value that is absent has a code of its own:

- a category: one code a category, one-hot minus 1/k, so that the block's mean over categories is 0;
- a number: nine soft steps over the public range, each from -1/2 (the value is well below the threshold) to 1/2
  (well above); a ramp spans two distances between thresholds. Thresholds lie closer together in the middle of the
  range, where the values of most domains lie, at the quantiles of Beta(2, 2); where the range is wide (its span at
  least 200 times its smallest magnitude plus one) the steps are logarithmic;
- the last code of a block is 1/2 where the value is absent (the rest of the block is 0 then), else 0.

The codes are centred because DP-SGD pays for the length of a record's gradient: a constant offset carries nothing
and costs as much as signal. Numbers beyond the public range are moved to its end. No statistic of any record
enters here. Shape legend: n records, D codes.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from llamdex_fl.errors import InputError, RecordError
from llamdex_fl.schema import Feature, Schema, Value

__all__ = ["block_sizes", "coded_size", "encode", "number_edges"]

_STEPS = 9
#: Ramp width of a soft step, in distances between thresholds.
_SOFTNESS = 2.0
#: From this ratio of span to smallest magnitude (plus one) on, a range is coded by logarithms.
_WIDE = 200.0
_ABSENT = 0.5


def coded_size(schema: Schema) -> int:
    """D: how many numbers a record of this schema becomes.

    Raises:
        InputError: its records are texts, which have no such coding.
    """
    if schema.is_text:
        raise InputError(
            f"Records of the schema {schema.name} are texts, and this coding is for tables.",
            expected="features that are categories or numbers",
            got="a text",
            next_step="use an architecture that takes texts",
        )
    return sum(block_sizes(schema))


def block_sizes(schema: Schema) -> list[int]:
    """How many of the numbers belong to each feature, in the features' order."""
    return [_block_size(feature) for feature in schema.features]


def encode(schema: Schema, records: Sequence[Mapping[str, Value]]) -> NDArray[np.float32]:
    """Code some records.

    Args:
        schema: what the records mean.
        records: feature name to value; a name that is left out, or None, is absent.

    Returns:
        codes_nD, float32, each within [-1, 1].

    Raises:
        RecordError: an unknown feature, an unknown category, or no number where one belongs. The value is not told.
        InputError: the records are texts.
    """
    known = {feature.name for feature in schema.features}
    for row, record in enumerate(records):
        if not known.issuperset(record):
            raise _wrong(row, "a name", "the names of the schema's features", "another name")
    codes_nD = np.zeros((len(records), coded_size(schema)), np.float32)
    start = 0
    for feature in schema.features:
        size = _block_size(feature)
        block = codes_nD[:, start : start + size]
        if feature.is_category:
            _code_category(feature, records, block)
        else:
            _code_number(feature, records, block)
        start += size
    return codes_nD


def number_edges(feature: Feature) -> NDArray[np.float64]:
    """The public range of a number, cut where its soft steps are: both ends and the thresholds between, rising."""
    low, high = feature.low_high()
    start, end, wide = _scale(low, high)
    shares = betaincinv(2.0, 2.0, np.arange(_STEPS + 2) / (_STEPS + 1))
    places = start + shares * (end - start)
    edges: NDArray[np.float64] = np.sign(places) * np.expm1(np.abs(places)) if wide else places
    edges[0], edges[-1] = low, high
    return edges


def _block_size(feature: Feature) -> int:
    return (len(feature.categories) if feature.is_category else _STEPS) + 1


def _code_category(feature: Feature, records: Sequence[Mapping[str, Value]], block: NDArray[np.float32]) -> None:
    place = {category: index for index, category in enumerate(feature.categories)}
    for row, record in enumerate(records):
        value = record.get(feature.name)
        if value is None:
            block[row, -1] = _ABSENT
        elif isinstance(value, str) and value in place:
            block[row, :-1] = -1.0 / len(place)
            block[row, place[value]] += 1.0
        else:
            raise _wrong(row, feature.name, feature.expected(), "a value outside the categories")


def _code_number(feature: Feature, records: Sequence[Mapping[str, Value]], block: NDArray[np.float32]) -> None:
    low, high = feature.low_high()
    start, end, wide = _scale(low, high)
    thresholds = np.arange(1, _STEPS + 1) / (_STEPS + 1)
    for row, record in enumerate(records):
        value = record.get(feature.name)
        if value is None:
            block[row, -1] = _ABSENT
            continue
        if isinstance(value, str | bool) or not math.isfinite(value):
            raise _wrong(row, feature.name, feature.expected(), "something that is no number")
        number = min(max(float(value), low), high)
        share = ((_signed_log(number) if wide else number) - start) / (end - start)
        # The distribution function of Beta(2, 2): equal steps after it are quantile steps before it.
        quantile = share * share * (3.0 - 2.0 * share)
        block[row, :-1] = np.clip((quantile - thresholds) * (_STEPS + 1) / _SOFTNESS, -0.5, 0.5)


def _scale(low: float, high: float) -> tuple[float, float, bool]:
    """Both ends as they are coded, and whether that is by logarithms."""
    smallest = 0.0 if low <= 0.0 <= high else min(abs(low), abs(high))
    wide = (high - low) / (smallest + 1.0) >= _WIDE
    return (_signed_log(low), _signed_log(high), True) if wide else (low, high, False)


def _signed_log(number: float) -> float:
    return math.copysign(math.log1p(abs(number)), number)


def _wrong(row: int, name: str, expected: str, got: str) -> RecordError:
    return RecordError(
        f"Record {row + 1} cannot be coded: {name} does not fit the schema.",
        expected=expected,
        got=got,
        next_step="mend the record, or leave the feature out",
    )
