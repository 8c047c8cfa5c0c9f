"""How time and memory grow, what a meter keeps over an interruption, and what is expected of scenarios."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from llamdex_fl.errors import ConfigError
from simulations.benchmarks.scenarios import compared, expected
from simulations.harness import meter as meter_module
from simulations.harness.meter import Meter
from simulations.harness.ray_backend import require_ray
from simulations.harness.scenario import Scenario, load_scenario
from simulations.harness.sizes import scale_of, smaller

SCENARIOS = Path(__file__).parents[4] / "simulations" / "scenarios"


def _scale() -> Scenario:
    return load_scenario(SCENARIOS / "scale-1000.toml")


def test_fewer_silos_have_as_many_records_each():
    few = smaller(_scale(), 50)
    assert (few.partition.silos, few.data.records) == (50, 2000)


def test_a_straight_line_has_the_exponent_one_and_a_square_two():
    points = [{"silos": float(n), "rounds_s": 0.5 * n, "peak_bytes": float(n * n)} for n in (50, 100, 200)]
    result = SimpleNamespace(
        accounts=SimpleNamespace(records=dict.fromkeys(range(1000), 30)),
        measured={"rounds_s": 500.0, "peak_bytes": 1e6, "founding_s": 3.0},
    )
    scale = scale_of(points, _scale(), result)
    assert [point["silos"] for point in scale["points"]] == [50.0, 100.0, 200.0, 1000.0]
    assert scale["fit"]["rounds_s"] == pytest.approx({"per_silo": 0.5, "exponent": 1.0})
    assert scale["fit"]["peak_bytes"]["exponent"] == pytest.approx(2.0)
    assert "founding_s" not in scale["fit"], "one point is no line"
    none = replace(_scale(), growth=replace(_scale().growth, silos=()))
    assert scale_of([], none, result) == {"points": [], "fit": {}}


def test_a_meter_goes_on_where_a_killed_run_left_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(meter_module.time, "perf_counter", lambda: clock.now)
    path = tmp_path / "measured.json"
    first = Meter(path)
    first.begin_round()
    for count in range(11):
        clock.now += 1.0
        first.trained(count, first_round=True)
    # Killed here: nothing after the tenth was kept.
    clock.now = 5000.0
    second = Meter(path)
    assert second.totals["rounds_s"] == pytest.approx(11.0)
    second.begin_round()
    clock.now += 1.0
    second.trained(0, first_round=True)
    clock.now += 1.0
    second.trained(11, first_round=True)
    second.end_round(0.0)
    assert second.totals["rounds_s"] == pytest.approx(13.0)
    assert second.totals["resumed"] == 1.0
    assert [silos for silos, _, _ in second.growth] == list(range(12))


def test_expectations_name_scenarios_that_are_there():
    for name, wanted in expected().items():
        assert load_scenario(SCENARIOS / f"{name}.toml").name == name
        assert wanted["seeds"]
        assert all(own["tolerance"] > 0.0 for own in wanted["figures"].values())
    assert any(wanted["quick"] for wanted in expected().values())


@pytest.mark.parametrize(("got", "good"), [(0.8, True), (0.79, True), (0.7, False), (None, False)])
def test_a_figure_out_of_its_tolerance_or_missing_is_no_good(got: float | None, good: bool):  # noqa: FBT001
    wanted = {"figures": {"accuracy.assembled": {"value": 0.8, "tolerance": 0.02}}}
    report = {"passed": True, "accuracy": {} if got is None else {"assembled": got}}
    assert compared(report, wanted)["passed"] is good
    assert json.dumps(compared(report, wanted))


def test_ray_refuses_what_only_the_grid_in_this_process_can_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="Ray backend cannot be used") as refusal:
        require_ray()
    assert "llamdex-fl[ray]" in refusal.value.next_step
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())
    with pytest.raises(ConfigError, match="cannot do all") as refusal:
        require_ray(load_scenario(SCENARIOS / "dropout.toml"))
    assert "dropout" in refusal.value.got
    require_ray(load_scenario(SCENARIOS / "hospitals.toml"))
