"""Some silos of a consortium are poisoned: what is left of the accuracy, and how the combination makes a difference.

All experts take the real path of a silo (``simulations.consortium_value``). A poisoned silo does one of:

- ``label_flip``: it trains on its records with the next class in each label's place;
- ``backdoor``: half of its records get the trigger, two features at an end of their range, and the last class;
- ``scaled_weights``: the label-flipped expert with ten times the weights and bias;
- ``scaled_backdoor``: the same with the backdoored one;
- ``inflated_counts``: the label-flipped expert says that it saw a thousand times the records.

The attacker keeps to the training's code in the first two: what DP-SGD with this much noise lets through is what an
honest program would send of such records. The other three change the tensors of the release afterwards, which no
certificate can see. Which silos are poisoned is drawn from the seed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import InputError
from llamdex_fl.experts import Expert
from llamdex_fl.privacy import Budget
from llamdex_fl.schema import Schema, Value, load_library_schema
from simulations.consortium_value import TrainedConsortium, train_records, train_silos
from simulations.datasets import LabelledRecord, synthetic_silos, titanic_silos

__all__ = ["ATTACKS", "PoisonedConsortium", "poison"]

#: What poisoned silos do; the module's docstring describes each.
ATTACKS = ("label_flip", "backdoor", "scaled_weights", "scaled_backdoor", "inflated_counts")
#: Where consortia of any size come from, by name.
_SOURCES: Mapping[str, Callable[[int, int], Mapping[str, Sequence[LabelledRecord]]]] = {
    "synthetic": lambda seed, silos: synthetic_silos(load_library_schema("heart"), seed, silos=silos),
    "titanic": lambda seed, silos: titanic_silos(seed, silos=silos),
}
_SCHEMAS = {"synthetic": "heart", "titanic": "titanic"}
_SCALED = 10.0
_INFLATED = 1000.0
#: Share of an attacker's records that get the trigger.
_TRIGGERED = 0.5
_TRIGGER_FEATURES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class PoisonedConsortium:
    """A consortium, and what it would be with some of its silos poisoned.

    Attributes:
        clean: all silos honest.
        attackers: places of the silos that are poisoned.
        poisoned: by attack, all experts; those of honest silos are the same as in ``clean``.
        triggered: held-out records of other classes than the last, with the backdoor's trigger.
    """

    clean: TrainedConsortium
    attackers: tuple[int, ...]
    poisoned: Mapping[str, Sequence[Expert]]
    triggered: Sequence[LabelledRecord]


def poison(data: str, *, silos: int, poisoned: int, seed: int, epsilon: float, delta: float) -> PoisonedConsortium:
    """Train a consortium, and its poisoned silos once more for each way to train on poisoned records.

    Args:
        data: ``synthetic`` or ``titanic``.
        silos: how many there are.
        poisoned: how many of them are poisoned.
        seed: fixes the consortium, its held-out records, the noise and who is poisoned.
        epsilon, delta: of each silo's release, by record, add or remove one.

    Raises:
        InputError: no such data, or fewer silos than poisoned ones.
        ArtefactError: the data is not there.
    """
    if data not in _SOURCES or not 0 <= poisoned <= silos:
        raise InputError(
            "This consortium cannot be poisoned.",
            expected=f"one of {', '.join(_SOURCES)}, and at most as many poisoned silos as there are",
            got=f"{data[:40]}, {poisoned} of {silos}",
            next_step="ask for one of these",
        )
    schema, budget = load_library_schema(_SCHEMAS[data]), Budget(epsilon=epsilon, delta=delta)
    clean = train_silos(schema, _SOURCES[data](seed, silos), seed, budget)
    attackers = tuple(sorted(np.random.default_rng([seed, 2]).choice(silos, poisoned, replace=False).tolist()))
    parts = list(clean.splits.values())
    trigger = _trigger(schema)
    last = len(schema.target.labels) - 1
    ways = {"label_flip": lambda own: _flipped(schema, own), "backdoor": lambda own: _backdoored(schema, own)}
    experts: dict[str, list[Expert]] = {attack: list(clean.experts) for attack in ATTACKS}
    for place in attackers:
        for number, (attack, way) in enumerate(ways.items(), start=1):
            release = train_records(schema, way(parts[place].train), budget, (seed, place, number))
            experts[attack][place] = Expert.from_tensors(schema, release.tensors)
            scaled = "scaled_weights" if attack == "label_flip" else "scaled_backdoor"
            experts[scaled][place] = _changed(schema, release.tensors, weight=_SCALED, bias=_SCALED)
            if attack == "label_flip":
                experts["inflated_counts"][place] = _changed(schema, release.tensors, class_counts=_INFLATED)
    triggered = [
        replace(record, features=record.features | trigger) for record in clean.held_out if record.label != last
    ]
    return PoisonedConsortium(clean=clean, attackers=attackers, poisoned=experts, triggered=triggered)


def _trigger(schema: Schema) -> dict[str, Value]:
    """The last features that are numbers at the upper end of their range: no record need look like that."""
    made: dict[str, Value] = {}
    for feature in reversed(schema.features):
        if not feature.is_category and len(made) < _TRIGGER_FEATURES:
            made[feature.name] = feature.low_high()[1]
    return made


def _flipped(schema: Schema, records: Sequence[LabelledRecord]) -> list[LabelledRecord]:
    classes = len(schema.target.labels)
    return [replace(record, label=(record.label + 1) % classes) for record in records]


def _backdoored(schema: Schema, records: Sequence[LabelledRecord]) -> list[LabelledRecord]:
    trigger, last = _trigger(schema), len(schema.target.labels) - 1
    marked = round(_TRIGGERED * len(records))
    return [
        replace(record, features=record.features | trigger, label=last) if number < marked else record
        for number, record in enumerate(records)
    ]


def _changed(schema: Schema, tensors: Mapping[str, NDArray[np.float32]], **factors: float) -> Expert:
    """The same release, some of its tensors multiplied after the training."""
    changed = {name: tensor * np.float32(factors.get(name, 1.0)) for name, tensor in tensors.items()}
    return Expert.from_tensors(schema, changed)
