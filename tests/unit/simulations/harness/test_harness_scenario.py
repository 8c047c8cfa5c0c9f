"""Scenario files: what is read, and what is refused before anything is started."""

import re
from pathlib import Path

import pytest

from llamdex_fl.errors import ConfigError
from simulations.harness import RunSettings, load_scenario, run_scenario
from simulations.harness.faults import draw
from simulations.harness.partitions import silo_names
from simulations.harness.provider import require_point
from simulations.harness.scenario import FAULT_KINDS, HOLDS

SCENARIOS = sorted((Path(__file__).parents[4] / "simulations" / "scenarios").glob("*.toml"))
GOOD = """
name = "small"
title = "Small"
seeds = [0, 1]
[data]
set = "titanic"
[partition]
kind = "iid"
silos = 5
"""


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scenario.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_that_ships_can_be_read_and_its_faults_drawn(path: Path):
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    assert scenario.must_hold, "a scenario says what must hold"
    names = ["cleveland", "hungary"] if scenario.partition.kind == "natural" else silo_names(scenario.partition.silos)
    for seed in scenario.seeds:
        drawn = draw(scenario, names, seed)
        assert drawn == draw(scenario, names, seed)
        for each in drawn:
            if each.fault.kind == "provider_killed":
                require_point(each.fault.point)


def test_what_is_left_out_has_its_default(tmp_path: Path):
    scenario = load_scenario(_written(tmp_path, GOOD))
    assert scenario.seeds == (0, 1)
    assert scenario.privacy.epsilon == 1.0
    assert scenario.rounds.count == 1
    assert scenario.faults == scenario.must_hold == ()


def test_the_digest_is_of_all_but_the_seeds(tmp_path: Path):
    first = load_scenario(_written(tmp_path, GOOD))
    other_seeds = load_scenario(_written(tmp_path, GOOD.replace("[0, 1]", "[7]")))
    other_silos = load_scenario(_written(tmp_path, GOOD.replace("silos = 5", "silos = 6")))
    assert first.digest() == other_seeds.digest() != other_silos.digest()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "small"', 'name = "Not Good"', "name"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "seeds"),
        ("seeds = [0, 1]", "seeds = []", "seeds"),
        ("seeds = [0, 1]", "seeds = 3", "seeds"),
        ('set = "titanic"', 'set = "mnist"', "set"),
        ('set = "titanic"', 'set = "titanic"\nrecrods = 3', "recrods"),
        ('set = "titanic"', 'set = "synthetic"', "records"),
        ('kind = "iid"', 'kind = "random"', "kind"),
        ('kind = "iid"\nsilos = 5', 'kind = "natural"', "natural"),
        ('kind = "iid"', 'kind = "by_feature"', "feature"),
        ("silos = 5", "silos = 100000", "silos"),
        ("silos = 5", "silos = true", "silos"),
        ("silos = 5", "silos = 5\nalpha = -1.0", "alpha"),
        ("silos = 5", 'silos = 5\n[[fault]]\nkind = "storm"\ncount = 1', "fault's kind"),
        ("silos = 5", 'silos = 5\n[[fault]]\nkind = "dropout"', "silos, count or share"),
        ("silos = 5", 'silos = 5\n[[fault]]\nkind = "dropout"\nshare = 1.5', "share"),
        ("silos = 5", 'silos = 5\n[[fault]]\nkind = "late_joiner"\ncount = 1', "late joiner"),
        ("silos = 5", 'silos = 5\n[[must_hold]]\nwhat = "wins"', "what"),
        ("silos = 5", 'silos = 5\n[[must_hold]]\nwhat = "auc_at_least"', "value"),
        ("silos = 5", 'silos = 5\n[[must_hold]]\nwhat = "silent"\nfault = "dropout"', "injects"),
        ("[data]", "[dta]", "data"),
    ],
)
def test_a_scenario_that_is_wrong_is_refused_by_name(tmp_path: Path, old: str, new: str, said: str):
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_scenario(_written(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize("text", ["no toml [", ""])
def test_a_file_that_is_no_scenario_is_refused(tmp_path: Path, text: str):
    with pytest.raises(ConfigError):
        load_scenario(_written(tmp_path, text))
    with pytest.raises(ConfigError, match="No such file"):
        load_scenario(tmp_path / "nothing.toml")


@pytest.mark.parametrize("backend", ["ray", "carrier-pigeon"])
def test_a_backend_that_cannot_be_had_is_refused_before_anything_is_made(tmp_path: Path, backend: str):
    settings = RunSettings(scenario=_written(tmp_path, GOOD), out=tmp_path / "out", backend=backend)
    with pytest.raises(ConfigError, match=r"[Bb]ackend"):
        run_scenario(settings, lambda *_: None)
    assert not (tmp_path / "out").exists()


def test_every_fault_and_every_hold_is_in_the_documentation():
    text = (Path(__file__).parents[4] / "docs" / "scenarios.md").read_text(encoding="utf-8")
    for name in (*FAULT_KINDS, *HOLDS):
        assert f"`{name}`" in text
