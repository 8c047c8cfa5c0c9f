"""A closer look at one seed's experts: for paired tests, who is worse off, and what weights tell of their records.

Beside the scores of ``simulations.harness.figures``, from the same experts and the same held-out records. The attack is
the plain one: whoever has an expert ranks records by its confidence in their true outcomes, and takes the surest for
those that it was trained on (Yeom et al., arXiv 1709.01604). Its advantage is 2 AUC - 1 of that ranking, which has no
upward lean on few records, unlike the best threshold's: 0 is a guess, 1 is certainty.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.experts import Expert, Panel, auc, one_against_rest
from simulations.datasets import LabelledRecord
from simulations.harness.figures import Spoken
from simulations.harness.population import Population

__all__ = ["Look", "closer_look"]

#: More silos are too many for a table of their answers, and for an attack on each.
_FEW = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Of one seed; all of it can be JSON.

    Attributes:
        right: of each asked record, ``1`` if it was answered right, by way: ``assembled``; with few silos also
            ``alone`` and ``own`` (each silo's records by its own expert; by the assembly where it has none).
        alone: the same by silo, each silo's expert asked about everybody's records; empty with many silos.
        own: by silo, how many of its own records were asked about, and the shares that its own expert (None where it
            has none) and the assembly answered right.
        own_auc: of ``own``.
        membership: by silo, the advantage of the attack on its expert; empty with many silos.
    """

    right: dict[str, str] = field(default_factory=dict)
    alone: dict[str, str] = field(default_factory=dict)
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    own_auc: float | None = None
    membership: dict[str, float] = field(default_factory=dict)


def closer_look(population: Population, spoken: Sequence[Spoken]) -> Look:
    """Look at all experts that may speak; nothing where nobody may."""
    if not spoken:
        return Look()
    asked = population.asked
    records = [record.features for _, record in asked]
    labels_n = np.array([record.label for _, record in asked])
    silo_n = np.array([silo for silo, _ in asked])
    panel = Panel.of([one.expert for one in spoken], [one.guarantee for one in spoken])
    priors = {one.silo: one.expert.prior for one in spoken}
    pooled_C = panel.weighed.pooled_C
    together_nC = panel.combined(records, np.array([priors.get(silo, pooled_C) for silo, _ in asked]))
    together_n = together_nC.argmax(axis=1) == labels_n
    own_nC = together_nC.copy()
    experts = {one.silo: one.expert for one in spoken}
    own: dict[str, dict[str, Any]] = {}
    for silo in population.silos:
        mine_n = silo_n == silo
        if not mine_n.any():
            continue
        expert = experts.get(silo)
        if expert is not None:
            own_nC[mine_n] = expert.predict_proba([records[place] for place in np.flatnonzero(mine_n)])
        own_right = own_nC[mine_n].argmax(axis=1) == labels_n[mine_n]
        own[silo] = {
            "asked": int(mine_n.sum()),
            "alone": float(own_right.mean()) if expert is not None else None,
            "assembled": float(together_n[mine_n].mean()),
        }
    right = {"assembled": _bits(together_n), "own": _bits(own_nC.argmax(axis=1) == labels_n)}
    if len(spoken) > _FEW:
        return Look(right=right, own=own, own_auc=one_against_rest(own_nC, labels_n))
    return Look(
        right=right,
        alone={one.silo: _bits(one.expert.predict_proba(records).argmax(axis=1) == labels_n) for one in spoken},
        own=own,
        own_auc=one_against_rest(own_nC, labels_n),
        membership={one.silo: _advantage(population, one) for one in spoken},
    )


def _advantage(population: Population, one: Spoken) -> float:
    part = population.splits[one.silo]
    confidence_n = np.concatenate([_confidence(one.expert, part.train), _confidence(one.expert, part.held_out)])
    return 2.0 * auc(confidence_n, np.arange(len(confidence_n)) < len(part.train)) - 1.0


def _confidence(expert: Expert, records: Sequence[LabelledRecord]) -> NDArray[np.float64]:
    chances_nC = expert.predict_proba([record.features for record in records])
    found: NDArray[np.float64] = chances_nC[np.arange(len(records)), [record.label for record in records]]
    return found


def _bits(right_n: NDArray[np.bool_]) -> str:
    return "".join("1" if right else "0" for right in right_n)
