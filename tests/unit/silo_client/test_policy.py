"""The policy file: strict, and the only source of limits."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from llamdex_fl.errors import ConfigError, PolicyError
from llamdex_fl.privacy import Budget
from llamdex_fl.release import Offer
from llamdex_fl.schema import load_library_schema
from silo_client.policy import DEFAULT_PURPOSE, authorise, load_policy

HEART = load_library_schema("heart")
GOOD = f"""
version = 1
data_set = "patients"
schemas = ["{HEART.digest()}"]
providers = ["provider"]
purposes = ["{DEFAULT_PURPOSE}"]
architectures = ["thermometer_linear/v1"]

[privacy]
record_bound = 1000
release_epsilon = 1.0
lifetime_epsilon = 3
delta = 1e-4
"""
OFFER = Offer(
    provider="provider",
    purpose=DEFAULT_PURPOSE,
    schema_digest=HEART.digest(),
    architecture="thermometer_linear/v1",
    base_model_digest="0" * 64,
    epsilon=1.0,
    delta=1e-4,
    challenge="1" * 64,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def test_a_good_policy_authorises_its_offer(path: Path) -> None:
    authorisation = authorise(OFFER, load_policy(path), HEART)
    assert authorisation.offer is OFFER
    assert authorisation.budget == Budget(epsilon=3.0, delta=1e-4)
    assert (authorisation.data_set, authorisation.record_bound) == ("patients", 1000)


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "another"},
        {"purpose": "advertising"},
        {"architecture": "mlp/v1"},
        {"schema_digest": "0" * 64},
        {"epsilon": 1.01},
        {"epsilon": 0.0},
        {"epsilon": float("nan")},
        {"epsilon": float("inf")},
        {"delta": 1e-3},
        {"delta": 0.0},
        {"delta": float("nan")},
    ],
)
def test_what_the_policy_does_not_list_is_refused(path: Path, change: dict[str, object]) -> None:
    with pytest.raises(PolicyError):
        authorise(replace(OFFER, **change), load_policy(path), HEART)  # type: ignore[arg-type] # wrong on purpose


def test_a_schema_that_is_listed_and_not_the_datas_is_refused(path: Path) -> None:
    titanic = load_library_schema("titanic")
    path.write_text(GOOD.replace(HEART.digest(), titanic.digest()), encoding="utf-8")
    with pytest.raises(PolicyError, match="another schema"):
        authorise(replace(OFFER, schema_digest=titanic.digest()), load_policy(path), HEART)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version = 1", "version = 2"),
        ("version = 1", "version = true"),
        ("version = 1", ""),
        ('data_set = "patients"', 'data_set = ""'),
        ('providers = ["provider"]', "providers = []"),
        ('providers = ["provider"]', 'providers = "provider"'),
        ('providers = ["provider"]', 'providers = ["provider"]\nprovders = []'),
        ("schemas = [", 'schemas = ["AB", '),
        ("record_bound = 1000", "record_bound = 10000"),  # delta is no longer below 1 / n
        ("record_bound = 1000", "record_bound = 0"),
        ("record_bound = 1000", "record_bound = 1e3"),
        ("release_epsilon = 1.0", "release_epsilon = 4.0"),
        ("release_epsilon = 1.0", "release_epsilon = nan"),
        ("release_epsilon = 1.0", "release_epsilon = true"),
        ("release_epsilon = 1.0", "release_epsilonn = 1.0"),
        ("lifetime_epsilon = 3", "lifetime_epsilon = 1000"),
        ("lifetime_epsilon = 3", "lifetime_epsilon = inf"),
        ("lifetime_epsilon = 3", "lifetime_epsilon = 1" + 400 * "0"),
        ("record_bound = 1000", "record_bound = 1" + 400 * "0"),
        ("delta = 1e-4", "delta = -1"),
        ("delta = 1e-4", "delta = 1e-4\nextra = 1"),
        ("[privacy]", "[privacy"),
        ("[privacy]", "[[privacy]]"),
    ],
)
def test_a_wrong_file_is_refused(path: Path, old: str, new: str) -> None:
    assert old in GOOD
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match="no usable policy"):
        load_policy(path)


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="llamdex-silo init"):
        load_policy(tmp_path / "none.toml")
    path = tmp_path / "policy.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError):
        load_policy(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(path: Path) -> None:
    path.chmod(0o000)
    with pytest.raises(ConfigError, match="this user may read"):
        load_policy(path)
