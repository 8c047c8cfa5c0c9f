"""A scenario of five silos over the real upload service: sealed uploads, faults, the books, and going on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from simulations.harness import RunSettings, run_scenario

pytest.importorskip("pyarrow")

SCENARIO = """
name = "five"
title = "Five silos, each with its own trouble"
seeds = [3]
[data]
set = "synthetic"
records = 300
[partition]
kind = "dirichlet"
silos = 5
alpha = 1.0
[rounds]
attempts = 3
[alternatives]
ways = ["pooled_dp"]
[sweep]
epsilon = [2.0]
seeds = 1
[[fault]]
kind = "lost_reply"
silos = ["silo-001"]
[[fault]]
kind = "silo_killed"
silos = ["silo-002"]
[[fault]]
kind = "forged_claim"
silos = ["silo-003"]
[[fault]]
kind = "scaled_weights"
silos = ["silo-004"]
factor = 1e5
[[fault]]
kind = "replay"
silos = ["silo-005"]
[[fault]]
kind = "provider_killed"
after = 4
[[fault]]
kind = "server_app_killed"
after = 8
[[must_hold]]
what = "completes"
[[must_hold]]
what = "nothing_lost_or_counted_twice"
[[must_hold]]
what = "quarantined"
fault = "scaled_weights"
[[must_hold]]
what = "refused"
fault = "forged_claim"
[[must_hold]]
what = "budget_kept"
"""


def test_five_silos_in_trouble_complete_and_a_finished_run_is_kept(tmp_path: Path):
    path = tmp_path / "five.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    settings = RunSettings(scenario=path, out=tmp_path / "out")
    report = run_scenario(settings, lambda *_: None)
    assert report["passed"], report["must_hold"]
    (seed,) = report["per_seed"]
    assert seed["replays"]["silo-005"], "the provider was asked again"
    assert set(report["auc"]["alone"]) == {"silo-001", "silo-002", "silo-005"}
    assert {"assembled", "pooled_dp", "alone"} == set(report["auc"]) == set(report["auc_interval"])
    assert {"alone_own", "pooled_dp_silo"} == set(report["variants"])
    assert report["paired"]["best_silo"] in {"silo-001", "silo-002", "silo-005"}
    assert report["paired"]["assembled_less"]["pooled_dp"]["auc"]["seeds"] == 1
    ((point,),) = report["sweep"].values()
    assert point["value"] == 2.0
    assert {"assembled", "alone, best"} <= set(point["ways"])
    assert "Five silos, each with its own trouble" in (tmp_path / "out" / "five" / "report.html").read_text("utf-8")
    run = json.loads((tmp_path / "out" / "five" / "run.json").read_text(encoding="utf-8"))
    assert run["seeds"] == [3]

    again = run_scenario(RunSettings(scenario=path, out=tmp_path / "out", resume=True), lambda *_: None)
    assert again == report
    rerun = json.loads((tmp_path / "out" / "five" / "run.json").read_text(encoding="utf-8"))
    assert rerun["results_digest"] == run["results_digest"]


@pytest.mark.slow
def test_a_run_repeats_bit_for_bit(tmp_path: Path):
    path = tmp_path / "five.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    digests = set()
    for out in ("first", "second"):
        run_scenario(RunSettings(scenario=path, out=tmp_path / out), lambda *_: None)
        run = json.loads((tmp_path / out / "five" / "run.json").read_text(encoding="utf-8"))
        digests.add(run["results_digest"])
    assert len(digests) == 1


FOUR = """
name = "four"
title = "Four silos"
seeds = [3]
[data]
set = "synthetic"
records = 240
[partition]
kind = "iid"
silos = 4
[[fault]]
kind = "label_flip"
count = 1
[[must_hold]]
what = "completes"
[[must_hold]]
what = "nothing_lost_or_counted_twice"
"""


@pytest.mark.slow
def test_flowers_simulation_engine_comes_to_the_same_bit_for_bit(tmp_path: Path):
    pytest.importorskip("ray")
    path = tmp_path / "four.toml"
    path.write_text(FOUR, encoding="utf-8")
    digests = {}
    for backend in ("in-process", "ray"):
        # In a process of its own: Ray leaves sockets and threads open, and warns of what a later version will do.
        program = [sys.executable, "-c", "from simulations.cli import main; main()"]
        command = [*program, "run", str(path), "--out", str(tmp_path / backend), "--backend", backend]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr[-2000:]
        run = json.loads((tmp_path / backend / "four" / "run.json").read_text(encoding="utf-8"))
        digests[backend] = run["results_digest"]
    assert digests["in-process"] == digests["ray"]
