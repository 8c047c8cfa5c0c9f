"""A ledger that was restored from a backup, against the log of a real provider."""

import shutil
from pathlib import Path

import pytest

from llamdex_fl.errors import LedgerBehindError, ProviderUnreachableError
from llamdex_fl.privacy import Budget, DataSetId, Ledger, Spending
from silo_client import uplink
from silo_client.ledger_check import recover, require_whole_ledger
from simulations.review.consortium import Consortium

DATA_SET = DataSetId(digest="ab" * 32, name="patients")
BUDGET = Budget(epsilon=8.0, delta=1e-4)


def run(consortium: Consortium, silo: str = "a") -> None:
    """A run as the silo's worker does it: into the ledger first, then out."""
    config, offer, release = consortium.silos[silo], consortium.offer(), consortium.release()
    ledger = Ledger(config.ledger)
    spending = Spending(
        data_set=DATA_SET,
        mechanisms=release.guarantee.mechanisms,
        purpose=offer.purpose,
        schema_digest=offer.schema_digest,
        reference=offer.challenge,
    )
    ledger.finish(ledger.begin(spending, budget=BUDGET))
    uplink.upload(release, offer, config, deadline_s=30)


def test_a_restored_backup_is_noticed_and_recovered(consortium: Consortium, tmp_path: Path):
    config = consortium.silos["a"]
    run(consortium)
    # Another silo's releases are none of ours.
    run(consortium, "b")
    require_whole_ledger(config, deadline_s=5)
    backup = shutil.copy(config.ledger, tmp_path / "backup.sqlite")
    run(consortium)
    run(consortium)
    spent = Ledger(config.ledger).spent(DATA_SET, 1e-4)
    require_whole_ledger(config, deadline_s=5)

    shutil.copy(backup, config.ledger)
    with pytest.raises(LedgerBehindError, match="for 2 of them"):
        require_whole_ledger(config, deadline_s=5)
    assert Ledger(config.ledger).spent(DATA_SET, 1e-4) < spent
    assert recover(config, DATA_SET) == 2
    require_whole_ledger(config, deadline_s=5)
    assert Ledger(config.ledger).spent(DATA_SET, 1e-4) == pytest.approx(spent, rel=1e-9)
    assert recover(config, DATA_SET) == 0
    assert [entry.status for entry in Ledger(config.ledger).entries()] == ["finished"] * 3


def test_a_ledger_that_was_begun_anew_is_noticed(consortium: Consortium):
    config = consortium.silos["b"]
    run(consortium, "b")
    config.ledger.unlink()
    with pytest.raises(LedgerBehindError, match="restored from a backup, or begun anew"):
        require_whole_ledger(config, deadline_s=5)
    assert not config.ledger.exists()
    # What is entered counts even where it is more than the budget.
    recover(config, DATA_SET)
    assert Ledger(config.ledger).spent(DATA_SET, 1e-4) > 0.0
    require_whole_ledger(config, deadline_s=5)


def test_without_the_log_nothing_is_trained(consortium: Consortium):
    consortium.stop()
    try:
        with pytest.raises(ProviderUnreachableError):
            require_whole_ledger(consortium.silos["a"], deadline_s=0.5)
    finally:
        consortium.start()
