"""Kept results: found again for the same benchmark and no other, whatever a crash left at the end of the file."""

import functools
from pathlib import Path

import pytest

import silo_client.ew_tune
from llamdex_fl.errors import InputError
from llamdex_fl.experts import MINILM_LORA
from llamdex_fl.schema import load_library_schema
from silo_client.ew_tune import BenchPlan, bench
from silo_client.ew_tune_kept import KeptResults
from silo_client.text_training import TextRecipe

PLAN = BenchPlan(
    architecture=MINILM_LORA,
    schema=load_library_schema("sentiment"),
    epsilon=4.0,
    seeds=1,
    recipe=TextRecipe(steps=2),
)
TEXTS = [(f"{'I love' if n % 2 else 'I hate'} the {n}th chapter.", n % 2) for n in range(60)]


def test_an_interrupted_benchmark_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept"
    # Calibrated once: it takes seconds, and is the same every time.
    monkeypatch.setattr(silo_client.ew_tune, "_calibrated", functools.cache(silo_client.ew_tune._calibrated))
    before = bench(PLAN, {"mine": TEXTS}, kept=path)
    lines = path.read_bytes().splitlines(keepends=True)
    # Cut off in the last training's line, as by a crash: that one is done again, and no other.
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    heard: list[tuple[str, str, int, int]] = []
    after = bench(PLAN, {"mine": TEXTS}, lambda *told: heard.append(told), kept=path)
    assert [told[2:] for told in heard if told[1] == "training"] == [(3, 4), (4, 4)]
    for route in ("rdp", "pld", "edgeworth"):
        assert after["mine"]["routes"][route]["accuracies"] == before["mine"]["routes"][route]["accuracies"]
    # Nothing is left to do: not even the texts are read.
    monkeypatch.setattr("silo_client.ew_tune.load_text_base", lambda *_: pytest.fail("read again"))
    assert bench(PLAN, {"mine": TEXTS}, kept=path)["mine"]["ceiling"] == after["mine"]["ceiling"]


def test_results_of_something_else_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    KeptResults(path, {"noise": 3.0}).add("a", accuracy=0.5)
    assert "a" not in KeptResults(path, {"noise": 3.0000000001})
    assert KeptResults(path, {"noise": 3.0})["a"] == {"accuracy": 0.5}
    assert "a" not in KeptResults(None, {"noise": 3.0})


@pytest.mark.parametrize(
    "content", [b"text,sentiment\ngood,positive\n", b'{"something": "else"}\n', b"\xff\xfe", b"no newline"]
)
def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be kept"):
        KeptResults(path, [])
    assert path.read_bytes() == content
    with pytest.raises(InputError, match="cannot be kept"):
        KeptResults(tmp_path / "no" / "such", [])
