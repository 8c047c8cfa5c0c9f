"""The silo's worker on a real home: what it refuses, and that it trains once however often it is asked."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llamdex_fl.privacy import Ledger
from llamdex_fl.release import Offer
from llamdex_fl.rounds import Answer
from silo_client.config import load_silo_config
from silo_client.jobs import JobState, JobStore
from silo_client.work import SiloWorker
from simulations.local_consortium import Founded

Found = Callable[[Path, Sequence[str]], tuple[Founded, Offer]]


@pytest.fixture(scope="module")
def silo(tmp_path_factory: pytest.TempPathFactory, found_small: Found) -> tuple[Path, Offer]:
    founded, offer = found_small(tmp_path_factory.mktemp("w"), ["north"])
    return founded.silo_homes["north"], replace(offer, challenge="a1" * 32)


def _worker(home: Path) -> SiloWorker:
    # Nobody listens at the provider's address here, so that every upload stops before it begins.
    return SiloWorker(load_silo_config(home), logging.getLogger("test"), upload_deadline_s=1.0)


@pytest.mark.parametrize(
    "wish",
    [
        {"epsilon": 8.0},
        {"provider": "stranger"},
        {"purpose": "sell"},
        {"schema_digest": "0" * 64},
        {"architecture": "other/v1"},
        {"delta": 0.5},
    ],
)
def test_more_than_the_policy_allows_is_refused(silo: tuple[Path, Offer], wish: dict[str, float | str]):
    home, offer = silo
    worker = _worker(home)
    asked = replace(offer, challenge="b2" * 32, **wish)  # type: ignore[arg-type]  # names and types are an Offer's
    assert worker.consider(asked).answer is Answer.POLICY_REFUSED
    assert worker.train_and_upload(asked).answer is Answer.POLICY_REFUSED
    assert JobStore(home / "jobs.sqlite").find(asked) is None


def test_a_provider_that_is_down_costs_nothing(silo: tuple[Path, Offer]):
    home, offer = silo
    asked = replace(offer, challenge="e5" * 32)
    assert _worker(home).train_and_upload(asked).answer is Answer.PROVIDER_UNREACHABLE
    assert JobStore(home / "jobs.sqlite").find(asked) is None
    assert Ledger(load_silo_config(home).ledger).entries() == ()


def test_a_provider_that_goes_down_in_mid_training_costs_one_training(
    silo: tuple[Path, Offer], monkeypatch: pytest.MonkeyPatch
):
    home, offer = silo
    config = load_silo_config(home)
    # As if it had been there a moment before.
    monkeypatch.setattr("silo_client.work.require_whole_ledger", lambda *_args, **_more: None)
    assert _worker(home).consider(offer).answer is Answer.ACCEPTED
    assert _worker(home).train_and_upload(offer).answer is Answer.PROVIDER_UNREACHABLE
    job = JobStore(home / "jobs.sqlite").find(offer)
    assert job is not None
    assert job.state is JobState.TRAINED
    entries = Ledger(config.ledger).entries()
    assert len(entries) == 1
    # A worker of a new process, as after a kill: the spooled envelope goes on, nothing is trained or spent.
    assert _worker(home).train_and_upload(offer).answer is Answer.PROVIDER_UNREACHABLE
    assert Ledger(config.ledger).entries() == entries


def test_the_same_round_on_other_terms_is_refused(silo: tuple[Path, Offer]):
    home, offer = silo
    changed = replace(offer, challenge="c3" * 32)
    store = JobStore(home / "jobs.sqlite")
    store.accept(changed)
    assert _worker(home).train_and_upload(replace(changed, epsilon=0.5)).answer is Answer.BAD_REQUEST


def test_a_broken_file_is_a_code(silo: tuple[Path, Offer]):
    home, offer = silo
    config = load_silo_config(home)
    asked = replace(offer, challenge="d4" * 32)
    kept = config.data.read_bytes()
    try:
        config.data.write_bytes(kept.replace(b"male", b"ssn=078-05-1120", 1))
        assert _worker(home).train_and_upload(asked).answer is Answer.DATA_INVALID
    finally:
        config.data.write_bytes(kept)
    policy = config.policy.read_bytes()
    try:
        config.policy.write_bytes(b"version = ")
        assert _worker(home).consider(asked).answer is Answer.SILO_MISCONFIGURED
    finally:
        config.policy.write_bytes(policy)
