"""Every data set as one pooled table, under the name of its library schema."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from silo_client.packaged_files import PackagedFile, fetch
from simulations.datasets.bank import BANK_FILE, load_bank
from simulations.datasets.heart import load_heart
from simulations.datasets.nursery import NURSERY_FILE, load_nursery
from simulations.datasets.pima import PIMA_FILE, load_pima
from simulations.datasets.records import LabelledRecord
from simulations.datasets.titanic import TITANIC_FILE, load_titanic
from simulations.datasets.wine import WINE_FILES, load_wine

__all__ = ["TABLES", "Table", "load_table"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """How a table is loaded, and the files that must have been fetched for it."""

    load: Callable[[], tuple[LabelledRecord, ...]]
    files: tuple[PackagedFile, ...] = ()


def _all_hospitals() -> tuple[LabelledRecord, ...]:
    return tuple(patient for patients in load_heart().values() for patient in patients)


#: By the name of the library schema that the records follow.
TABLES: Mapping[str, Table] = {
    "titanic": Table(load=load_titanic, files=(TITANIC_FILE,)),
    "heart": Table(load=_all_hospitals),
    "nursery": Table(load=load_nursery, files=(NURSERY_FILE,)),
    "wine": Table(load=load_wine, files=tuple(WINE_FILES.values())),
    "bank": Table(load=load_bank, files=(BANK_FILE,)),
    "pima": Table(load=load_pima, files=(PIMA_FILE,)),
}


def load_table(name: str) -> tuple[LabelledRecord, ...]:
    """All records of a data set, fetched before if they were not.

    Args:
        name: a key of ``TABLES``.

    Raises:
        ArtefactError: the file cannot be had, or is another.
    """
    fetch(TABLES[name].files)
    return TABLES[name].load()
