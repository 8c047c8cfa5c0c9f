"""``llamdex-silo privacy``: the documents that programs read, the tables that people read, refusals."""

import json
from pathlib import Path

import pytest

from llamdex_fl import console
from llamdex_fl.privacy import ACCOUNTANTS, SampledGaussian, certified_epsilon
from silo_client.cli.main import app

PLAN = ["--records", "500", "--batch", "64", "--epochs", "10", "--epsilon", "1", "--delta", "1e-3"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        console.run(app, ["privacy", *arguments])
    told = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, told.out, told.err


def costs(noise: float) -> float:
    training = SampledGaussian(sampling_rate=1 / 8, noise_multiplier=noise, steps=80, max_grad_norm=1.0)
    return certified_epsilon([training], 1e-3)


@pytest.mark.parametrize("accountant", ["pld", "edgeworth"])
def test_calibrate(capsys: pytest.CaptureFixture[str], accountant: str) -> None:
    code, out, _ = run(capsys, "calibrate", *PLAN, "--accountant", accountant, "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["sampling_rate"], told["steps"], told["delta"]) == (1 / 8, 80, 1e-3)
    assert (told["adjacency"], told["unit"], told["kind"]) == ("add_or_remove_one", "record", "certified")
    assert 0.998 <= told["epsilon"] <= 1.0
    assert costs(told["noise_multiplier"]) <= 1.0


@pytest.mark.parametrize("accountant", ["gdp", "edgeworth_estimate"])
def test_an_estimate_is_no_calibration(capsys: pytest.CaptureFixture[str], accountant: str) -> None:
    code, out, err = run(capsys, "calibrate", *PLAN, "--accountant", accountant, "--json")
    assert (code, out) == (2, "")
    assert json.loads(err)["error"] == "EstimateRefusedError"


def test_epsilon(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--sampling-rate", "0.128", "--noise-multiplier", "3", "--steps", "80", "--delta", "1e-3"]
    code, out, _ = run(capsys, "epsilon", *options, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["epsilon"] == told["pld"]["epsilon"] == pytest.approx(1.0529665, abs=3e-5)
    assert set(ACCOUNTANTS) <= set(told)
    assert told["estimate"]["validity"] == "valid"
    code, out, _ = run(capsys, "epsilon", *options)
    assert code == 0
    assert "add_or_remove_one" in out


def test_compare(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "epsilon.html"
    code, out, _ = run(capsys, "compare", *PLAN, "--plot", str(picture), "--json")
    told = json.loads(out)
    assert code == 0
    assert set(told) == {"pld", "prv", "rdp", "edgeworth", "edgeworth_estimate", "gdp"}
    for name, row in told.items():
        assert set(row) == {"noise_multiplier", "epsilon", "kind", "seconds"}
        assert row["kind"] == ACCOUNTANTS[name].kind
        assert 0.998 <= row["epsilon"] <= 1.0
        if row["kind"] != "estimate":
            assert costs(row["noise_multiplier"]) <= 1.0
    assert told["pld"]["noise_multiplier"] < 0.96 * told["rdp"]["noise_multiplier"]
    text = picture.read_text(encoding="utf-8")
    assert "<svg" in text
    assert "delta 0.001" in text
    assert [each.name for each in tmp_path.iterdir()] == [picture.name]


def test_compare_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "compare", *PLAN)
    assert code == 0
    for word in ("ESTIMATE", "saves", "pld binds", "edgeworth_estimate", "lowered", "80 steps", "validity"):
        assert word in " ".join(out.split())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (["--batch", "501"], "batch"),
        (["--records", "0"], "records"),
        (["--epochs", "0"], "epochs"),
        (["--epsilon", "0"], "epsilon"),
        (["--delta", "1"], "delta"),
    ],
)
def test_a_plan_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], change: list[str], word: str) -> None:
    code, _, err = run(capsys, "calibrate", *PLAN, *change)
    assert code == 2
    assert word in err


def test_a_picture_with_another_ending_is_refused_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "compare", *PLAN, "--plot", str(tmp_path / "epsilon.png"))
    assert code == 2
    assert ".svg" in err
