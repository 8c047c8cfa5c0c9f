"""The ledger: it counts what was begun, composes, joins names, and cannot be overdrawn by two at once."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from llamdex_fl.errors import BudgetSpentError, LedgerError
from llamdex_fl.privacy import Budget, DataSetId, LaplaceCounts, Ledger, SampledGaussian, Spending, certified_epsilon

BUDGET = Budget(epsilon=1.0, delta=1e-4)
#: Cheap to account: epsilon 0.05.
SMALL = (LaplaceCounts(epsilon=0.05),)
#: Costs about 0.75, so that two do not fit.
LARGE = (SampledGaussian(sampling_rate=1.0, noise_multiplier=20.0, steps=25, max_grad_norm=1.0),)


def spending(mechanisms: tuple[object, ...] = SMALL, digest: str = "aa", name: str = "patients") -> Spending:
    return Spending(
        data_set=DataSetId(digest=digest, name=name),
        mechanisms=mechanisms,  # type: ignore[arg-type] # tests give unknown mechanisms too
        purpose="answer-questions",
        schema_digest="ee",
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def test_an_entry_counts_before_it_finishes(ledger: Ledger) -> None:
    entry = ledger.begin(spending(), budget=BUDGET)
    (written,) = ledger.entries()
    assert (written.entry, written.status, written.spending) == (entry, "begun", spending())
    before = ledger.spent(spending().data_set, 1e-4)
    ledger.finish(entry)
    assert ledger.entries()[0].status == "finished"
    assert ledger.spent(spending().data_set, 1e-4) == before == certified_epsilon(SMALL, 1e-4)


def test_the_file_is_the_owners_only(ledger: Ledger, tmp_path: Path) -> None:
    ledger.begin(spending(), budget=BUDGET)
    assert stat.S_IMODE((tmp_path / "ledger.sqlite").stat().st_mode) == 0o600


def test_composition_is_not_a_sum(ledger: Ledger) -> None:
    for _ in range(12):
        ledger.begin(spending(), budget=BUDGET)
    assert ledger.spent(spending().data_set, 1e-4) < 12 * 0.05 - 0.02


def test_a_spent_budget_is_refused_with_what_would_fit(ledger: Ledger) -> None:
    ledger.begin(spending(LARGE), budget=BUDGET)
    with pytest.raises(BudgetSpentError) as refused:
        ledger.begin(spending(LARGE), budget=BUDGET)
    assert len(ledger.entries()) == 1
    fits = float(refused.value.next_step.removeprefix("ask for a run of epsilon ").split()[0])
    assert 0.3 < fits < 1.0
    factor = certified_epsilon(LARGE, 1e-4) / fits
    weaker = SampledGaussian(sampling_rate=1.0, noise_multiplier=20.0 * factor * 1.05, steps=25, max_grad_norm=1.0)
    ledger.begin(spending((weaker,)), budget=BUDGET)


def test_nothing_fits(ledger: Ledger) -> None:
    ledger.begin(spending(), budget=BUDGET)
    with pytest.raises(BudgetSpentError, match="nothing fits any more"):
        ledger.begin(spending(), budget=Budget(epsilon=0.0499, delta=1e-9))


def test_neither_an_edit_nor_a_new_name_refills(ledger: Ledger) -> None:
    ledger.begin(spending(LARGE), budget=BUDGET)
    for other in (spending(LARGE, digest="bb"), spending(LARGE, name="renamed")):
        with pytest.raises(BudgetSpentError):
            ledger.begin(other, budget=BUDGET)
    # By way of the two refusals both strange names are known now, even together.
    with pytest.raises(BudgetSpentError):
        ledger.begin(spending(LARGE, digest="bb", name="renamed"), budget=BUDGET)
    ledger.begin(spending(LARGE, digest="cc", name="others"), budget=BUDGET)


def test_two_accounts_that_turn_out_to_be_one_are_joined(ledger: Ledger) -> None:
    ledger.begin(spending(LARGE, digest="aa", name="first"), budget=BUDGET)
    ledger.begin(spending(LARGE, digest="bb", name="second"), budget=BUDGET)
    with pytest.raises(BudgetSpentError):
        ledger.begin(spending(digest="aa", name="second"), budget=BUDGET)
    both = ledger.spent(DataSetId(digest="zz", name="first"), 1e-4)
    assert both == certified_epsilon([*LARGE, *LARGE], 1e-4)


def test_finishing_twice_is_refused(ledger: Ledger) -> None:
    entry = ledger.begin(spending(), budget=BUDGET)
    ledger.finish(entry)
    with pytest.raises(LedgerError, match="cannot finish"):
        ledger.finish(entry)


def test_entries_cannot_be_deleted_or_rewritten(ledger: Ledger, tmp_path: Path) -> None:
    ledger.begin(spending(), budget=BUDGET)
    database = sqlite3.connect(tmp_path / "ledger.sqlite")
    for statement in ("DELETE FROM entry", "UPDATE entry SET mechanisms = '[]'", "UPDATE entry SET digest = 'x'"):
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(statement)
    database.close()


@pytest.mark.parametrize("content", [b"not a database, but long enough to be read as one" * 40, b"x"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(path).begin(spending(), budget=BUDGET)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE theirs (x)")
    database.commit()
    database.close()
    with pytest.raises(LedgerError, match="another program"):
        Ledger(path).entries()


def test_an_unknown_mechanism_is_refused_not_skipped(ledger: Ledger, tmp_path: Path) -> None:
    ledger.begin(spending(), budget=BUDGET)
    database = sqlite3.connect(tmp_path / "ledger.sqlite")
    database.execute(
        "INSERT INTO entry (account, begun_at, digest, name, purpose, schema_digest, reference, mechanisms)"
        """ VALUES (1, '', 'aa', 'patients', '', '', '', '[{"kind": "shuffled"}]')"""
    )
    database.commit()
    database.close()
    with pytest.raises(LedgerError, match="cannot be read"):
        ledger.begin(spending(), budget=BUDGET)


_RACER = """
import sys
from pathlib import Path
from llamdex_fl.errors import BudgetSpentError
from llamdex_fl.privacy import Budget, DataSetId, Ledger, SampledGaussian, Spending
large = SampledGaussian(sampling_rate=1.0, noise_multiplier=20.0, steps=25, max_grad_norm=1.0)
what = Spending(
    data_set=DataSetId(digest="aa", name="patients"), mechanisms=(large,), purpose="p", schema_digest="e"
)
print("ready", flush=True)
sys.stdin.readline()
try:
    Ledger(Path(sys.argv[1])).begin(what, budget=Budget(epsilon=1.0, delta=1e-4))
    print("spent", flush=True)
    sys.stdin.readline()
except BudgetSpentError:
    print("refused", flush=True)
"""


def test_two_processes_cannot_both_spend_the_last_and_a_killed_one_has_spent(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    racers = [
        subprocess.Popen([sys.executable, "-c", _RACER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == b"ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    said = [racer.stdout.readline() for racer in racers if racer.stdout is not None]
    assert sorted(said) == [b"refused\n", b"spent\n"]
    for racer in racers:
        if racer.poll() is None:
            os.kill(racer.pid, signal.SIGKILL)
        racer.communicate()
    (entry,) = Ledger(path).entries()
    assert entry.status == "begun"
    with pytest.raises(BudgetSpentError):
        Ledger(path).begin(spending(LARGE), budget=BUDGET)
