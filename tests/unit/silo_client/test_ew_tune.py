"""The benchmark of EW-Tune: one guarantee by three accountants, and numbers that a program can read."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llamdex_fl.errors import InputError
from llamdex_fl.experts import MINILM_LORA
from llamdex_fl.privacy import certified_epsilon, with_noise
from llamdex_fl.schema import load_library_schema
from silo_client.cli.main import app
from silo_client.ew_tune import ROUTES, BenchPlan, bench
from silo_client.text_training import TextRecipe

SENTIMENT = load_library_schema("sentiment")
PLAN = BenchPlan(architecture=MINILM_LORA, schema=SENTIMENT, epsilon=4.0, seeds=1, recipe=TextRecipe(steps=6))
TEXTS = [(f"{'I love' if n % 2 else 'I hate'} the {n}th chapter.", n % 2) for n in range(60)]


def test_all_routes_keep_one_guarantee_and_differ_in_noise() -> None:
    heard = []
    (rows,) = bench(PLAN, {"mine": TEXTS}, lambda *told: heard.append(told)).values()
    assert (rows["records"], rows["held_out"]) == (48, 12)
    assert rows["delta"] == 48**-1.1
    assert set(rows["routes"]) == set(ROUTES)
    for route, row in rows["routes"].items():
        spent = certified_epsilon(with_noise(PLAN.mechanisms(), row["noise_multiplier"]), rows["delta"])
        assert spent == row["certified_epsilon"] <= 4.0
        assert row["stated_epsilon"] <= 4.0
        assert 0.0 <= row["accuracy"] <= 1.0
        assert (row["saving"] == 0.0) == (route == "rdp")
    assert rows["routes"]["pld"]["saving"] > 0.04
    assert rows["routes"]["edgeworth"]["binds"] in {"pld", "tilted_bound"}
    assert heard[-1] == ("mine", "training", 4, 4)


def test_the_command_takes_files_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silo_client.ew_tune.TextRecipe", lambda: TextRecipe(steps=4))
    path = tmp_path / "mine.csv"
    labels = SENTIMENT.target.labels
    path.write_text("text,sentiment\n" + "".join(f'"{text}, truly",{labels[label]}\n' for text, label in TEXTS))
    done = CliRunner().invoke(app, ["ew-tune", "bench", "--data", f"mine={path}", "--quick", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["sources"]["mine"]["routes"]["pld"]["certified_epsilon"] <= 2.0
    assert "GLUE" in told["note"]


@pytest.mark.parametrize(
    "arguments", [["--source", "glue"], ["--data", "nothing"], ["--data", "a=b.csv", "--schema", "heart"]]
)
def test_what_cannot_be_measured_is_refused(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["ew-tune", "bench", *arguments])
    assert isinstance(done.exception, InputError)


def test_too_few_texts_are_refused() -> None:
    with pytest.raises(InputError):
        bench(PLAN, {"few": TEXTS[:20]})
    with pytest.raises(InputError):
        bench(PLAN, {"one class": [(text, 0) for text, _ in TEXTS]})
