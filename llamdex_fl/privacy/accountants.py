"""The accountants by name, what kind of number each of them states, and who may authorise a run.

``certified`` numbers are pessimistic compositions, within rounding of the truth; ``upper_bound`` numbers are
rigorous and looser; an ``estimate`` may be below the truth, so it may be shown and never spent: whatever authorises a
run asks ``require_rigorous`` first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from llamdex_fl.errors import EstimateRefusedError, InputError
from llamdex_fl.privacy.accounting import certified_epsilon
from llamdex_fl.privacy.edgeworth import edgeworth_epsilon, edgeworth_estimate
from llamdex_fl.privacy.gdp import gdp_estimate
from llamdex_fl.privacy.guarantee import Mechanism
from llamdex_fl.privacy.prv import prv_interval
from llamdex_fl.privacy.tilted import rdp_epsilon

__all__ = ["ACCOUNTANTS", "Accountant", "Kind", "find_accountant", "require_rigorous"]

Kind = Literal["certified", "upper_bound", "estimate"]

#: Half the width of prv's interval, as a share of epsilon: an error of 0.01 would cost 1.6 % of noise at epsilon 0.5.
_PRV_SHARE = 1e-3
_LEAST_PRV_ERROR = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Accountant:
    """An accountant.

    Attributes:
        name: the word by which commands and Opacus know it.
        kind: what its numbers are good for.
        epsilon: computes epsilon from mechanisms and delta; it raises InputError where a parameter is out of range.
    """

    name: str
    kind: Kind
    epsilon: Callable[[Sequence[Mechanism], float], float]


def _prv(mechanisms: Sequence[Mechanism], delta: float) -> float:
    error = max(_PRV_SHARE * rdp_epsilon(mechanisms, delta).epsilon, _LEAST_PRV_ERROR) if mechanisms else 0.0
    return prv_interval(mechanisms, delta, epsilon_error=error).upper


def _rdp(mechanisms: Sequence[Mechanism], delta: float) -> float:
    return rdp_epsilon(mechanisms, delta).epsilon


def _estimate(mechanisms: Sequence[Mechanism], delta: float) -> float:
    return edgeworth_estimate(mechanisms, delta).epsilon


#: In the order in which tables show them.
ACCOUNTANTS: Mapping[str, Accountant] = MappingProxyType(
    {
        each.name: each
        for each in (
            Accountant(name="pld", kind="certified", epsilon=certified_epsilon),
            Accountant(name="prv", kind="upper_bound", epsilon=_prv),
            Accountant(name="rdp", kind="upper_bound", epsilon=_rdp),
            Accountant(name="edgeworth", kind="certified", epsilon=edgeworth_epsilon),
            Accountant(name="edgeworth_estimate", kind="estimate", epsilon=_estimate),
            Accountant(name="gdp", kind="estimate", epsilon=gdp_estimate),
        )
    }
)


def find_accountant(name: str) -> Accountant:
    """The accountant of a name.

    Raises:
        InputError: there is none.
    """
    if name not in ACCOUNTANTS:
        raise InputError(
            "There is no such accountant.",
            expected=", ".join(ACCOUNTANTS),
            got=name[:80],
            next_step="name one of these",
        )
    return ACCOUNTANTS[name]


def require_rigorous(name: str) -> Accountant:
    """The accountant of a name, if its numbers may authorise a run.

    Raises:
        EstimateRefusedError: its numbers are estimates.
        InputError: there is no such accountant.
    """
    accountant = find_accountant(name)
    if accountant.kind == "estimate":
        raise EstimateRefusedError(
            f"The accountant {name} states estimates, and an estimate cannot authorise a run.",
            expected=", ".join(each.name for each in ACCOUNTANTS.values() if each.kind != "estimate"),
            got=name,
            next_step="calibrate with pld, or see the estimate beside the others with: llamdex-silo privacy compare",
        )
    return accountant
