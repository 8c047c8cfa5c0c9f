"""Every data set as one pooled table."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llamdex_fl.schema import Schema, load_library_schema
from silo_client.packaged_files import PackagedFile, fetch
from simulations.datasets.bank import BANK_FILE, load_bank
from simulations.datasets.heart import load_pooled_heart, pooled_heart_schema
from simulations.datasets.nursery import NURSERY_FILE, load_nursery
from simulations.datasets.pima import PIMA_FILE, load_pima
from simulations.datasets.records import LabelledRecord
from simulations.datasets.titanic import TITANIC_FILE, load_titanic
from simulations.datasets.wine import WINE_FILES, load_wine

__all__ = ["TABLES", "Table", "load_table"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """How a table is loaded, what its records mean, and the files that must have been fetched for it."""

    schema: Callable[[], Schema]
    load: Callable[[], tuple[LabelledRecord, ...]]
    files: tuple[PackagedFile, ...] = ()


def _library(name: str) -> Callable[[], Schema]:
    return functools.partial(load_library_schema, name)


#: By data set. All but heart's follow a library schema.
TABLES: Mapping[str, Table] = {
    "titanic": Table(schema=_library("titanic"), load=load_titanic, files=(TITANIC_FILE,)),
    "heart": Table(schema=pooled_heart_schema, load=load_pooled_heart),
    "nursery": Table(schema=_library("nursery"), load=load_nursery, files=(NURSERY_FILE,)),
    "wine": Table(schema=_library("wine"), load=load_wine, files=tuple(WINE_FILES.values())),
    "bank": Table(schema=_library("bank"), load=load_bank, files=(BANK_FILE,)),
    "pima": Table(schema=_library("pima"), load=load_pima, files=(PIMA_FILE,)),
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
