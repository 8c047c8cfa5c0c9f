"""What a release promises about the records behind it: never a bare epsilon.

The words of ``Mechanism`` travel on the wire and stand in ledgers: one may be added, none may change meaning,
and an unknown one is refused (the habit of dp_accounting's DpEvent).
"""

from dataclasses import dataclass
from typing import Literal

from llamdex_fl.errors import InputError

__all__ = ["ADJACENCY", "UNIT", "Guarantee", "LaplaceCounts", "Mechanism", "SampledGaussian", "wrong_parameter"]

#: Neighbouring tables differ by adding or removing one record.
ADJACENCY = "add_or_remove_one"
#: The unit of privacy: one row of the silo's table (one patient, one passenger).
UNIT = "record"


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledGaussian:
    """``steps`` rounds of DP-SGD: Poisson sampling, per-record clipping, Gaussian noise on the sum.

    Source: Abadi et al., arXiv 1607.00133v2, algorithm 1.
    """

    kind: Literal["sampled_gaussian"] = "sampled_gaussian"
    sampling_rate: float
    noise_multiplier: float
    steps: int
    max_grad_norm: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LaplaceCounts:
    """A histogram over disjoint classes, Laplace noise of scale ``1 / epsilon`` on each count.

    One record is in one class, so the L1 sensitivity under ``ADJACENCY`` is 1.
    """

    kind: Literal["laplace_counts"] = "laplace_counts"
    epsilon: float


Mechanism = SampledGaussian | LaplaceCounts


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarantee:
    """(epsilon, delta)-DP of everything that a release holds, with the mechanisms that give it.

    ``epsilon`` and ``delta`` are what the accountant certified for the composition of ``mechanisms``;
    whoever receives a release computes them again from ``mechanisms``.
    """

    epsilon: float
    delta: float
    mechanisms: tuple[Mechanism, ...]
    accountant: str
    accountant_version: str
    adjacency: str = ADJACENCY
    unit: str = UNIT


def wrong_parameter(what: str, expected: str, got: object) -> InputError:
    """The one error for a privacy parameter for which no mechanism is defined."""
    return InputError(
        f"The privacy parameter {what} is not usable.",
        expected=expected,
        got=str(got),
        next_step="give a parameter for which the mechanism is defined",
    )
