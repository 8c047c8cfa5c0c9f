"""Averages that a minority cannot carry. Legend: i experts; n records, C classes.

Two steps. ``levelled`` lowers the largest weights until no k experts, whichever they are, hold more than a share of all
weight. ``moved_in_mean`` then moves values that lie beyond two quantiles to these, and takes the mean. Where the lower
quantile's level is above the k experts' share, the result lies between the least and the greatest value of the *other*
experts, whatever the k say: were the quantile below all of the others' values, all weight up to it would be the k
experts' own, and they have less. The same holds at the upper end, and so for all that lies between.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["largest_share", "levelled", "moved_in_mean"]

#: Halvings of an interval: more than a float64 can tell apart.
_HALVINGS = 60
#: Where all weigh the same and the share is just what ``count`` of them hold, rounding must not decide.
_ROUNDING = 1e-9


def largest_share(weights_i: NDArray[np.float64], count: int) -> float:
    """The share of all weight that the ``count`` experts with the largest weights hold."""
    return float(np.sort(weights_i)[len(weights_i) - count :].sum() / weights_i.sum())


def levelled(weights_i: NDArray[np.float64], count: int, share: float) -> NDArray[np.float64]:
    """The weights, none above a level: the highest at which no ``count`` experts hold more than ``share`` of all.

    Args:
        weights_i: above 0.
        count: how many experts may be poisoned.
        share: at least ``count`` / experts, which is what they hold where all weigh the same.
    """
    share += _ROUNDING
    if largest_share(weights_i, count) <= share:
        return weights_i
    # The share grows with the level, so the level is found by halving.
    low, high = 0.0, float(weights_i.max())
    for _ in range(_HALVINGS):
        level = (low + high) / 2.0
        if largest_share(np.minimum(weights_i, level), count) <= share:
            low = level
        else:
            high = level
    return np.minimum(weights_i, low)


def moved_in_mean(
    values_inC: NDArray[np.float64], weights_i: NDArray[np.float64], trim: float, shift: float = 0.0
) -> NDArray[np.float64]:
    """The weighted mean of values of which those beyond the quantiles at trim and 1 - trim are moved to these.

    Args:
        values_inC: of each expert; any number of further axes.
        weights_i: above 0, or 0 for an expert that is not heard.
        trim: share of all weight, at least 0 and below 1/2; 0 gives the weighted mean.
        shift: every quantile is read off so much further up, or down where it is below 0: what the mean can come to
            where experts with this share of the weight say something else. Less than ``trim`` in size.

    Returns:
        values_nC.
    """
    order_inC = np.argsort(values_inC, axis=0)
    sorted_inC = np.take_along_axis(values_inC, order_inC, axis=0)
    shares_inC = (weights_i / weights_i.sum())[order_inC]
    ends_inC = shares_inC.cumsum(axis=0)
    low, high = trim + shift, 1.0 - trim + shift
    kept_inC = np.clip(np.minimum(ends_inC, high) - np.maximum(ends_inC - shares_inC, low), 0.0, None)
    # What is moved in from either end weighs ``trim`` there; nothing is without trimming.
    kept_inC += trim * (_holding(ends_inC, low) + _holding(ends_inC, high)) if trim else 0.0
    # Divided by what was kept, not by 1: rounding must not carry the mean out of the values' range.
    mean: NDArray[np.float64] = (kept_inC * sorted_inC).sum(axis=0) / kept_inC.sum(axis=0)
    return mean


def _holding(ends_inC: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """1 for the expert, in order, in whose share of the weight a level falls, else 0."""
    place_1nC = np.minimum((ends_inC < level).sum(axis=0, keepdims=True), len(ends_inC) - 1)
    holding_inC = np.zeros_like(ends_inC)
    np.put_along_axis(holding_inC, place_1nC, 1.0, axis=0)
    return holding_inC
