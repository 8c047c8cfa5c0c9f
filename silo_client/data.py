"""Reading a silo's private records: strictly, in bounded memory, and without ever telling a value.

A file is either read whole and right, or refused with the row and the column of the first fault. Rows are counted
as a text editor counts lines of a table without line breaks in cells: the header is row 1. An error text may leave
the silo in a log or a bug report, so no cell's content appears in one.
"""

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from llamdex_fl.errors import RecordError
from llamdex_fl.schema import Feature, Schema, Value

__all__ = ["SiloData", "read_records"]

#: Longest row, in bytes. A record of any schema here fits many times.
_MAX_ROW_BYTES = 64 * 1024
#: Most records that are read into memory.
_MAX_RECORDS = 5_000_000
#: Plain decimal numbers; not everything that float() takes (1_000, nan, Arabic-Indic digits).
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, kw_only=True, slots=True)
class SiloData:
    """Private records. The repr tells nothing about them.

    Attributes:
        records: feature name to value; None is absent.
        labels: each record's place in ``schema.target.labels``.
        digest: hex SHA-256 of the file's bytes.
    """

    records: tuple[dict[str, Value], ...] = field(repr=False)
    labels: tuple[int, ...] = field(repr=False)
    digest: str


def read_records(path: Path, schema: Schema) -> SiloData:
    """Read a CSV file of records that follow a schema.

    The header names every feature and the target, in any order; the schema's silo column may be there too. Cells
    are trimmed, and an empty one is absent; the target never is.

    Raises:
        RecordError: the file is missing, empty or too large, is not UTF-8 CSV, or a row breaks the schema.
    """
    try:
        if path.is_file():
            return _read(path, schema)
        got = "something else, such as a directory" if path.exists() else "nothing"
    except OSError as error:
        raise RecordError(
            f"The data file {path} cannot be opened or read.",
            expected="a file that this user may read",
            got=error.strerror or type(error).__name__,
            next_step="change its permissions, or look after its disk",
        ) from error
    raise RecordError(
        f"There is no data file {path}.", expected="a CSV file", got=got, next_step="mend the path in silo.toml"
    )


def _read(path: Path, schema: Schema) -> SiloData:
    # Opened here, not by the lines themselves: a generator that is left in the middle closes its file at any time.
    with path.open("rb") as file:
        return _read_lines(path, schema, _Lines(path, file))


def _read_lines(path: Path, schema: Schema, lines: "_Lines") -> SiloData:
    reader = csv.reader(lines, strict=True)
    records: list[dict[str, Value]] = []
    labels: list[int] = []
    try:
        columns = _Columns(path, schema, next(reader, None))
        lines.begin_row()
        for cells in reader:
            record, label = columns.read(lines.row, cells)
            records.append(record)
            labels.append(label)
            if len(records) > _MAX_RECORDS:
                raise _wrong(path, f"at most {_MAX_RECORDS} records", "more")
            lines.begin_row()
    except csv.Error as error:
        raise _wrong(
            path,
            "CSV with commas, straight double quotes, and lines that end in LF or CRLF",
            f"row {lines.row}: broken quoting or line ends",
        ) from error
    if not records:
        raise _wrong(path, "at least one record below the header", "none")
    return SiloData(records=tuple(records), labels=tuple(labels), digest=lines.digest.hexdigest())


class _Lines:
    """The file's lines as text, hashed on the way; never more than one row of them in memory."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self.digest = hashlib.sha256()
        self._bytes = 0
        self.row = 1

    def begin_row(self) -> None:
        """The next line is a new row's."""
        self.row += 1
        self._bytes = 0

    def __iter__(self) -> Iterator[str]:
        encoding = "utf-8-sig"
        while line := self._file.readline(_MAX_ROW_BYTES + 1):
            # Of the row and not of the line: a cell in quotes may hold line breaks, and a row any number of cells.
            self._bytes += len(line)
            if self._bytes > _MAX_ROW_BYTES:
                raise _wrong(self._path, f"rows of at most {_MAX_ROW_BYTES} bytes", f"a longer one, row {self.row}")
            self.digest.update(line)
            try:
                # A byte order mark, as spreadsheets write it, is not part of the first column's name.
                yield line.decode(encoding)
            except UnicodeDecodeError as error:
                raise _wrong(self._path, "UTF-8 text", f"other bytes, row {self.row}") from error
            encoding = "utf-8"


class _Columns:
    """Knows where each column stands, and reads rows."""

    def __init__(self, path: Path, schema: Schema, header: Sequence[str] | None) -> None:
        self._path = path
        self._target = schema.target
        names = [name.strip() for name in header or []]
        if not any(names):
            raise _wrong(path, "a header with the schema's columns", "an empty file or first row")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise _wrong(path, "each column once in the header", f"more than once: {_known(twice, schema)}")
        needed = [feature.name for feature in schema.features] + [schema.target.name]
        missing = [name for name in needed if name not in names]
        if missing:
            raise _wrong(path, f"the columns {', '.join(needed)}", f"missing: {', '.join(missing)}")
        unknown = set(names) - set(needed) - {schema.silo_column}
        if unknown:
            # Not named: where the header is missing, the first row's values would stand here.
            raise _wrong(path, f"the columns {', '.join(needed)} and no other", f"{len(unknown)} unknown columns")
        self._width = len(names)
        self._features = [(feature, names.index(feature.name)) for feature in schema.features]
        self._target_place = names.index(schema.target.name)
        self._label_of = {label: index for index, label in enumerate(schema.target.labels)}

    def read(self, row: int, cells: Sequence[str]) -> tuple[dict[str, Value], int]:
        if len(cells) != self._width:
            raise _wrong(self._path, f"{self._width} cells a row", f"{len(cells)} cells in row {row}")
        record = {feature.name: self._value(row, feature, cells[place].strip()) for feature, place in self._features}
        label = self._label_of.get(cells[self._target_place].strip())
        if label is None:
            expected = "one of " + ", ".join(self._target.labels)
            raise self._bad_cell(row, self._target.name, expected, "mend this cell, or leave the record out")
        return record, label

    def _value(self, row: int, feature: Feature, text: str) -> Value:
        if not text:
            return None
        if feature.is_category or feature.is_text:
            value: Value = text
        elif not _NUMBER.fullmatch(text):
            raise self._bad_cell(row, feature.name, feature.expected())
        else:
            number = float(text)
            value = int(number) if feature.kind == "integer" and number.is_integer() else number
        if not feature.contains(value):
            raise self._bad_cell(row, feature.name, feature.expected())
        return value

    def _bad_cell(
        self,
        row: int,
        column: str,
        expected: str,
        next_step: str = "mend this cell, or empty it where the value is unknown",
    ) -> RecordError:
        return RecordError(
            f"{self._path}: row {row}, column {column} breaks the schema.",
            expected=expected,
            got="another value (not shown: it may be private)",
            next_step=next_step,
        )


def _known(names: Sequence[str], schema: Schema) -> str:
    """Names from a header that may be shown, because the schema has them too."""
    public = {feature.name for feature in schema.features} | {schema.target.name, schema.silo_column}
    return ", ".join(name if name in public else "a name that the schema does not have" for name in names)


def _wrong(path: Path, expected: str, got: str) -> RecordError:
    return RecordError(
        f"{path} cannot be read as records.", expected=expected, got=got, next_step="mend the file; nothing was used"
    )
