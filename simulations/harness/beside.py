"""What a scenario asks for beside its own run: other ways on the same splits, and the same silos at other settings.

``[alternatives]`` names ways of ``simulations.alternatives``; ``[sweep]`` varies one thing at a time, in a plain loop
of trainings, without the upload service and without faults; ``[growth]`` runs the whole with fewer silos, through the
service, for the plot of time and memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["AXES", "WAYS", "Alternatives", "Growth", "Inference", "Sweep", "checks"]

#: What may stand beside the assembly. All are trained anew in each seed, at the epsilon of one release.
WAYS = ("dp_fedavg", "pooled_dp", "pooled", "synthesis_mst", "synthesis_aim")
#: What a sweep may vary.
AXES = ("epsilon", "silos", "alpha")


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternatives:
    """Other ways, on the same splits as the run.

    Attributes:
        ways: of ``WAYS``.
    """

    ways: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """One thing at a time at other values; everything else as the scenario has it.

    Attributes:
        epsilon: of each release.
        silos: how many.
        alpha: concentration of the partition, where it has one.
        ways: of ``WAYS``; the assembly and each silo alone are always there.
        seeds: how many of the scenario's, from the first on.
    """

    epsilon: tuple[float, ...] = ()
    silos: tuple[int, ...] = ()
    alpha: tuple[float, ...] = ()
    ways: tuple[str, ...] = ()
    seeds: int = 3

    def values(self) -> list[tuple[str, float]]:
        """Every (axis, value), axis by axis."""
        return [(axis, float(value)) for axis in AXES for value in getattr(self, axis)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """The same scenario with fewer silos, each with as many records, in processes of their own.

    Attributes:
        silos: how many.
    """

    silos: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """Answers that are timed in the first seed: assembled, and the base LLM's own.

    Attributes:
        questions: that count; 0 for none.
    """

    questions: int = 0


def checks(  # noqa: PLR0913 - what the tables have to do with the rest
    alternatives: Alternatives,
    sweep: Sweep,
    growth: Growth,
    *,
    rounds: int,
    partition: str,
    budgets: Mapping[str, float],
) -> list[tuple[bool, str, str]]:
    """What must be true of them: (whether it is, what is expected, what is there).

    Args:
        alternatives: of the scenario.
        sweep: of the scenario.
        growth: of the scenario.
        rounds: that the scenario has.
        partition: its kind.
        budgets: silos with an epsilon of their own.
    """
    named = (*alternatives.ways, *sweep.ways)
    many = [*sweep.silos, *growth.silos]
    several = rounds > 1 or bool(budgets)
    return [
        (all(way in WAYS for way in named), f"ways: of {', '.join(WAYS)}", ", ".join(map(str, named))),
        (
            not (alternatives.ways and several),
            "one round and one epsilon for all silos, for [alternatives]: else the budgets differ",
            f"{rounds} rounds, {len(budgets)} epsilons of their own",
        ),
        (all(_positive(value) for _, value in _given(sweep)), "in [sweep] numbers above 0", "others"),
        (
            all(isinstance(value, int) and 2 <= value <= 1000 for value in many),  # noqa: PLR2004 - as [partition]
            "silos in [sweep] and [growth]: whole numbers from 2 to 1000",
            str(many),
        ),
        (
            not many or partition != "natural",
            "no silos in [sweep] and [growth] with a natural partition: its silos are what they are",
            str(many),
        ),
        (
            not sweep.alpha or partition in {"dirichlet", "quantity"},
            "alpha in [sweep] with a partition that has one",
            partition,
        ),
        (sweep.seeds >= 1, "seeds in [sweep]: 1 or more", str(sweep.seeds)),
    ]


def _given(sweep: Sweep) -> list[tuple[str, object]]:
    return [(axis, value) for axis in AXES for value in getattr(sweep, axis)]


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value < float("inf")
