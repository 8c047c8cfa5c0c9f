"""Pairs of categories, beside the codes of ``llamdex_fl.experts.coding``: the coding of ``thermometer_crosses/v1``.

For each pair of categorical features, one code for each pair of their categories: the product of the two centred codes.
So a pair's codes say only what the two features' own codes do not (over all combinations of categories their sum with
either fixed is 0), and they are 0 where one of the two is absent. Everything comes from the schema. Legend: n records,
D codes, P codes with the pairs'.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.experts.coding import block_sizes
from llamdex_fl.schema import Schema

__all__ = ["crossed_size", "with_crosses"]


def crossed_size(schema: Schema) -> int:
    """P: how many numbers a record of this schema becomes, the pairs' codes included."""
    sizes = [len(feature.categories) for feature in schema.features if feature.is_category]
    return sum(block_sizes(schema)) + sum(one * other for one, other in combinations(sizes, 2))


def with_crosses(schema: Schema, codes_nD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put the pairs' codes behind the features' own.

    Args:
        schema: what the records mean.
        codes_nD: from ``encode``.

    Returns:
        codes_nP, float32, each within [-1, 1].
    """
    starts = np.cumsum([0, *block_sizes(schema)])
    categories = [
        # Without the block's last code, which says that the value is absent.
        codes_nD[:, start : start + len(feature.categories)]
        for feature, start in zip(schema.features, starts[:-1], strict=True)
        if feature.is_category
    ]
    pairs = [
        (one[:, :, None] * other[:, None, :]).reshape(len(codes_nD), one.shape[1] * other.shape[1])
        for one, other in combinations(categories, 2)
    ]
    return np.concatenate([codes_nD, *pairs], axis=1)
