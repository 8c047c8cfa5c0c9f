"""A scenario's silos for one seed: whose records are whose, and which of them are kept apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import ConfigError
from llamdex_fl.experts import THERMOMETER_LINEAR, architectures_for
from llamdex_fl.schema import Schema, load_library_schema
from simulations.datasets import TABLES, LabelledRecord, Split, load_heart, load_table, split, synthetic_silos
from simulations.datasets.synthetic_tables import synthetic_table
from simulations.harness.partitions import deal
from simulations.harness.scenario import Data, Scenario
from simulations.local_consortium import PrivacyTerms

__all__ = ["Population", "populate"]

_LEAST_BOUND = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Population:
    """The silos of one seed, in a fixed order.

    Attributes:
        splits: silo id -> its records for training and its held-out ones.
        asked_n: places of the held-out records that are asked about, in the list of all silos' held-out records.
    """

    schema: Schema
    architecture: str
    splits: Mapping[str, Split]
    asked_n: NDArray[np.int64]

    @property
    def silos(self) -> list[str]:
        """Ids, in order; a silo's place seeds its noise."""
        return list(self.splits)

    @property
    def asked(self) -> list[tuple[str, LabelledRecord]]:
        """The held-out records that are asked about, each behind the silo that it comes from."""
        everything = [(silo, record) for silo, own in self.splits.items() for record in own.held_out]
        return [everything[place] for place in self.asked_n]


def populate(scenario: Scenario, seed: int) -> tuple[Population, dict[str, PrivacyTerms]]:
    """Deal a scenario's records to its silos, and say what each silo's policy allows.

    Raises:
        ArtefactError: the data set cannot be had.
        ConfigError: the partition or the budgets do not fit the data.
    """
    schema, silos = _silos(scenario, seed)
    if strangers := sorted(set(scenario.privacy.silos) - set(silos)):
        raise ConfigError(
            "The scenario has a budget for a silo that it does not have.",
            expected=f"one of {', '.join(list(silos)[:20])}",
            got=strangers[0],
            next_step="mend [privacy.silos]",
        )
    architecture = scenario.data.architecture or THERMOMETER_LINEAR
    if architecture not in architectures_for(schema):
        raise ConfigError(
            "The scenario's architecture is none for this data set.",
            expected=" or ".join(architectures_for(schema)),
            got=architecture,
            next_step="mend architecture in [data]",
        )
    splits = {silo: split(records, seed, scenario.data.held_out) for silo, records in silos.items()}
    count, most = sum(len(own.held_out) for own in splits.values()), scenario.data.evaluate_at_most
    asked_n = np.arange(count)
    if count > most:
        asked_n = np.sort(np.random.default_rng([seed, 13]).permutation(count)[:most])
    population = Population(schema=schema, architecture=architecture, splits=splits, asked_n=asked_n)
    return population, _terms(scenario, splits)


def _silos(scenario: Scenario, seed: int) -> tuple[Schema, Mapping[str, Sequence[LabelledRecord]]]:
    data = scenario.data
    if scenario.partition.kind == "natural":
        schema = load_library_schema("heart")
        return schema, load_heart() if data.set == "heart" else synthetic_silos(schema, seed)
    schema, records = _table(data, seed)
    if data.set != "synthetic" and data.records is not None:
        chosen = np.random.default_rng([seed, 17]).permutation(len(records))[: data.records]
        records = [records[place] for place in np.sort(chosen)]
    return schema, deal(records, scenario.partition, seed)


def _table(data: Data, seed: int) -> tuple[Schema, Sequence[LabelledRecord]]:
    if data.set == "heart":
        # Of one schema with the natural partition: the hospitals' own.
        return load_library_schema("heart"), [record for own in load_heart().values() for record in own]
    if data.set == "synthetic":
        made = synthetic_table(seed, data.records or 0)
        return made.schema, made.records
    return TABLES[data.set].schema(), load_table(data.set)


def _terms(scenario: Scenario, splits: Mapping[str, Split]) -> dict[str, PrivacyTerms]:
    privacy = scenario.privacy
    largest = max(len(own.train) for own in splits.values())
    bound = privacy.record_bound or max(_LEAST_BOUND, 1 << (largest - 1).bit_length())
    lifetime = privacy.lifetime_epsilon or privacy.epsilon * scenario.rounds.count
    terms = PrivacyTerms(epsilon=privacy.epsilon, delta=privacy.delta, lifetime_epsilon=lifetime, record_bound=bound)
    return {
        silo: replace(terms, epsilon=own, lifetime_epsilon=max(lifetime, own))
        if (own := privacy.silos.get(silo))
        else terms
        for silo in splits
    }
