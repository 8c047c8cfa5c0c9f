"""The review's report: what it repeats of other runs, and what a reader sees."""

import json
from pathlib import Path

from simulations.review.case import Arena, Case, Try, carry_out
from simulations.review.measured import FIGURES, last_measured
from simulations.review.report import write_report


def write(path: Path, **document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_the_newest_figure_is_taken_with_its_source(tmp_path: Path):
    write(tmp_path / "docs" / "fuzz.json", date="2026-01-01", commit="aa", fuzz_executions=5, mutation_score=0.9)
    write(tmp_path / "out" / "fuzz.json", date="2026-02-01", commit="bb", fuzz_executions=7)
    write(tmp_path / "out" / "report.json", date="2027-01-01", fuzz_executions=99)
    (tmp_path / "out" / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "out" / "list.json").write_text("[]", encoding="utf-8")
    figures = last_measured([tmp_path / "out", tmp_path / "docs", tmp_path / "none"])
    assert (figures["fuzz_executions"], figures["mutation_score"], figures["cpu_ratio"]) == (7, 0.9, None)
    assert figures["sources"]["fuzz_executions"] == {"file": "fuzz.json", "date": "2026-02-01", "commit": "bb"}
    assert set(FIGURES) < set(figures)


def test_a_file_of_the_fuzzers_and_one_without_a_date(tmp_path: Path):
    write(tmp_path / "fuzz.json", date="2026-02-01", commit="bb", executions=9, crashes=0)
    write(tmp_path / "channel.json", throughput_ratio=0.4, peak_memory_mib={"100MB": 1.0, "500MB": 1.5})
    figures = last_measured([tmp_path])
    assert (figures["fuzz_executions"], figures["throughput_ratio"]) == (9, 0.4)
    assert figures["sources"]["peak_memory_mib"]["date"].startswith("20")


def attempt(*tries: Try, expected: str = "NO") -> tuple[str, bool]:
    case = Case(id=1, case="c", expected=expected, control="k", attack=lambda _arena: tries)
    outcome = carry_out(case, Arena(Path()))
    return outcome.got, outcome.passed


def test_a_case_passes_only_if_each_try_got_its_answer():
    assert attempt(Try("a", "NO"), Try("b", "NO")) == ("NO", True)
    assert attempt(Try("a", "NO"), Try("b", "0", expected="0")) == ("NO", True)
    assert attempt(Try("a", "NO"), Try("b", "1", expected="0")) == ("1", False)
    assert attempt(Try("a", "NO"), Try("b", "YES")) == ("YES", False)
    assert attempt() == ("nothing was tried", False)
    assert attempt(Try("a", "X", "X"), Try("b", "Y", "Y"), expected="X; Y") == ("X; Y", True)


def test_an_attack_that_fails_itself_has_not_passed():
    def broken(_arena: Arena) -> list[Try]:
        raise RuntimeError("private")

    outcome = carry_out(Case(id=1, case="c", expected="NO", control="k", attack=broken), Arena(Path()))
    assert (outcome.got, outcome.passed) == ("RuntimeError", False)


def test_the_report_is_whole_and_escapes_what_it_is_told(tmp_path: Path):
    row = {"id": 1, "case": "<b>", "expected": "NO", "got": "NO", "pass": True, "control": "k"}
    report = {
        "passed": True,
        "date": "2026-01-01",
        "commit": "",
        "thorough": True,
        "seconds": 1.0,
        "cases": [{**row, "tries": [{"what": "w", "expected": "NO", "got": "NO"}]}],
        "bit_flips": {"tried": 1, "accepted": 0, "seed": 1, "by_part": {"header": 1}},
        "capture": {"wire_bytes": 1, "envelope_bytes": 1, "pieces": {"w": 1}, "found": {"w": 0}, "control": {"w": 1}},
        "threats": [{"threat": "t", "control": "c", "tests": [1], "result": "held"}],
        "parts": [{"name": "bandit", "result": "passed", "detail": ""}],
        **last_measured([]),
    }
    as_json, as_html = write_report(report, tmp_path)
    assert json.loads(as_json.read_text()) == report
    text = as_html.read_text()
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert "http" not in text
