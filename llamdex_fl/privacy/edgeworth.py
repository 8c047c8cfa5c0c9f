"""The Edgeworth accountant: an estimate with a flag, a rigorous bound beside it, and a certificate over both.

The estimate (Wang et al., arXiv 2206.04236v2; EW-Tune, arXiv 2210.15042v1) costs milliseconds whatever the number of
steps, and can be far below the truth: it is for exploring, and ``edgeworth_epsilon`` never returns it. That is the
smaller of two numbers that are both rigorous, the tilted bound and the PLD certificate. See docs/edgeworth.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from llamdex_fl.errors import InputError
from llamdex_fl.privacy.accounting import certified_epsilon
from llamdex_fl.privacy.contour import contour_epsilon
from llamdex_fl.privacy.guarantee import Mechanism
from llamdex_fl.privacy.loss import DIRECTIONS, composition_laws, require_delta
from llamdex_fl.privacy.tilted import tilted_bound

__all__ = ["EdgeworthEstimate", "EdgeworthReport", "edgeworth_epsilon", "edgeworth_estimate", "edgeworth_report"]

Floats = NDArray[np.float64]
Validity = Literal["valid", "doubtful", "invalid"]

#: Bounds of K4/m: up to the first the estimate was good wherever it was tried, above the second it is worthless.
_VALID = 0.08
_INVALID = 0.1
_SCAN = 4001
_SCAN_DEVIATIONS = 40.0
_BISECTIONS = 50
_ORDERS = (1, 2, 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeworthEstimate:
    """An estimate of epsilon. It may be too low, and authorises nothing.

    Attributes:
        epsilon: the estimate.
        order: of the expansion.
        fourth_moment: K4/m, the standardised fourth moment of a step's loss over the number of steps.
        validity: ``valid`` where K4/m is at most 0.08, ``invalid`` above 0.1, ``doubtful`` between.
    """

    epsilon: float
    order: int
    fourth_moment: float
    validity: Validity


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeworthReport:
    """All that the accountant knows about a composition.

    Attributes:
        epsilon: rigorous: the smaller of the next two, and never below the contour reference.
        upper_bound: the tilted bound.
        certificate: the PLD certificate.
        estimate: the Edgeworth estimate.
        binds: which of both rigorous numbers ``epsilon`` is, ``pld`` or ``tilted_bound``.
    """

    epsilon: float
    upper_bound: float
    certificate: float
    estimate: EdgeworthEstimate
    binds: Literal["pld", "tilted_bound"]


def edgeworth_epsilon(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """The rigorous epsilon: min(tilted bound, PLD certificate), raised to the contour reference should it be below.

    Raises:
        InputError: a parameter is outside what the mechanisms are defined for.
    """
    bound = tilted_bound(mechanisms, delta).epsilon
    return max(min(bound, certified_epsilon(mechanisms, delta)), _reference(mechanisms, delta))


def edgeworth_report(mechanisms: Sequence[Mechanism], delta: float, *, order: int = 1) -> EdgeworthReport:
    """The estimate, its flag, the bound, the certificate, and which of them binds.

    Raises:
        InputError: a parameter is outside what the mechanisms are defined for.
    """
    bound, certificate = tilted_bound(mechanisms, delta).epsilon, certified_epsilon(mechanisms, delta)
    return EdgeworthReport(
        epsilon=max(min(bound, certificate), _reference(mechanisms, delta)),
        upper_bound=bound,
        certificate=certificate,
        estimate=edgeworth_estimate(mechanisms, delta, order=order),
        binds="pld" if certificate <= bound else "tilted_bound",
    )


def edgeworth_estimate(mechanisms: Sequence[Mechanism], delta: float, *, order: int = 1) -> EdgeworthEstimate:
    """Estimate epsilon by an Edgeworth expansion of the loss's distribution, the larger of both directions.

    Args:
        mechanisms: run one after another on the same records; schedules may be mixed.
        delta: of the (epsilon, delta) guarantee.
        order: 1, 2 or 3: corrections up to the third, fourth or fifth cumulant.

    Raises:
        InputError: the order is none of these, or a parameter is outside what the mechanisms are defined for.
    """
    require_delta(delta)
    if order not in _ORDERS:
        raise InputError(
            "There is no Edgeworth expansion of this order.",
            expected="1, 2 or 3",
            got=str(order),
            next_step="give one of these orders",
        )
    if not mechanisms:
        return EdgeworthEstimate(epsilon=0.0, order=order, fourth_moment=0.0, validity="valid")
    # The loss of the one direction is the negative loss of the other under the other law.
    cumulants = {direction: _cumulants(mechanisms, direction) for direction in DIRECTIONS}
    signs = np.array([-1.0, 1.0, -1.0, 1.0, -1.0])
    (remove_5, _), (add_5, _) = cumulants["remove"], cumulants["add"]
    found = [_crossing(remove_5, signs * add_5, delta, order), _crossing(add_5, signs * remove_5, delta, order)]
    fourth = max(fourth for _, fourth in cumulants.values())
    validity: Validity = "valid" if fourth <= _VALID else "invalid" if fourth > _INVALID else "doubtful"
    return EdgeworthEstimate(epsilon=max(found), order=order, fourth_moment=fourth, validity=validity)


def _cumulants(mechanisms: Sequence[Mechanism], direction: Literal["remove", "add"]) -> tuple[Floats, float]:
    """Cumulants 1 to 5 of the whole loss, and its K4/m."""
    total_5 = np.zeros(5)
    fourth = 0.0
    for law in composition_laws(mechanisms, direction):
        mean, (second, third, fourth_moment, fifth) = law.mean_and_moments(5)
        step_5 = [mean, second, third, fourth_moment - 3.0 * second**2, fifth - 10.0 * third * second]
        total_5 += law.times * np.array(step_5)
        fourth += law.times * fourth_moment
    return total_5, fourth / float(total_5[1]) ** 2


def _crossing(upper_5: Floats, lower_5: Floats, delta: float, order: int) -> float:
    """The largest epsilon at which the expansion's delta falls through ``delta``; 0 where it is below everywhere.

    Outside its domain an expansion is not monotone: it may cross more than once, and the last crossing is the one
    beyond which it promises delta throughout.
    """

    def excess(epsilons_E: Floats) -> Floats:
        below_E: Floats = _tail(epsilons_E, upper_5, order, 0.0) - _tail(epsilons_E, lower_5, order, 1.0) - delta
        return below_E

    end = max(upper_5[0], 0.0) + _SCAN_DEVIATIONS * math.sqrt(upper_5[1])
    grid_E = np.linspace(0.0, end, _SCAN)
    above_E = np.flatnonzero(excess(grid_E) > 0.0)
    if not len(above_E) or above_E[-1] == _SCAN - 1:
        return 0.0 if not len(above_E) else math.inf
    low, high = grid_E[above_E[-1]], grid_E[above_E[-1] + 1]
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(np.array([middle]))[0] > 0.0 else (low, middle)
    return float(high)


def _tail(epsilons_E: Floats, cumulants_5: Floats, order: int, growth: float) -> Floats:
    """exp(growth * eps) * (1 - F(eps)) for F expanded about the normal law (docs/edgeworth.md, section 2)."""
    deviation = math.sqrt(cumulants_5[1])
    z = (epsilons_E - cumulants_5[0]) / deviation
    skew, kurt, fifth = (cumulants_5[k] / deviation ** (k + 1) for k in (2, 3, 4))
    terms_E = skew / 6.0 * (z**2 - 1.0)
    if order > 1:
        terms_E = terms_E + kurt / 24.0 * (z**3 - 3.0 * z) + skew**2 / 72.0 * (z**5 - 10.0 * z**3 + 15.0 * z)
    if order > 2:  # noqa: PLR2004 - the third order
        terms_E = (
            terms_E
            + fifth / 120.0 * (z**4 - 6.0 * z**2 + 3.0)
            + skew * kurt / 144.0 * (z**6 - 15.0 * z**4 + 45.0 * z**2 - 15.0)
            + skew**3 / 1296.0 * (z**8 - 28.0 * z**6 + 210.0 * z**4 - 420.0 * z**2 + 105.0)
        )
    scale_E = growth * epsilons_E
    density_E = np.exp(np.minimum(scale_E - 0.5 * z**2, 700.0)) / math.sqrt(2.0 * math.pi)
    tail_E: Floats = np.exp(np.minimum(scale_E + log_ndtr(-z), 700.0)) + density_E * terms_E
    return tail_E


def _reference(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """The contour reference, or 0 where it cannot be had: it only ever raises a number."""
    try:
        return contour_epsilon(mechanisms, delta)
    except InputError:
        return 0.0
