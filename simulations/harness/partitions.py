"""How a table is dealt to silos. Every record goes to exactly one silo; a seed fixes which.

Definitions as in the literature, and as flwr-datasets has them, without that package:

- ``iid``: a random permutation cut into equal parts.
- ``dirichlet``: for each class, its records are shared out by proportions drawn from Dirichlet(alpha, ..., alpha) over
  the silos (Hsu, Qi and Brown, arXiv 1909.06335; the per-class form of Li et al., arXiv 2102.02079).
- ``quantity``: sizes are drawn from Dirichlet(alpha, ..., alpha) over the silos (Li et al., quantity skew).
- ``by_feature``: records sorted by one feature and cut into equal parts, absent values last: sites that see different
  patients. Ties are in random order.

Whoever has fewer than ``least`` records gets some from the largest silo.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import ConfigError
from simulations.datasets import LabelledRecord
from simulations.harness.scenario import Partition

__all__ = ["deal", "silo_names"]

_Places = NDArray[np.int64]


def silo_names(count: int) -> list[str]:
    """Ids of silos that have no name of their own, in order: silo-001, silo-002 ..."""
    width = max(3, len(str(count)))
    return [f"silo-{number:0{width}d}" for number in range(1, count + 1)]


def deal(records: Sequence[LabelledRecord], partition: Partition, seed: int) -> dict[str, tuple[LabelledRecord, ...]]:
    """Deal records to ``partition.silos`` silos.

    Args:
        records: the table.
        partition: any but ``natural``.
        seed: fixes who gets what.

    Raises:
        ConfigError: there are too few records, or the feature is not one of theirs.
    """
    count = partition.silos or 0
    if len(records) < count * partition.least:
        raise ConfigError(
            "There are too few records for these silos.",
            expected=f"at least {partition.least} for each of {count} silos",
            got=f"{len(records)} records",
            next_step="take fewer silos, more records, or another data set",
        )
    random = np.random.default_rng([seed, 11])
    parts = {"iid": _iid, "dirichlet": _dirichlet, "quantity": _quantity, "by_feature": _by_feature}[partition.kind](
        records, partition, random
    )
    parts = _with_least(parts, partition.least)
    return {
        silo: tuple(records[place] for place in sorted(part))
        for silo, part in zip(silo_names(count), parts, strict=True)
    }


def _iid(records: Sequence[LabelledRecord], partition: Partition, random: np.random.Generator) -> list[_Places]:
    return np.array_split(random.permutation(len(records)), partition.silos or 1)


def _quantity(records: Sequence[LabelledRecord], partition: Partition, random: np.random.Generator) -> list[_Places]:
    shares = random.dirichlet(np.full(partition.silos or 1, partition.alpha))
    return _cut(random.permutation(len(records)), shares)


def _dirichlet(records: Sequence[LabelledRecord], partition: Partition, random: np.random.Generator) -> list[_Places]:
    count = partition.silos or 1
    labels_n = np.array([record.label for record in records])
    parts: list[list[_Places]] = [[] for _ in range(count)]
    for label in np.unique(labels_n):
        own = random.permutation(np.flatnonzero(labels_n == label))
        for part, more in zip(parts, _cut(own, random.dirichlet(np.full(count, partition.alpha))), strict=True):
            part.append(more)
    return [np.concatenate(part) for part in parts]


def _by_feature(records: Sequence[LabelledRecord], partition: Partition, random: np.random.Generator) -> list[_Places]:
    values = [record.features.get(partition.feature) for record in records]
    if all(value is None for value in values):
        raise ConfigError(
            "No record has the feature by which the silos are to differ.",
            expected="a feature of the data set's schema",
            got=partition.feature,
            next_step="mend feature in [partition]",
        )
    order = [int(place) for place in random.permutation(len(records))]

    def rank(place: int) -> tuple[bool, float, str]:
        value = values[place]
        number = float(value) if isinstance(value, int | float) else 0.0
        return value is None, number, "" if isinstance(value, int | float) else str(value)

    return np.array_split(np.array(sorted(order, key=rank)), partition.silos or 1)


def _cut(places: _Places, shares: NDArray[np.float64]) -> list[_Places]:
    """Cut by shares that sum to 1; rounded ends, so that nothing is lost."""
    ends = np.rint(np.cumsum(shares)[:-1] * len(places)).astype(int)
    return np.split(places, np.clip(ends, 0, len(places)))


def _with_least(parts: list[_Places], least: int) -> list[_Places]:
    held = [list(part) for part in parts]
    for own in held:
        while len(own) < least:
            # Of equals the first, so that the same seed does the same.
            own.append(max(held, key=len).pop())
    return [np.array(own, np.int64) for own in held]
