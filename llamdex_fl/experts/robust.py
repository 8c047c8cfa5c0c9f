"""What keeps a minority of experts from carrying an average. Legend: i experts; n records, C classes.

Three tools. ``capped`` lowers what is above a multiple of the middle expert's. ``heard`` compares experts on public
records: who contradicts the others is heard less, or not at all. ``between_quantiles`` moves a mean that lies beyond
two weighted quantiles of what was averaged to the nearer one. Experts that hold a smaller share of the weight than the
lower quantile's level cannot carry it: the result lies between the least and the greatest value of the *other* experts,
whatever they say. Were the quantile below all of the others' values, all weight up to it would be those experts' own,
and they have less. So it is at the upper end.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["agreements", "between_quantiles", "capped", "heard", "largest_share", "quantiles", "spreads"]

#: How often who is heard is settled anew among those that are heard; more changes nothing to speak of.
_ROUNDS = 4
#: So far an expert is heard that a majority needs, however little it agrees.
_LEAST_HEARD = 0.1


def largest_share(weights_i: NDArray[np.float64], count: int) -> float:
    """The share of all weight that the ``count`` experts with the largest weights hold."""
    return float(np.sort(weights_i)[len(weights_i) - count :].sum() / weights_i.sum())


def capped(values_i: NDArray[np.float64], multiple: float) -> NDArray[np.float64]:
    """The values, none above so many times their median, which fewer than half of them cannot move at will."""
    return np.minimum(values_i, multiple * np.median(values_i))


def quantiles(
    values_inC: NDArray[np.float64], weights_i: NDArray[np.float64], levels: Sequence[float]
) -> list[NDArray[np.float64]]:
    """Weighted quantiles over experts: of each level the least value up to which they hold such a share of all weight.

    Args:
        values_inC: of each expert; any number of further axes.
        weights_i: above 0, or 0 for an expert that is not heard.
        levels: 0 to 1.
    """
    heard_i = weights_i > 0.0
    values_inC, weights_i = values_inC[heard_i], weights_i[heard_i]
    order_inC = np.argsort(values_inC, axis=0)
    sorted_inC = np.take_along_axis(values_inC, order_inC, axis=0)
    ends_inC = (weights_i / weights_i.sum())[order_inC].cumsum(axis=0)
    places = (np.minimum((ends_inC < level).sum(axis=0), len(values_inC) - 1) for level in levels)
    return [np.take_along_axis(sorted_inC, place_nC[None], axis=0)[0] for place_nC in places]


def between_quantiles(
    mean_nC: NDArray[np.float64], values_inC: NDArray[np.float64], weights_i: NDArray[np.float64], beta: float
) -> NDArray[np.float64]:
    """A mean of values, moved to their quantile at ``beta`` or at 1 - ``beta`` where it lies beyond it."""
    low_nC, high_nC = quantiles(values_inC, weights_i, (beta, 1.0 - beta))
    return np.clip(mean_nC, low_nC, high_nC)


def agreements(values_inC: NDArray[np.float64], weights_i: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation over records of what each expert says with the mean of all *others*, [i], -1 to 1.

    An expert that says the same of every record, or has no others, agrees with nobody: 0.
    """
    return _agreements(_products(values_inC), weights_i)


def spreads(values_inC: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each expert's values over records are spread, [i]: the root of the sum of squares, means taken off."""
    found_i: NDArray[np.float64] = np.sqrt(_products(values_inC).diagonal())
    return found_i


def heard(
    values_inC: NDArray[np.float64], weights_i: NDArray[np.float64], least: float, full: float
) -> NDArray[np.float64]:
    """How far each expert is heard, [i], 0 to 1. More than half of them always are, those that agree best.

    Args:
        values_inC: what each says of records on which they are compared.
        weights_i: above 0.
        least: the agreement with the others that are heard, from which on an expert is heard at all.
        full: from here on it is heard in full.
    """
    products_ii = _products(values_inC)
    heard_i = np.ones(len(weights_i))
    for _ in range(_ROUNDS):
        agreements_i = _agreements(products_ii, weights_i * heard_i)
        heard_i = np.clip((agreements_i - least) / (full - least), 0.0, 1.0)
        best = np.argsort(-agreements_i, kind="stable")[: len(weights_i) // 2 + 1]
        heard_i[best] = np.maximum(heard_i[best], _LEAST_HEARD)
    return heard_i


def _products(values_inC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each two experts' values, their means over records taken off."""
    centred_iK = (values_inC - values_inC.mean(axis=1, keepdims=True)).reshape(len(values_inC), -1)
    products_ii: NDArray[np.float64] = centred_iK @ centred_iK.T
    return products_ii


def _agreements(products_ii: NDArray[np.float64], weights_i: NDArray[np.float64]) -> NDArray[np.float64]:
    own_i = products_ii.diagonal()
    with_all_i = products_ii @ weights_i
    with_others_i = with_all_i - weights_i * own_i
    others_i = weights_i @ with_all_i - 2.0 * weights_i * with_all_i + weights_i**2 * own_i
    lengths_i = np.sqrt(np.maximum(own_i * others_i, 0.0))
    found_i = np.zeros(len(weights_i))
    # Below this, what others say is nothing but rounding.
    np.divide(with_others_i, lengths_i, out=found_i, where=lengths_i > 1e-9 * float(own_i.max(initial=0.0)))
    return np.clip(found_i, -1.0, 1.0)
