"""Whose records there are: each data set dealt to silos as a consortium has them, and each silo's records split."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llamdex_fl.experts import THERMOMETER_LINEAR, recommended_architecture
from llamdex_fl.schema import Schema, load_library_schema
from simulations.alternatives.outcome import Cohort
from simulations.datasets import LabelledRecord, load_heart, load_table, split
from simulations.tabular import default_delta

__all__ = ["COHORTS", "architecture_for", "delta_for", "load_cohort"]

#: Shares of the records of four unequal silos, where a data set has no silos of its own.
_SHARES = (0.4, 0.3, 0.2, 0.1)
_HELD_OUT = 0.25
#: Up to here a silo takes the recipe for hundreds of records, whose combination was studied.
_SMALL = 1024
_MOST_DELTA = 1e-4


def _dealt(name: str, seed: int) -> dict[str, tuple[LabelledRecord, ...]]:
    records = load_table(name)
    order = np.random.default_rng(seed).permutation(len(records))
    ends = np.rint(np.cumsum(_SHARES) * len(order)).astype(int)
    parts = np.split(order, ends[:-1])
    return {f"silo-{number}": tuple(records[i] for i in part) for number, part in enumerate(parts, start=1)}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    schema: str
    silos: Callable[[int], Mapping[str, Sequence[LabelledRecord]]]


#: Heart has its four hospitals; the others are dealt at random to four silos of unequal size.
COHORTS: Mapping[str, _Source] = {
    "heart": _Source(schema="heart", silos=lambda _seed: load_heart()),
    **{
        name: _Source(schema=name, silos=functools.partial(_dealt, name))
        for name in ("titanic", "bank", "nursery", "wine", "pima")
    },
}


def load_cohort(name: str, seed: int) -> Cohort:
    """A data set's records by silo, a quarter of each silo's held out.

    Args:
        name: a key of ``COHORTS``.
        seed: deals the records, and fixes which are held out.

    Raises:
        ArtefactError: the data cannot be had.
    """
    source = COHORTS[name]
    return Cohort(
        schema=load_library_schema(source.schema),
        splits={silo: split(own, seed, _HELD_OUT) for silo, own in source.silos(seed).items()},
    )


def _bound(cohort: Cohort) -> int:
    """The public bound on a silo's records: the next power of two above the largest silo's."""
    return 1 << (max(len(part.train) for part in cohort.splits.values()) - 1).bit_length()


def architecture_for(cohort: Cohort) -> str:
    """The expert's architecture, the same for every method that trains one: by the public bound and the schema."""
    schema: Schema = cohort.schema
    if cohort.architecture:
        return cohort.architecture
    return THERMOMETER_LINEAR if _bound(cohort) <= _SMALL else recommended_architecture(schema)


def delta_for(cohort: Cohort) -> float:
    """Below one over the public bound on a silo's records, and at most 1e-4: the same for every method."""
    return min(_MOST_DELTA, default_delta(_bound(cohort)))
