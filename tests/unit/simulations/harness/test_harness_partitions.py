"""Partitions: every record goes to exactly one silo, a seed fixes which, and the skew is what its name says."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from llamdex_fl.errors import ConfigError
from simulations.datasets import LabelledRecord
from simulations.harness.partitions import deal, silo_names
from simulations.harness.scenario import Partition

_COUNT = 600


def _records() -> list[LabelledRecord]:
    random = np.random.default_rng(0)
    return [
        LabelledRecord(features={"id": place, "age": float(random.uniform(20, 80))}, label=int(random.integers(3)))
        for place in range(_COUNT)
    ]


RECORDS = _records()
KINDS = [
    Partition(kind="iid", silos=7),
    Partition(kind="dirichlet", silos=7, alpha=0.1),
    Partition(kind="quantity", silos=7, alpha=0.3),
    Partition(kind="by_feature", silos=7, feature="age"),
]


@pytest.mark.parametrize("partition", KINDS, ids=lambda partition: partition.kind)
def test_every_record_goes_to_one_silo_and_the_seed_says_which(partition: Partition):
    dealt = deal(RECORDS, partition, 3)
    assert list(dealt) == silo_names(7)
    assert sorted(record.features["id"] for own in dealt.values() for record in own) == list(range(_COUNT))
    assert min(map(len, dealt.values())) >= partition.least
    assert dealt == deal(RECORDS, partition, 3)
    assert dealt != deal(RECORDS, partition, 4) or partition.kind == "by_feature"


def test_iid_silos_are_alike():
    sizes = [len(own) for own in deal(RECORDS, KINDS[0], 0).values()]
    assert max(sizes) - min(sizes) <= 1


def _unlikeness(alpha: float) -> float:
    """Mean total variation between a silo's labels and all labels, over silos."""
    dealt = deal(RECORDS, Partition(kind="dirichlet", silos=6, alpha=alpha), 1)
    overall = np.bincount([record.label for record in RECORDS], minlength=3) / _COUNT
    shares = [np.bincount([r.label for r in own], minlength=3) / len(own) for own in dealt.values()]
    return float(np.mean([abs(share - overall).sum() / 2 for share in shares]))


def test_a_small_alpha_makes_labels_unlike():
    assert _unlikeness(0.1) > 0.3
    assert _unlikeness(1000.0) < 0.1


def test_a_small_alpha_makes_sizes_unlike():
    for alpha, unlike in ((0.2, True), (1000.0, False)):
        sizes = [len(own) for own in deal(RECORDS, Partition(kind="quantity", silos=6, alpha=alpha), 1).values()]
        assert (max(sizes) > 2 * _COUNT / 6) is unlike


def test_by_feature_cuts_along_the_feature():
    ages = [
        [record.features["age"] for record in own]
        for own in deal(RECORDS, Partition(kind="by_feature", silos=5, feature="age"), 0).values()
    ]
    assert all(max(below) <= min(above) for below, above in pairwise(ages))


def test_absent_values_come_last():
    records = [replace(RECORDS[place], features={"id": place}) for place in range(50)] + RECORDS[50:]
    dealt = list(deal(records, Partition(kind="by_feature", silos=4, feature="age"), 0).values())
    absent = [Counter("age" in record.features for record in own)[False] for own in dealt]
    assert absent == [0, 0, 0, 50]


@pytest.mark.parametrize(
    "partition",
    [Partition(kind="iid", silos=100, least=8), Partition(kind="by_feature", silos=2, feature="shoe_size")],
    ids=["too few records", "no such feature"],
)
def test_what_cannot_be_dealt_is_refused(partition: Partition):
    with pytest.raises(ConfigError):
        deal(RECORDS, partition, 0)
