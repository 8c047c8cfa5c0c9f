"""A silo's directory: made whole or not at all, checked as a training would read it; and the commands for it."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llamdex_fl.errors import ConfigError, PolicyError, RecordError, SchemaError
from llamdex_fl.privacy import DataSetId, LaplaceCounts, Ledger, Spending
from llamdex_fl.schema import find_schema, load_library_schema
from silo_client.cli.main import app
from silo_client.config import SiloConfig
from silo_client.policy import load_policy
from silo_client.setup import check_silo, init_silo

HEART = load_library_schema("heart")
HEADER = ",".join([*(feature.name for feature in HEART.features), "heart_disease"])
ROW = "63,male,typical angina,145,233,yes,left ventricular hypertrophy,150,no,2.3,no"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "patients.csv"
    path.write_text(f"{HEADER}\n{ROW}\n{ROW}\n", encoding="utf-8")
    return path


def init(home: Path, data: Path, **more: object) -> SiloConfig:
    values: dict[str, object] = {"silo": "cleveland", "provider": "provider", "provider_address": "127.0.0.1:9000"}
    return init_silo(home, data=data, schema=HEART, **{**values, **more})  # type: ignore[arg-type] # wrong ones too


def test_a_new_silo_passes_its_check(tmp_path: Path, data: Path) -> None:
    config = init(tmp_path / "home", data)
    found = check_silo(config.home)
    assert (found.silo, found.records, found.entries, found.epsilon_spent) == ("cleveland", 2, 0, 0.0)
    assert found.policy == load_policy(config.policy)
    assert find_schema(str(config.schema)).digest() == HEART.digest()
    for name in ("silo.toml", "policy.toml", "schema.json"):
        assert stat.S_IMODE((config.home / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in config.home.iterdir()) == ["policy.toml", "schema.json", "silo.toml"]


def test_a_silo_is_not_made_twice(tmp_path: Path, data: Path) -> None:
    init(tmp_path / "home", data)
    before = (tmp_path / "home/policy.toml").read_bytes()
    with pytest.raises(ConfigError, match="already"):
        init(tmp_path / "home", data, epsilon=2.0)
    assert (tmp_path / "home/policy.toml").read_bytes() == before


@pytest.mark.parametrize(
    "more",
    [
        {"record_bound": 10**5},
        {"epsilon": -1.0},
        {"epsilon": 5.0},
        {"delta": 0.5},
        {"silo": "Cleveland!"},
        {"provider": "P P"},
        {"provider_address": "nonsense"},
        {"provider_address": "127.0.0.1:99999"},
        {"provider_address": "127.0.0.1:0"},
        {"provider_address": "::1:9000"},
    ],
)
def test_wrong_values_leave_nothing_behind(tmp_path: Path, data: Path, more: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        init(tmp_path / "home", data, **more)
    assert not (tmp_path / "home").exists()


def test_a_policy_that_somebody_wrote_is_never_overwritten(tmp_path: Path, data: Path) -> None:
    policy = tmp_path / "home/policy.toml"
    policy.parent.mkdir()
    policy.write_text("mine", encoding="utf-8")
    for more in ({}, {"epsilon": -1.0}):
        with pytest.raises(ConfigError):
            init(tmp_path / "home", data, **more)
        assert [path.name for path in policy.parent.iterdir()] == ["policy.toml"]
        assert policy.read_text(encoding="utf-8") == "mine"


def test_an_interrupted_start_is_gone_on_with(tmp_path: Path, data: Path) -> None:
    home = init(tmp_path / "home", data).home
    (home / "silo.toml").unlink()
    assert init(tmp_path / "home", data).home == home


def test_a_missing_data_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no data file"):
        init(tmp_path / "home", tmp_path / "none.csv")
    assert not (tmp_path / "home").exists()


def test_the_check_finds_what_a_training_would(tmp_path: Path, data: Path) -> None:
    config = init(tmp_path / "home", data)
    data.write_text(f"{HEADER}\n{ROW.replace('63', '630')}\n", encoding="utf-8")
    with pytest.raises(RecordError, match="row 2, column age"):
        check_silo(config.home)
    data.write_text(f"{HEADER}\n{ROW}\n{ROW}\n", encoding="utf-8")
    text = config.policy.read_text(encoding="utf-8")
    config.policy.write_text(text.replace("record_bound = 1000", "record_bound = 1"), encoding="utf-8")
    with pytest.raises(PolicyError, match="public bound"):
        check_silo(config.home)
    config.policy.write_text(text, encoding="utf-8")
    config.schema.write_text(json.dumps(load_library_schema("titanic").as_dict()), encoding="utf-8")
    with pytest.raises(PolicyError, match="does not list the schema"):
        check_silo(config.home)
    with pytest.raises(SchemaError):
        find_schema("none")


def test_the_commands(tmp_path: Path, data: Path) -> None:
    home, runner = tmp_path / "home", CliRunner()
    options = ["--silo", "cleveland", "--data", str(data), "--schema", "heart"]
    options += ["--provider", "provider", "--provider-address", "127.0.0.1:9000", "--lifetime-epsilon", "2"]
    assert runner.invoke(app, ["init", str(home), *options]).exit_code == 0
    checked = runner.invoke(app, ["check", str(home), "--json"])
    found = json.loads(checked.stdout)
    assert (found["records"], found["policy"]["lifetime_epsilon"]) == (2, 2.0)
    what = Spending(
        data_set=DataSetId(digest=found["data_digest"], name=found["policy"]["data_set"]),
        mechanisms=(LaplaceCounts(epsilon=0.25),),
        purpose="answer-questions",
        schema_digest=HEART.digest(),
        reference="c0ffee",
    )
    Ledger(home / "ledger.sqlite").begin(what, budget=load_policy(home / "policy.toml").budget)
    shown = json.loads(runner.invoke(app, ["ledger", str(home), "--json"]).stdout)
    near = pytest.approx(0.25, abs=1e-3)
    assert shown["accounts"] == [{"account": 1, "epsilon_spent": near, "epsilon_left": pytest.approx(1.75, abs=1e-3)}]
    assert shown["entries"][0]["epsilon_so_far"] == near
    assert [(entry["status"], entry["spending"]["reference"]) for entry in shown["entries"]] == [("begun", "c0ffee")]
    assert "begun" in runner.invoke(app, ["ledger", str(home)]).stdout
    assert "in 1 runs" in runner.invoke(app, ["check", str(home)]).stdout


def test_a_fault_has_exit_code_2_and_a_next_step(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from silo_client.cli import main; main()", "check", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert json.loads(done.stderr)["next_step"] == "make one with: llamdex-silo init"
