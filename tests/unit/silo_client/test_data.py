"""Reading records: strict, in bounded memory, and no error tells a value."""

import hashlib
import os
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamdex_fl.errors import RecordError
from llamdex_fl.schema import load_library_schema
from silo_client.data import read_records

HEART = load_library_schema("heart")
HEADER = ",".join([*(feature.name for feature in HEART.features), "heart_disease"])
ROW = "63,male,typical angina,145,233,yes,left ventricular hypertrophy,150,no,2.3,no"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "patients.csv"


def test_a_good_file(path: Path) -> None:
    path.write_text(f"{HEADER}\n{ROW}\n 70 , female,,,,,,,,,yes\n", encoding="utf-8")
    data = read_records(path, HEART)
    assert data.labels == (0, 1)
    assert data.records[0]["age"] == 63
    assert data.records[0]["st_depression"] == 2.3
    assert data.records[1] == {**dict.fromkeys(data.records[0]), "age": 70, "sex": "female"}
    assert data.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_repr_tells_nothing(path: Path) -> None:
    path.write_text(f"{HEADER}\n{ROW}\n", encoding="utf-8")
    assert "63" not in repr(read_records(path, HEART)).replace(read_records(path, HEART).digest, "")


def test_columns_in_any_order_a_byte_order_mark_windows_lines_and_the_silo_column(path: Path) -> None:
    names = ["hospital", *reversed(HEADER.split(","))]
    cells = ["Cleveland", *reversed(ROW.split(","))]
    path.write_bytes(b"\xef\xbb\xbf" + f"{','.join(names)}\r\n{','.join(cells)}\r\n".encode())
    assert read_records(path, HEART).records[0]["age"] == 63


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("age", "SECRET"),
        ("age", "63.5"),
        ("age", "7"),
        ("age", "101"),
        ("age", "nan"),
        ("age", "1e999"),
        ("age", "6_3"),
        ("age", "٦٣"),
        ("st_depression", "inf"),
        ("sex", "SECRET"),
        ("sex", "Male"),
        ("heart_disease", ""),
        ("heart_disease", "SECRET"),
        ("chest_pain", '"typical,angina"'),
    ],
)
def test_a_wrong_cell_is_named_by_row_and_column_and_not_shown(path: Path, column: str, value: str) -> None:
    cells = ROW.split(",")
    cells[HEADER.split(",").index(column)] = value
    path.write_text(f"{HEADER}\n{ROW}\n{','.join(cells)}\n", encoding="utf-8")
    with pytest.raises(RecordError) as refused:
        read_records(path, HEART)
    assert refused.value.problem == f"{path}: row 3, column {column} breaks the schema."
    assert "SECRET" not in str(refused.value)
    if value:
        assert value not in str(refused.value).replace(str(path), "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"\n\n", "an empty file or first row"),
        (f"{HEADER}\n".encode(), "none"),
        (f"{HEADER},age\n{ROW},1\n".encode(), "more than once: age"),
        (HEADER.replace("cholesterol,", "").encode(), "missing: cholesterol"),
        (f"{HEADER},SECRET\n{ROW},1\n".encode(), "1 unknown columns"),
        (f"{HEADER}\n{ROW},SECRET\n".encode(), "12 cells in row 2"),
        (f"{HEADER}\n63\n".encode(), "1 cells in row 2"),
        (f"{HEADER}\n{ROW}\n\n{ROW}\n".encode(), "0 cells in row 3"),
        (f"{HEADER}\n".encode() + b"\xff\xfeSECRET\n", "other bytes, row 2"),
        (f'{HEADER}\n"63'.encode(), "row 2: broken quoting"),
        (f'{HEADER}\n{ROW}\n"63"SECRET,\n'.encode(), "row 3: broken quoting"),
        (f"{HEADER}\r{ROW}\r".encode(), "row 1: broken quoting or line ends"),
        (f"{HEADER}\n{ROW[:-3]}\n".encode(), "10 cells in row 2"),
        (f"{HEADER}\n{ROW[:-2]}\n".encode(), "leave the record out"),
        (ROW.replace("63", "SECRET").encode(), "a name that the schema does not have"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_file_is_refused(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(RecordError) as refused:
        read_records(path, HEART)
    assert said in str(refused.value)
    assert "SECRET" not in str(refused.value)


def test_no_file_and_a_directory(tmp_path: Path) -> None:
    for path, got in ((tmp_path / "none.csv", "nothing"), (tmp_path, "directory")):
        with pytest.raises(RecordError, match=f"no data file.*{got}"):
            read_records(path, HEART)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(path: Path) -> None:
    path.touch(0o000)
    with pytest.raises(RecordError, match="cannot be opened"):
        read_records(path, HEART)


def test_a_line_of_two_gigabytes_is_refused_in_bounded_memory(path: Path) -> None:
    with path.open("wb") as file:
        file.write(f"{HEADER}\n".encode())
        file.truncate(2 << 30)  # a hole on the disk, two gigabytes to whoever reads it
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RecordError, match="row 2"):
        read_records(path, HEART)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # kilobytes


def test_a_quoted_cell_over_many_lines_is_refused_in_bounded_memory(path: Path) -> None:
    with path.open("wb") as file:
        file.write(f'{HEADER}\n"'.encode())
        for _ in range(200):
            file.write(b"x" * 60_000 + b"\n")
    with pytest.raises(RecordError, match="a longer one, row 2"):
        read_records(path, HEART)


def test_a_row_of_endless_cells_with_line_breaks_is_refused_in_bounded_memory(path: Path) -> None:
    path.write_text(f'{HEADER}\n"' + '\nxy","' * 1_000_000, encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RecordError, match="a longer one, row 2"):
        read_records(path, HEART)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # kilobytes


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(content=st.binary(max_size=300))
def test_no_bytes_end_in_anything_but_a_record_error(path: Path, content: bytes) -> None:
    for prefix in (b"", f"{HEADER}\n".encode()):
        path.write_bytes(prefix + content)
        with pytest.raises(RecordError):
            read_records(path, HEART)


def test_texts_keep_their_commas_quotes_and_lines(path: Path) -> None:
    sentiment = load_library_schema("sentiment")
    path.write_text('text,sentiment\n"Good, she said:\n""very"" good ",positive\n,negative\n', encoding="utf-8")
    data = read_records(path, sentiment)
    assert [record["text"] for record in data.records] == ['Good, she said:\n"very" good', None]
    assert data.labels == (1, 0)


def test_a_text_that_is_too_long_is_refused_and_not_shown(path: Path) -> None:
    path.write_text("text,sentiment\n" + "SECRET" * 400 + ",positive\n", encoding="utf-8")
    with pytest.raises(RecordError) as refusal:
        read_records(path, load_library_schema("sentiment"))
    assert "SECRET" not in str(refusal.value)
    assert refusal.value.expected == "a text of at most 2000 characters"
