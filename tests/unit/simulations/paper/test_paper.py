"""The published experiment: its cells, going on after an interruption, and the report with honest nulls."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from llamdex_fl import console
from llamdex_fl.errors import LlamdexError, ProcessError
from llamdex_fl.schema import load_library_schema
from simulations import cli as _sim  # noqa: F401 - registers the commands
from simulations.alternatives import Cohort
from simulations.cli.main import app
from simulations.datasets import split, synthetic_silos
from simulations.paper import Cell, PaperSettings, Plan, Store, report_of, run_paper
from simulations.paper.page import page, verdict

PLAN = Plan(data_sets=("titanic",), methods=("assembled", "pooled"), epsilons=(4.0, 1.0), seeds=1)


def _cohort(_name: str, seed: int) -> Cohort:
    schema = load_library_schema("heart")
    silos = dict(list(synthetic_silos(schema, 5).items())[:2])
    return Cohort(schema=schema, splits={silo: split(records[:40], seed) for silo, records in silos.items()})


def _settings(tmp_path: Path, **more: object) -> PaperSettings:
    return replace(PaperSettings(out=tmp_path, plan=PLAN, cohort_of=_cohort), **more)  # type: ignore[arg-type] # a table


def _never(cell: Cell, error: LlamdexError) -> None:
    raise AssertionError(str(cell)) from error


def _never_told(*_: object) -> None:
    raise AssertionError("nothing is run")


def _outcome(method: str, right: str, rows: list[int] | None = None) -> dict[str, object]:
    spent = {"epsilon": 1.0, "delta": 1e-4, "table": "each silo's"}
    share = right.count("1") / len(right)
    return {"method": method, "accuracy": share, "auc": share, "right": right, "rows": rows, "guarantee": spent} | {
        "seconds": 1.0, "bytes_sent": 10, "told": {}
    }  # fmt: skip


def _document(*outcomes: dict[str, object]) -> dict[str, object]:
    about = {"delta": 1e-4, "architecture": "a", "silos": {"one": 3, "two": 2}, "held_out": 4, "majority": 0.5}
    return {**about, "outcomes": list(outcomes), "wall_s": 2.0}


def _store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "cells", PaperSettings(out=tmp_path).store.settings)
    for seed in range(3):
        cell = Cell(data_set="wine", method="assembled", epsilon=1.0, seed=seed)
        store.put(cell, _document(_outcome("assembled", "1110")))
        cell = replace(cell, method="synthesis_mst")
        better, worse = _outcome("synthesis_mst+regression", "1111"), _outcome("synthesis_mst+boosting", "0001")
        store.put(cell, _document(worse, better))
        cell = replace(cell, method="plain_llm", epsilon=None)
        store.put(cell, _document(_outcome("plain_llm", "01", [0, 3])))
    return store


def test_cells_begin_with_epsilon_1_and_llms_are_asked_there_only():
    cells = Plan(data_sets=("wine",), methods=("assembled", "plain_llm", "expert_api"), seeds=2).cells()
    assert len(cells) == len(set(cells)) == 2 * (5 + 1 + 1)
    assert [cell.epsilon for cell in cells[:3]] == [1.0, None, 1.0]
    assert {cell.epsilon for cell in cells if cell.method == "expert_api"} == {1.0}
    assert len({cell.place for cell in cells}) == len(cells)


def test_a_cut_off_run_goes_on_and_nothing_is_run_twice(tmp_path: Path):
    ran: list[Cell] = []

    def cut_off(cell: Cell | None, done: int, total: int, left_s: float, stale: list[str]) -> None:
        assert total == 3
        assert not stale
        assert left_s >= 0.0
        if done == 2:
            raise KeyboardInterrupt
        if cell is not None:
            ran.append(cell)

    with pytest.raises(KeyboardInterrupt):
        run_paper(_settings(tmp_path), cut_off, _never)
    half = json.loads((tmp_path / "paper" / "report.json").read_text(encoding="utf-8"))
    assert half["cells"]["run"] == 2
    first = half["at_epsilon_1"]["titanic"]["ours"]
    assert 0.0 < first <= 1.0

    report = run_paper(_settings(tmp_path), lambda cell, *_: ran.append(cell) if cell else None, _never)
    assert len(ran) == len(set(ran)) == 3
    assert report["cells"] == {"wanted": 3, "run": 3, "missing": [], "stale": [], "kept": 3, "failed": []}
    assert report["at_epsilon_1"]["titanic"] == {
        "ours": first,
        "best_synthesis": None,
        "best_synthesis_name": None,
        "llm_on_synthetic": None,
        "plain_llm": None,
        "expert_api": None,
    }
    assert set(report["at_epsilon_1"]) == {"titanic", "wine", "bank", "nursery"}
    assert set(report["over_epsilon"]["titanic"]) == {"none", "1", "4"}
    pytest.importorskip("pyarrow")
    assert (tmp_path / "paper" / "results.parquet").exists()
    text = (tmp_path / "paper" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|<script|<link|@import""", text)
    assert "not run" in text


def test_a_report_may_be_asked_for_while_cells_run(tmp_path: Path):
    one, ran = replace(PLAN, methods=("pooled",)), []

    def ask(_cell: Cell | None, done: int, *_: object) -> None:
        ran.append((done, run_paper(replace(settings, report_only=True), _never_told, _never)["cells"]["run"]))

    settings = _settings(tmp_path, plan=one)
    run_paper(settings, ask, _never)
    assert ran == [(0, 0), (1, 1)]


def test_a_failed_cell_is_told_of_and_is_no_figure(tmp_path: Path):
    def broken(_name: str, _seed: int) -> Cohort:
        raise ProcessError("It broke.", expected="a table", got="nothing", next_step="again")

    told: list[str] = []
    one = replace(PLAN, methods=("assembled",), epsilons=(1.0,))
    report = run_paper(
        _settings(tmp_path, cohort_of=broken, plan=one), lambda *_: None, lambda cell, _: told.append(str(cell))
    )
    assert told == ["titanic assembled epsilon 1 seed 0"]
    assert report["at_epsilon_1"]["titanic"]["ours"] is None
    assert [own["problem"] for own in report["cells"]["failed"]] == ["It broke."]


def test_what_was_made_with_other_settings_counts_as_not_run(tmp_path: Path):
    store = _store(tmp_path)
    cell = Cell(data_set="wine", method="synthesis_mst", epsilon=1.0, seed=0)
    assert store.get(cell) is not None
    other = Store(store.root, {**store.settings, "synthesis_mst": {"iterations": 5}})
    assert other.get(cell) is None
    assert report_of(other, PLAN)["at_epsilon_1"]["wine"]["best_synthesis"] is None


def test_a_cell_of_other_code_is_stale_and_is_run_again(tmp_path: Path):
    one = replace(PLAN, methods=("pooled",), seeds=1)
    ran: list[tuple[str, list[str]]] = []

    def told(cell: Cell | None, _done: int, _total: int, _left_s: float, stale: list[str]) -> None:
        if cell is not None:
            ran.append((str(cell), stale))

    run_paper(_settings(tmp_path, plan=one), told, _never)
    settings = _settings(tmp_path, plan=one)
    (cell,) = one.cells()
    path = settings.store.root / cell.place
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["sources"]["simulations/alternatives/experts.py"]
    document["sources"]["simulations/alternatives/experts.py"] = "0" * 16
    path.write_text(json.dumps(document), encoding="utf-8")

    report = report_of(settings.store, one)
    changed = ["simulations/alternatives/experts.py"]
    assert report["cells"]["stale"] == [{"cell": str(cell), "because": changed}]
    assert report["cells"]["kept"] == 0
    assert report["cells"]["missing"] == [str(cell)]
    assert not report["over_epsilon"]
    assert "other code" in page(report)

    again = run_paper(settings, told, _never)
    assert ran == [(str(cell), []), (str(cell), changed)]
    assert not again["cells"]["stale"]
    assert again["cells"]["run"] == 1
    del document["sources"]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert settings.store.get(cell) is None, "a cell of which nobody knows where it comes from"


def test_the_best_rival_is_taken_and_differences_are_on_common_records(tmp_path: Path):
    report = json.loads(json.dumps(report_of(_store(tmp_path), PLAN), allow_nan=False))
    wine = report["at_epsilon_1"]["wine"]
    assert (wine["ours"], wine["best_synthesis"], wine["plain_llm"]) == (0.75, 1.0, 0.5)
    assert wine["best_synthesis_name"] == "synthesis_mst+regression"
    assert report["ours_less"]["wine"]["best_synthesis"]["mean"] == pytest.approx(-0.25)
    # Of records 0 and 3 ours has the first right, the LLM the other.
    assert report["ours_less"]["wine"]["plain_llm"]["mean"] == pytest.approx(0.0)
    assert report["ours_less"]["wine"]["plain_llm"]["asked"] == 6
    claims = {claim["claim"]: claim for claim in report["claims"]}
    assert any(claim["here"] and claim["here"]["points"] == pytest.approx(-25.0) for claim in claims.values())
    assert report["ours_less"]["titanic"]["best_synthesis"] is None
    assert "synthesis_mst+regression" in page(report)


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.1, 0.3, "ahead"), (-0.3, -0.1, "synthesis wins"), (-0.1, 0.1, "no difference")]
)
def test_the_verdict_says_who_wins(low: float, high: float, word: str):
    assert word in verdict("wine", {"best_synthesis": {"mean": 0.0, "low": low, "high": high, "seeds": 3}})
    assert "not both run" in verdict("wine", {"best_synthesis": None})


@pytest.mark.parametrize("arguments", [["--datasets", "iris"], ["--methods", "magic"], ["--epsilons", "99"], ["iris"]])
def test_unknown_names_are_the_callers_fault(arguments: list[str]):
    with pytest.raises(SystemExit) as ended:
        console.run(app, ["paper", *arguments])
    assert ended.value.code == 2


def test_the_command_runs_a_part_and_prints_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    part = ["--datasets", "heart", "--methods", "pooled", "--epsilons", "1", "--seeds", "1", "--json"]
    with pytest.raises(SystemExit) as ended:
        console.run(app, ["paper", *part, "--out", str(tmp_path)])
    assert ended.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["over_epsilon"]["heart"]["none"]["pooled"]["accuracy"] > 0.7
    assert report["at_epsilon_1"]["heart"]["ours"] is None
