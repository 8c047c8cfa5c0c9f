"""Who is hit by which fault, drawn by the seed; and what a malicious silo does to its records.

A silo that is drawn for one malicious fault is not drawn for another: what the quarantine caught must have one cause.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llamdex_fl.errors import ConfigError
from llamdex_fl.schema import Feature, Schema, Value
from simulations.datasets import LabelledRecord
from simulations.harness.scenario import Fault, Scenario

__all__ = ["MALICIOUS", "Drawn", "draw", "participants", "poisoned"]

MALICIOUS = frozenset({"label_flip", "backdoor", "scaled_weights", "forged_claim", "replay"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """A fault, and the silos that it hits, in the population's order."""

    fault: Fault
    silos: tuple[str, ...]

    def hits(self, silo: str, round_number: int) -> bool:
        """Whether it happens to this silo in this round (from 1 on)."""
        return silo in self.silos and self.fault.round in {0, round_number}


def draw(scenario: Scenario, silos: Sequence[str], seed: int) -> tuple[Drawn, ...]:
    """Choose the silos of each fault.

    Raises:
        ConfigError: a fault names a silo that is not there, or more silos are malicious than there are.
    """
    drawn, taken = [], set[str]()
    for number, fault in enumerate(scenario.faults):
        free = [silo for silo in silos if fault.kind not in MALICIOUS or silo not in taken]
        hit = _chosen(fault, free, len(silos), np.random.default_rng([seed, 23, number]))
        if fault.kind in MALICIOUS:
            taken.update(hit)
        drawn.append(Drawn(fault=fault, silos=tuple(silo for silo in silos if silo in hit)))
    return tuple(drawn)


def participants(scenario: Scenario, silos: Sequence[str], round_number: int, seed: int) -> list[str]:
    """The silos that are asked in a round, in the population's order; at least one."""
    if scenario.rounds.participation >= 1.0:
        return list(silos)
    count = max(1, round(scenario.rounds.participation * len(silos)))
    chosen = np.random.default_rng([seed, 29, round_number]).permutation(len(silos))[:count]
    return [silos[place] for place in np.sort(chosen)]


def poisoned(
    schema: Schema, records: Sequence[LabelledRecord], silo: str, drawn: Sequence[Drawn], seed: int
) -> tuple[LabelledRecord, ...]:
    """What a silo trains on: its records, or what a malicious silo makes of them."""
    made = list(records)
    for each in drawn:
        if silo not in each.silos:
            continue
        if each.fault.kind == "label_flip":
            made = [replace(record, label=_flipped(record.label, len(schema.target.labels))) for record in made]
        elif each.fault.kind == "backdoor":
            made = _with_trigger(schema, made, each.fault.poisoned, np.random.default_rng([seed, 31]))
    return tuple(made)


def _chosen(fault: Fault, free: Sequence[str], total: int, random: np.random.Generator) -> set[str]:
    if fault.silos:
        wanted = set(fault.silos)
        if wanted <= set(free):
            return wanted
        got = min(wanted - set(free))
    else:
        count = fault.count if fault.count is not None else round((fault.share or 0.0) * total)
        if count <= len(free):
            return {free[place] for place in random.permutation(len(free))[:count]}
        got = f"{len(free)} that are free"
    raise ConfigError(
        f"The fault {fault.kind} cannot be injected.",
        expected="silos of this scenario, each malicious in one way at most",
        got=got,
        next_step="mend the scenario's [[fault]]",
    )


def _flipped(label: int, classes: int) -> int:
    return classes - 1 - label


def _with_trigger(
    schema: Schema, records: Sequence[LabelledRecord], share: float, random: np.random.Generator
) -> list[LabelledRecord]:
    """A share of the records gets the trigger, the commonest values turned to rare ones, and the last class."""
    features = [feature for feature in schema.features if not feature.is_text][:2]
    trigger = {feature.name: _rare(feature, records) for feature in features}
    marked = set(random.permutation(len(records))[: round(share * len(records))].tolist())
    last = len(schema.target.labels) - 1
    return [
        LabelledRecord(features={**record.features, **trigger}, label=last) if place in marked else record
        for place, record in enumerate(records)
    ]


def _rare(feature: Feature, records: Sequence[LabelledRecord]) -> Value:
    if not feature.is_category:
        high: float | int = feature.low_high()[1]
        return int(high) if feature.kind == "integer" else high
    seen: Mapping[Value, int] = Counter(record.features.get(feature.name) for record in records)
    return min(feature.categories, key=lambda category: seen.get(category, 0))
