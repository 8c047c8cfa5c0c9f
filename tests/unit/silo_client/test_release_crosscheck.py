"""Where the accountants contradict each other, nothing is trained and nothing is spent."""

import subprocess
import sys
from pathlib import Path

import pytest

from llamdex_fl.errors import AccountantsDisagreeError
from llamdex_fl.experts import THERMOMETER_LINEAR
from llamdex_fl.privacy import Budget, Ledger, crosscheck
from llamdex_fl.release import Offer
from llamdex_fl.schema import load_library_schema
from silo_client.data import SiloData
from silo_client.policy import DEFAULT_PURPOSE, Authorisation
from silo_client.training import train

HEART = load_library_schema("heart")


def test_a_contradiction_stops_a_training_before_its_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offer = Offer(
        provider="provider",
        purpose=DEFAULT_PURPOSE,
        schema_digest=HEART.digest(),
        architecture=THERMOMETER_LINEAR,
        base_model_digest="0" * 64,
        epsilon=0.97,  # of its own: plans are kept, and this one must be checked here
        delta=1e-4,
        challenge="1" * 64,
    )
    allowed = Authorisation(offer=offer, data_set="patients", budget=Budget(epsilon=3.0, delta=1e-4), record_bound=1000)
    data = SiloData(records=({"age": 50},), labels=(0,), digest="ab" * 32)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    monkeypatch.setattr(crosscheck, "contour_epsilon", lambda *_: 1.01)
    with pytest.raises(AccountantsDisagreeError):
        train(HEART, data, allowed, ledger)
    assert ledger.entries() == ()


def test_whoever_trains_at_a_silo_has_the_accountants_in_opacus() -> None:
    code = "import silo_client.training; from opacus import PrivacyEngine; PrivacyEngine(accountant='edgeworth')"
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False, capture_output=True)
    assert ended.returncode == 0, ended.stderr
