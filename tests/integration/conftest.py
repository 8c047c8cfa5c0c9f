"""A small consortium with synthetic patients."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from llamdex_fl.release import Offer
from llamdex_fl.schema import Schema, Value, load_library_schema
from silo_client.policy import DEFAULT_PURPOSE
from simulations.datasets import LabelledRecord, write_silo_csv
from simulations.local_consortium import Founded, found_consortium

_RECORDS = 60


def _records(schema: Schema, seed: int) -> list[LabelledRecord]:
    chance = random.Random(seed)
    records = []
    for _ in range(_RECORDS):
        features: dict[str, Value] = {}
        for feature in schema.features:
            if feature.is_category:
                features[feature.name] = chance.choice(feature.categories)
            else:
                low, high = feature.low_high()
                features[feature.name] = chance.randint(int(low), int(high)) if feature.kind == "integer" else low
        records.append(LabelledRecord(features=features, label=chance.randrange(len(schema.target.labels))))
    return records


@pytest.fixture(scope="session")
def found_small() -> Callable[[Path, Sequence[str]], tuple[Founded, Offer]]:
    """Found a consortium of these silos in a directory; gives the homes and an offer that the policies allow."""

    def found(directory: Path, silos: Sequence[str]) -> tuple[Founded, Offer]:
        schema = load_library_schema("heart")
        data = {silo: directory / f"{silo}.csv" for silo in silos}
        for seed, path in enumerate(data.values()):
            write_silo_csv(path, schema, _records(schema, seed))
        founded = found_consortium(directory / "founded", schema, data)
        offer = Offer(
            provider=founded.provider,
            purpose=DEFAULT_PURPOSE,
            schema_digest=schema.digest(),
            architecture="thermometer_linear/v1",
            base_model_digest="b" * 64,
            epsilon=1.0,
            delta=1e-4,
            challenge="0" * 64,
        )
        return founded, offer

    return found
