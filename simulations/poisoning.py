"""Some silos of a consortium are poisoned: what is left of the accuracy, and how the combination makes a difference.

All experts take the real path of a silo (``simulations.consortium_value``). A poisoned silo does one of:

- ``label_flip``: it trains on its records with the next class in each label's place;
- ``backdoor``: half of its records get the trigger, two numbers at the upper end of their range, and the last class;
- ``scaled_weights``: the label-flipped expert with ten times the weights and bias;
- ``scaled_backdoor``: the same with the backdoored one;
- ``inflated_counts``: the label-flipped expert says that it saw a thousand times the records.

The attacker keeps to the training's code in the first two: what DP-SGD with this much noise lets through is what an
honest program would send of such records. The other three change the tensors of the release afterwards, which no
certificate can see. Which silos are poisoned is drawn from the seed. Every figure is of the honest silos' held-out
records: what a poisoned silo is told about its own is its own affair.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llamdex_fl import weights
from llamdex_fl.errors import InputError
from llamdex_fl.experts import Expert, LinearExpert, Panel, Robustness, one_against_rest
from llamdex_fl.privacy import Budget
from llamdex_fl.schema import Schema, Value, load_library_schema
from provider_server.config import Limits
from provider_server.quarantine import judge
from simulations.consortium_value import TrainedConsortium, train_records, train_silos
from simulations.datasets import LabelledRecord, synthetic_silos, titanic_silos

__all__ = [
    "ATTACKS",
    "CONDITIONS",
    "INFLATED",
    "PLAIN",
    "SCALED",
    "Measured",
    "PoisonedConsortium",
    "measure",
    "poison",
    "quarantined",
]

#: What poisoned silos do; the module's docstring describes each.
ATTACKS = ("label_flip", "backdoor", "scaled_weights", "scaled_backdoor", "inflated_counts")
#: What is compared: all honest, the poisoned ones simply not there, and each attack.
CONDITIONS = ("clean", "left_out", *ATTACKS)
#: All experts averaged, whatever their number.
PLAIN = Robustness(least_experts=1 << 30)
#: Where consortia of any size come from, by name.
_SOURCES: Mapping[str, Callable[[int, int], Mapping[str, Sequence[LabelledRecord]]]] = {
    "synthetic": lambda seed, silos: synthetic_silos(load_library_schema("heart"), seed, silos=silos),
    "titanic": lambda seed, silos: titanic_silos(seed, silos=silos),
}
_SCHEMAS = {"synthetic": "heart", "titanic": "titanic"}
#: A log-loss counts no chance as less.
_LEAST_CHANCE = 1e-12
#: What an attacker multiplies its weights, or its counts, by.
SCALED = 10.0
INFLATED = 1000.0
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
        triggered: honest silos' held-out records of other classes than the last, with the backdoor's trigger.
    """

    clean: TrainedConsortium
    attackers: tuple[int, ...]
    poisoned: Mapping[str, Sequence[Expert]]
    triggered: Sequence[LabelledRecord]

    def members(self, condition: str) -> tuple[list[Expert], list[int]]:
        """The experts that speak under one of ``CONDITIONS``, and their places in the consortium."""
        honest = [place for place in range(len(self.clean.experts)) if place not in self.attackers]
        places = honest if condition == "left_out" else list(range(len(self.clean.experts)))
        experts = self.poisoned.get(condition, self.clean.experts)
        return [experts[place] for place in places], places


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Figures of one condition under one rule of combination, on honest silos' held-out records.

    Attributes:
        accuracy, auc, log_loss: the asker's silo known.
        accuracy_unknown: the asker's silo unknown.
        triggered_rate: share of records of other classes that are answered with the last class once they have the
            backdoor's trigger.
    """

    accuracy: float
    auc: float
    log_loss: float
    accuracy_unknown: float
    triggered_rate: float


def poison(data: str, *, silos: int, poisoned: int, seed: int, budget: Budget) -> PoisonedConsortium:
    """Train a consortium, and its poisoned silos once more for each way to train on poisoned records.

    Args:
        data: ``synthetic`` or ``titanic``.
        silos: how many there are.
        poisoned: how many of them are poisoned.
        seed: fixes the consortium, its held-out records, the noise and who is poisoned.
        budget: of each silo's release, by record, add or remove one.

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
    schema = load_library_schema(_SCHEMAS[data])
    clean = train_silos(schema, _SOURCES[data](seed, silos), seed, budget)
    attackers = tuple(sorted(np.random.default_rng([seed, 2]).choice(silos, poisoned, replace=False).tolist()))
    parts = list(clean.splits.values())
    trigger = _trigger(schema)
    last = len(schema.target.labels) - 1
    ways: Mapping[str, Callable[[Schema, Sequence[LabelledRecord]], list[LabelledRecord]]] = {
        "label_flip": _flipped,
        "backdoor": _backdoored,
    }
    experts: dict[str, list[Expert]] = {attack: list(clean.experts) for attack in ATTACKS}
    for place in attackers:
        for number, (attack, way) in enumerate(ways.items(), start=1):
            release = train_records(schema, way(schema, parts[place].train), budget, (seed, place, number))
            experts[attack][place] = Expert.from_tensors(schema, release.tensors)
            scaled = "scaled_weights" if attack == "label_flip" else "scaled_backdoor"
            experts[scaled][place] = _changed(schema, release.tensors, weight=SCALED, bias=SCALED)
            if attack == "label_flip":
                experts["inflated_counts"][place] = _changed(schema, release.tensors, class_counts=INFLATED)
    triggered = [
        replace(record, features=record.features | trigger)
        for place, part in enumerate(parts)
        if place not in attackers
        for record in part.held_out
        if record.label != last
    ]
    return PoisonedConsortium(clean=clean, attackers=attackers, poisoned=experts, triggered=triggered)


def measure(consortium: PoisonedConsortium, condition: str, robustness: Robustness | None = None) -> Measured:
    """Score one of ``CONDITIONS`` under a rule of combination; None for the project's."""
    experts, places = consortium.members(condition)
    panel = Panel.of(experts, [consortium.clean.guarantees[place] for place in places], robustness)
    asked = [
        (record, place)
        for place, part in enumerate(consortium.clean.splits.values())
        if place not in consortium.attackers
        for record in part.held_out
    ]
    labels_n = np.array([record.label for record, _ in asked])
    priors_nC = np.array([consortium.clean.experts[place].prior for _, place in asked])
    records = [record.features for record, _ in asked]
    known_nC, unknown_nC = panel.combined(records, priors_nC), panel.combined(records)
    triggered_nC = panel.combined([record.features for record in consortium.triggered])
    right_n = known_nC[np.arange(len(labels_n)), labels_n]
    return Measured(
        accuracy=float((known_nC.argmax(axis=1) == labels_n).mean()),
        auc=one_against_rest(known_nC, labels_n),
        log_loss=float(-np.log(np.maximum(right_n, _LEAST_CHANCE)).mean()),
        accuracy_unknown=float((unknown_nC.argmax(axis=1) == labels_n).mean()),
        triggered_rate=float((triggered_nC.argmax(axis=1) == triggered_nC.shape[1] - 1).mean()),
    )


def quarantined(consortium: PoisonedConsortium, condition: str) -> list[int]:
    """Places of the silos that the provider's quarantine would keep, each judged beside all others' releases."""
    experts, places = consortium.members(condition)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{place}.safetensors" for place in places]
        for path, expert in zip(paths, experts, strict=True):
            weights.save(path, _tensors(expert))
        return [
            place
            for place, path in zip(places, paths, strict=True)
            if judge(path, [other for other in paths if other != path], Limits())
        ]


def _tensors(expert: Expert) -> dict[str, NDArray[np.float32]]:
    assert isinstance(expert, LinearExpert)  # noqa: S101 - tables only
    tensors = {"weight": expert.weight_CD, "bias": expert.bias_C, "class_counts": expert.class_counts_C}
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


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
