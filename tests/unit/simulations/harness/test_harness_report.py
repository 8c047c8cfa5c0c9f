"""The report of a run: figures, paired tests, who is worse off, and the page, from results made by hand."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from llamdex_fl.errors import ConfigError
from simulations.harness.accounts import Accounts
from simulations.harness.figures import Score
from simulations.harness.holds import Verdict
from simulations.harness.look import Look
from simulations.harness.page import headline, page
from simulations.harness.report import Found, report_of, rows_digest, rows_of
from simulations.harness.scenario import Scenario, load_scenario
from simulations.harness.seed_run import SeedResult
from simulations.harness.ways import SweptScore, Way

SEEDS = range(6)
SCENARIO = """
name = "two"
title = "Two <silos>"
seeds = [0, 1, 2, 3, 4, 5]
[data]
set = "heart"
[partition]
kind = "natural"
[alternatives]
ways = ["dp_fedavg", "pooled"]
[sweep]
epsilon = [1.0, 4.0]
"""


def _scenario(tmp_path: Path, text: str = SCENARIO) -> Scenario:
    path = tmp_path / "scenario.toml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(path)


def _result(seed: int) -> SeedResult:
    silos = ("north", "south<b>")
    accounts = Accounts(
        outcomes={silo: ["done"] for silo in silos},
        asked=dict.fromkeys(silos, 2),
        status=dict.fromkeys(silos, "active"),
        reason={},
        digests={},
        epsilon=dict.fromkeys(silos, 0.99),
        over_budget=[],
        bytes_sent=dict.fromkeys(silos, 9000),
        replays={},
        problems=[],
        records=dict.fromkeys(silos, 40),
    )
    return SeedResult(
        seed=seed,
        alone={"north": Score(accuracy=0.5, auc=0.7 + seed / 100), "south<b>": Score(accuracy=0.25, auc=0.6)},
        assembled=Score(accuracy=0.75, auc=0.8),
        reference=None,
        majority=0.5,
        states=["completed"],
        accounts=accounts,
        faults={},
        look=Look(
            right={"assembled": "1110", "own": "1011"},
            alone={"north": "1010", "south<b>": "0001"},
            own={
                "north": {"asked": 2, "alone": 0.5, "assembled": 1.0},
                "south<b>": {"asked": 2, "alone": 1.0, "assembled": 0.5},
            },
            own_auc=0.75,
            membership={"north": 0.1, "south<b>": -0.1},
        ),
        measured={"rounds_cpu_s": 2.0, "bytes_sent": 18000.0, "peak_bytes": 1e8},
        growth=[(count, float(count), 1e8) for count in range(20)],
    )


def _found() -> Found:
    spent = {"epsilon": 0.99, "delta": 1e-4, "table": "each silo's"}
    way = Way(name="", accuracy=0.5, auc=0.7, right="1100", seconds=1.0, bytes_sent=10, guarantee=spent)
    names = ("dp_fedavg", "dp_fedavg_site", "pooled")
    swept = [
        SweptScore(axis="epsilon", value=value, seed=seed, silos=2, way=name, accuracy=0.7, auc=0.8)
        for value in (4.0, 1.0)
        for seed in (0, 1)
        for name in ("assembled", "alone: north", "alone: south<b>")
    ]
    return Found(
        results=[_result(seed) for seed in SEEDS],
        ways={seed: [replace(way, name=name) for name in names] for seed in SEEDS},
        swept=swept,
    )


def test_the_report_has_what_the_scenario_names_and_nothing_else(tmp_path: Path):
    scenario, found = _scenario(tmp_path), _found()
    rows = rows_of(scenario, found)
    report = json.loads(json.dumps(report_of(scenario, rows, found, []), allow_nan=False))
    assert set(report["auc"]) == set(report["accuracy"]) == {"assembled", "dp_fedavg", "pooled", "alone"}
    assert set(report["auc"]["alone"]) == {"north", "south<b>"}
    assert report["auc"]["alone"]["north"] == pytest.approx(0.725)
    low, high = report["auc_interval"]["alone"]["north"]
    assert low < 0.725 < high
    assert set(report["variants"]) == {"alone_own", "dp_fedavg_site"}
    less = report["paired"]["assembled_less"]
    assert report["paired"]["best_silo"] == "north"
    assert less["alone: north"]["auc"]["mean"] == pytest.approx(0.075)
    assert less["alone: north"]["auc"]["wins"] == 6
    assert less["alone: north"]["auc"]["p_wilcoxon"] == pytest.approx(1 / 32)
    assert less["dp_fedavg"]["accuracy"]["mean"] == pytest.approx(0.25)
    assert report["own_records"]["worse_off"] == ["south<b>"]
    assert report["own_records"]["silos"]["south<b>"]["difference"] == pytest.approx(-0.5)
    assert [point["value"] for point in report["sweep"]["epsilon"]] == [1.0, 4.0]
    assert report["costs"]["assembled"]["guarantee"]["epsilon"] == 0.99
    assert rows_digest(rows) == rows_digest(rows_of(scenario, _found()))


def test_the_page_needs_no_network_and_escapes_names(tmp_path: Path):
    scenario, found = _scenario(tmp_path), _found()
    verdicts = [Verdict(what="completes", wanted="", held=False, got="4 of 6 rounds <completed>")]
    report = report_of(scenario, rows_of(scenario, found), found, verdicts)
    text = page(report)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", text)
    assert not re.search(r"<script|<link|@import|url\(http", text)
    assert "<silos>" not in text
    assert "<b>" not in text
    assert "did not hold" in text
    assert text.count("<svg") == 9
    assert page(report) == text
    assert any("above in 6 of 6 seeds" in sentence for sentence in headline(report))


def test_a_result_survives_its_file():
    result = _result(3)
    assert SeedResult.from_dict(json.loads(json.dumps(result.as_dict()))) == result


def test_nobody_who_may_speak_is_a_report_too(tmp_path: Path):
    scenario = _scenario(tmp_path, SCENARIO.partition("[alternatives]")[0])
    silent = replace(_result(0), alone={}, assembled=None, look=Look(), growth=[])
    found = Found(results=[silent])
    report = report_of(scenario, rows_of(scenario, found), found, [])
    assert "No expert may speak" in page(report)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ('ways = ["dp_fedavg", "pooled"]', 'ways = ["magic"]'),
        ("epsilon = [1.0, 4.0]", "epsilon = [0.0]"),
        ("epsilon = [1.0, 4.0]", "silos = [5]"),
        ("epsilon = [1.0, 4.0]", "alpha = [0.5]"),
        ("epsilon = [1.0, 4.0]", "epsilon = [1.0]\nseeds = 0"),
        ("[alternatives]", "[rounds]\ncount = 2\n[alternatives]"),
        ("[alternatives]", "[privacy.silos]\ncleveland = 0.5\n[alternatives]"),
    ],
)
def test_what_cannot_stand_beside_a_run_is_refused(tmp_path: Path, was: str, becomes: str):
    with pytest.raises(ConfigError):
        _scenario(tmp_path, SCENARIO.replace(was, becomes))
