"""What every alternative takes and gives: the same splits and the same budget in, answers about held-out records out.

Held-out records make figures and nothing else: an alternative gets them without being allowed to learn from them, and
no setting anywhere in this package was chosen by them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.privacy import ADJACENCY, UNIT, Budget, Guarantee
from llamdex_fl.schema import Feature, Schema
from simulations.datasets import LabelledRecord, Split

__all__ = ["Alternative", "Cohort", "Outcome", "Spent", "with_silo"]

#: The feature that tells whose record it is, where an alternative may know it as ours does.
SILO = "silo_of_record"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cohort:
    """A consortium's records, split once for all alternatives; compared by identity.

    Attributes:
        splits: by silo, what may be learned from, and what is asked.
        architecture: of every expert; empty for the one that schema and sizes recommend.
    """

    schema: Schema
    splits: Mapping[str, Split]
    architecture: str = ""

    @property
    def held_out(self) -> list[LabelledRecord]:
        """The n held-out records, silo after silo."""
        return [record for part in self.splits.values() for record in part.held_out]

    @property
    def labels_n(self) -> NDArray[np.int64]:
        """Of the held-out records."""
        return np.array([record.label for record in self.held_out], np.int64)

    @property
    def silo_n(self) -> NDArray[np.int64]:
        """The place of each held-out record's silo among the silos."""
        return np.repeat(np.arange(len(self.splits)), [len(part.held_out) for part in self.splits.values()])


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What an alternative costs whom: never a bare epsilon.

    Attributes:
        epsilon, delta: of everything that leaves the table, as ``accountant`` states it.
        table: whose: ``each silo's`` or ``the pooled``.
    """

    epsilon: float
    delta: float
    accountant: str
    table: str
    adjacency: str = ADJACENCY
    unit: str = UNIT

    @classmethod
    def of(cls, guarantees: Sequence[Guarantee], table: str = "each silo's") -> "Spent":
        """The largest of some guarantees of disjoint tables."""
        first = max(guarantees, key=lambda own: own.epsilon)
        return cls(epsilon=first.epsilon, delta=first.delta, accountant=first.accountant, table=table)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One alternative's answers.

    Attributes:
        method: its name, unique in a comparison.
        probabilities_mC: the classes' probabilities of the records that were asked.
        rows_m: which of the held-out records were asked, rising; all of them but where an LLM is asked about a sample.
        spent: None where nothing private was learned from, or no privacy was given.
        seconds: of one core, for learning and answering.
        bytes_sent: what left the silos, records in the clear counted where a method needs them.
        told: what else a report should say; JSON.
    """

    method: str
    probabilities_mC: NDArray[np.float64]
    rows_m: NDArray[np.int64]
    spent: Spent | None
    seconds: float
    bytes_sent: int
    told: Mapping[str, Any] = field(default_factory=dict)


#: ``(cohort, budget of each table, seed) -> outcomes``.
Alternative = Callable[[Cohort, Budget, int], Sequence[Outcome]]


def with_silo(cohort: Cohort) -> Cohort:
    """The same records with one feature more: whose each is, as the asker of our assembly is known too."""
    silos = tuple(cohort.splits)
    known = Feature(name=SILO, kind="category", description="whose record it is", categories=silos)
    schema = Schema(
        name=cohort.schema.name,
        title=cohort.schema.title,
        question=cohort.schema.question,
        features=(*cohort.schema.features, known),
        target=cohort.schema.target,
    )

    def told(silo: str, records: Sequence[LabelledRecord]) -> tuple[LabelledRecord, ...]:
        return tuple(LabelledRecord(features={**own.features, SILO: silo}, label=own.label) for own in records)

    return Cohort(
        schema=schema,
        splits={
            silo: Split(train=told(silo, part.train), held_out=told(silo, part.held_out))
            for silo, part in cohort.splits.items()
        },
        architecture=cohort.architecture,
    )
