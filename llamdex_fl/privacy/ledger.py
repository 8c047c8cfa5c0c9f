"""The ledger of DP events: what was spent on each data set, over all runs, for as long as the file lives.

Order of things: ``begin`` writes an entry, and only when it has returned may a mechanism touch the records. From
then on the entry counts, whether or not the run finishes: a process that is killed has spent what it announced.
``begin`` checks the lifetime budget and writes the entry in one exclusive transaction, so two processes cannot
both spend the last of it, and it returns after the entry is on the disk.

A data set is known by the digest of its bytes and by the owner's name for it. Entries that share either belong to
one account: editing a row does not refill the budget, and neither does renaming the file.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llamdex_fl.errors import BudgetSpentError, LedgerError
from llamdex_fl.privacy.accounting import certified_epsilon, weaken
from llamdex_fl.privacy.guarantee import LaplaceCounts, Mechanism, SampledGaussian

__all__ = ["Budget", "DataSetId", "Ledger", "LedgerEntry", "Spending"]

#: "LLdx" in the file's header: another program's database is refused.
_APPLICATION_ID = 0x4C4C6478
_VERSION = 1
_MAGIC = b"SQLite format 3\x00"
#: Seconds that one process waits for another's composition.
_BUSY_SECONDS = 60.0
#: Buckets for the search of what would still fit; pessimistic as ever, only coarser.
_COARSE = 1e-3
_WEAKEST = 64.0

_TABLES = """
CREATE TABLE entry (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  account INTEGER NOT NULL,
  begun_at TEXT NOT NULL,
  finished_at TEXT,
  digest TEXT NOT NULL,
  name TEXT NOT NULL,
  purpose TEXT NOT NULL,
  schema_digest TEXT NOT NULL,
  reference TEXT NOT NULL,
  mechanisms TEXT NOT NULL
) STRICT;
CREATE TABLE alias (word TEXT PRIMARY KEY, account INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER costs_stay BEFORE UPDATE OF mechanisms, digest, name ON entry BEGIN
  SELECT raise(ABORT, 'entries are never rewritten'); END;
CREATE TRIGGER entries_stay BEFORE DELETE ON entry BEGIN SELECT raise(ABORT, 'entries are never deleted'); END;
"""
_OF_ONE_DATA_SET = "SELECT * FROM entry WHERE account IN (SELECT account FROM alias WHERE word IN (?, ?)) ORDER BY id"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSetId:
    """Which records were spent on: hex SHA-256 of the file's bytes, and the owner's name for them."""

    digest: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What all entries of one data set may cost together, ever."""

    epsilon: float
    delta: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Spending:
    """What a run is about to spend.

    Attributes:
        data_set: the records that the run will touch.
        mechanisms: all of the run's mechanisms, at their full length.
        purpose: the word of the offer.
        schema_digest: which schema the records follow.
        reference: what called for the run, for example the round's challenge. For reading only: a run that is
            started again is a new entry and costs again.
    """

    data_set: DataSetId
    mechanisms: tuple[Mechanism, ...]
    purpose: str
    schema_digest: str
    reference: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry:
    """One announced run. ``finished_at`` is None where it was cut off; it counts all the same."""

    entry: int
    account: int
    begun_at: str
    finished_at: str | None
    spending: Spending

    @property
    def status(self) -> str:
        """``finished`` or ``begun``."""
        return "begun" if self.finished_at is None else "finished"


class Ledger:
    """A ledger file. Every method opens the file anew, so threads and processes may share a path."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made, readable by its owner only, when the first entry is written."""
        self._path = path

    def begin(self, spending: Spending, *, budget: Budget) -> int:
        """Write the entry of a run that has not begun, if the budget reaches for it.

        Args:
            spending: what the run will do.
            budget: the lifetime budget from the silo's own policy.

        Returns:
            The entry's number; the entry is on the disk.

        Raises:
            BudgetSpentError: all entries together would cost more than the budget. No entry was written.
            LedgerError: the file cannot be used.
        """
        if not spending.mechanisms:
            raise _damaged(self._path, "an entry without mechanisms")
        with self._transaction() as database:
            account = _account(database, spending.data_set)
            spent = _mechanisms(self._path, database, account)
            total = certified_epsilon([*spent, *spending.mechanisms], budget.delta)
            if total <= budget.epsilon:
                return _insert(database, account, spending)
            # The names are kept although the run is refused: they are known to be the same records from now on.
        raise _spent(spending, spent, budget, total)

    def recover(self, spending: Spending) -> int:
        """Write the entry of a run of long ago that this file has lost; it is over, so no budget can refuse it.

        Returns:
            The entry's number; the entry is on the disk.

        Raises:
            LedgerError: the file cannot be used.
        """
        if not spending.mechanisms:
            raise _damaged(self._path, "an entry without mechanisms")
        with self._transaction() as database:
            entry = _insert(database, _account(database, spending.data_set), spending)
            database.execute("UPDATE entry SET finished_at = begun_at WHERE id = ?", (entry,))
        return entry

    def finish(self, entry: int) -> None:
        """Note that a run came to its end. This changes no sum.

        Raises:
            LedgerError: there is no such entry, or it is finished already.
        """
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE entry SET finished_at = ? WHERE id = ? AND finished_at IS NULL", (_now(), entry)
            ).rowcount
            if changed != 1:
                raise LedgerError(
                    f"The ledger {self._path} cannot finish entry {entry}.",
                    expected="an entry that has begun",
                    got="none, or one that is finished",
                    next_step="look at the entries with: llamdex-silo ledger",
                )

    def entries(self, data_set: DataSetId | None = None) -> tuple[LedgerEntry, ...]:
        """All entries, oldest first, or those that count for one data set."""
        if not self._path.exists():
            return ()
        with self._transaction() as database:
            rows = (
                database.execute("SELECT * FROM entry ORDER BY id").fetchall()
                if data_set is None
                else database.execute(_OF_ONE_DATA_SET, _words(data_set)).fetchall()
            )
        return tuple(_entry(self._path, row) for row in rows)

    def spent(self, data_set: DataSetId, delta: float) -> float:
        """Epsilon at ``delta`` of everything that was ever spent on a data set."""
        return certified_epsilon([m for entry in self.entries(data_set) for m in entry.spending.mechanisms], delta)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Made by hand and not by SQLite, so that it never is readable by others.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            _require_database(self._path)
            database = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise _damaged(self._path, type(error).__name__) from error
        database.row_factory = sqlite3.Row
        try:
            # EXTRA also syncs the directory after the rollback journal is gone: a power cut cannot lose an entry.
            database.execute("PRAGMA synchronous = EXTRA")
            database.execute("BEGIN EXCLUSIVE")
            _require_ours(self._path, database)
            yield database
            database.execute("COMMIT")
        except sqlite3.Error as error:
            raise _damaged(self._path, str(error)) from error
        finally:
            # Without a COMMIT, closing rolls back.
            database.close()


def _require_database(path: Path) -> None:
    """SQLite takes a stump of a file for an empty database, and so would forget what was spent."""
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head not in {b"", _MAGIC}:
        raise _damaged(path, "a file that is no SQLite database")


def _require_ours(path: Path, database: sqlite3.Connection) -> None:
    application = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    tables = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if (application, version, tables) == (0, 0, 0):
        for statement in _TABLES.split(";\nCREATE"):
            text = statement if statement.lstrip().startswith("CREATE") else "CREATE" + statement
            database.execute(text)
        database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {_VERSION}")
    elif (application, version) != (_APPLICATION_ID, _VERSION):
        raise _damaged(path, f"another program's file, or version {version}")


def _words(data_set: DataSetId) -> tuple[str, str]:
    return f"digest:{data_set.digest}", f"name:{data_set.name}"


def _account(database: sqlite3.Connection, data_set: DataSetId) -> int:
    """The account of a data set; two accounts that turn out to be one are joined."""
    words = _words(data_set)
    found = [
        int(row[0])
        for row in database.execute("SELECT DISTINCT account FROM alias WHERE word IN (?, ?) ORDER BY account", words)
    ]
    if found:
        account = found[0]
        for other in found[1:]:
            database.execute("UPDATE entry SET account = ? WHERE account = ?", (account, other))
            database.execute("UPDATE alias SET account = ? WHERE account = ?", (account, other))
    else:
        account = int(database.execute("SELECT coalesce(max(account), 0) + 1 FROM alias").fetchone()[0])
    database.executemany("INSERT OR IGNORE INTO alias VALUES (?, ?)", [(word, account) for word in words])
    return account


def _insert(database: sqlite3.Connection, account: int, spending: Spending) -> int:
    written = database.execute(
        "INSERT INTO entry (account, begun_at, digest, name, purpose, schema_digest, reference, mechanisms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            account,
            _now(),
            spending.data_set.digest,
            spending.data_set.name,
            spending.purpose,
            spending.schema_digest,
            spending.reference,
            json.dumps([asdict(mechanism) for mechanism in spending.mechanisms], sort_keys=True),
        ),
    )
    return int(written.lastrowid or 0)


def _mechanisms(path: Path, database: sqlite3.Connection, account: int) -> list[Mechanism]:
    rows = database.execute("SELECT mechanisms FROM entry WHERE account = ?", (account,)).fetchall()
    return [mechanism for row in rows for mechanism in _parse(path, row[0])]


def _entry(path: Path, row: sqlite3.Row) -> LedgerEntry:
    return LedgerEntry(
        entry=row["id"],
        account=row["account"],
        begun_at=row["begun_at"],
        finished_at=row["finished_at"],
        spending=Spending(
            data_set=DataSetId(digest=row["digest"], name=row["name"]),
            mechanisms=_parse(path, row["mechanisms"]),
            purpose=row["purpose"],
            schema_digest=row["schema_digest"],
            reference=row["reference"],
        ),
    )


def _parse(path: Path, text: str) -> tuple[Mechanism, ...]:
    """An entry's mechanisms; a word that this version does not know is refused, never skipped."""
    kinds: dict[str, Any] = {"sampled_gaussian": SampledGaussian, "laplace_counts": LaplaceCounts}
    try:
        return tuple(kinds[item["kind"]](**item) for item in json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"a mechanism that cannot be read ({type(error).__name__})") from error


def _spent(spending: Spending, spent: Sequence[Mechanism], budget: Budget, total: float) -> BudgetSpentError:
    before = certified_epsilon(spent, budget.delta)
    left = max(budget.epsilon - before, 0.0)
    fits = _what_fits(spent, spending.mechanisms, budget)
    return BudgetSpentError(
        f"The privacy budget of the data set {spending.data_set.name} does not reach for this run.",
        expected=f"at most epsilon {budget.epsilon:g} at delta {budget.delta:g} over all runs",
        got=f"epsilon {before:.4f} spent so far, {left:.4f} left; {total:.4f} with this run",
        next_step=(
            f"ask for a run of epsilon {fits:.3f} or less, which would still fit"
            if fits > 0.0
            else "nothing fits any more: raise lifetime_epsilon in policy.toml only if the data's owner agrees"
        ),
    )


def _what_fits(spent: Sequence[Mechanism], asked: Sequence[Mechanism], budget: Budget) -> float:
    """The largest epsilon that the same run could still have with more noise; 0 where none fits."""

    def total(factor: float) -> float:
        return certified_epsilon([*spent, *weaken(asked, factor)], budget.delta, discretisation=_COARSE)

    if total(_WEAKEST) > budget.epsilon:
        return 0.0
    low, high = 1.0, _WEAKEST
    while high / low > 1.02:  # noqa: PLR2004 - a hint needs no more than two per cent
        middle = (low * high) ** 0.5
        low, high = (low, middle) if total(middle) <= budget.epsilon else (middle, high)
    # Rounded down: a hint that does not hold would be worse than a small one.
    return int(certified_epsilon(weaken(asked, high), budget.delta) * 1000.0) / 1000.0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _damaged(path: Path, got: str) -> LedgerError:
    return LedgerError(
        f"The ledger {path} cannot be used.",
        expected="a ledger of this version that this user may read and write",
        got=got,
        next_step="restore the newest backup; never start an empty ledger for records that were used before",
    )
