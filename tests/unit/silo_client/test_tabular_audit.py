"""The tabular expert under audit: what is drawn, what the attacker can see, and the command."""

import json
import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import silo_client.training
from llamdex_fl import console
from llamdex_fl.experts import THERMOMETER_LINEAR, tensor_shapes
from llamdex_fl.schema import Schema, load_library_schema
from silo_client import cli as _silo  # noqa: F401 - registers the commands
from silo_client.audit import audit
from silo_client.cli.main import app
from silo_client.tabular_audit import TabularTrainer
from silo_client.training import Recipe
from simulations.seeded_noise import SeededNoise

HEART = load_library_schema("heart")


def trainer(schema: Schema = HEART, **change: object) -> TabularTrainer:
    given = {"epsilon": 1.0, "delta": 1e-4, "canaries": 60, "noise": SeededNoise(1)} | change
    return TabularTrainer(schema, **given)  # type: ignore[arg-type]


def run(arguments: Sequence[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        console.run(app, arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_release_is_the_trainers_own() -> None:
    release = trainer(records=30).train(np.ones(60, np.bool_))
    assert (release.schema_digest, release.architecture) == (HEART.digest(), THERMOMETER_LINEAR)
    assert {name: array.shape for name, array in release.tensors.items()} == tensor_shapes(THERMOMETER_LINEAR, HEART)
    assert 0.998 <= release.guarantee.epsilon <= 1.0
    # 90 records, and Laplace noise of scale 5 on each of two counts.
    assert abs(float(release.tensors["class_counts"].sum()) - 90.0) < 60.0


@pytest.mark.parametrize("name", ["heart", "titanic"])
def test_what_is_drawn_follows_the_schema(name: str) -> None:
    schema = load_library_schema(name)
    drawn = trainer(schema, canaries=300, records=301)
    for part, count in ((drawn._canaries, 300), (drawn._others, 301)):
        assert len(part.records) == len(part.labels) == len(part.codes) == count
        for record in part.records:
            assert set(record) == {feature.name for feature in schema.features}
            assert all(feature.contains(record[feature.name]) for feature in schema.features)
    for feature in schema.features:
        values = [record[feature.name] for record in drawn._canaries.records]
        assert 0.1 < np.mean([value is None for value in values]) < 0.4
    assert 0.35 < np.mean(drawn._canaries.labels) < 0.65
    assert all(value is None for record in drawn._others.records for value in record.values())
    assert drawn._others.labels[:4] == [0, 1, 0, 1]


def test_canaries_are_as_loud_as_clipping_allows() -> None:
    gradients = trainer(canaries=500)._canaries.gradients(np.array([0.5, 0.5]), 0.5, math.sqrt(2.0))
    lengths = np.linalg.norm(gradients, axis=1)
    assert float((lengths > 0.99 * math.sqrt(2.0)).mean()) > 0.8
    assert lengths.max() <= math.sqrt(2.0) + 1e-9


def test_the_attacker_sees_all_where_there_is_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoNoise(silo_client.training.SecureDPOptimizer):
        def add_noise(self) -> None:
            for parameter in self.params:
                parameter.grad = parameter.summed_grad.view_as(parameter)

    monkeypatch.setattr(silo_client.training, "SecureDPOptimizer", NoNoise)
    audited = trainer(canaries=20, recipe=Recipe(sampling_rate=1.0), records=100)
    present = np.arange(20) % 3 == 0
    assert ((audited.scores(audited.train(present)) > 0.0) == present).mean() >= 0.9


def test_scores_are_log_odds_where_the_claim_is_true() -> None:
    # What the attacker is sure of must come true as often as it says.
    audited = trainer(canaries=40, noise=SeededNoise(3))
    coins = SeededNoise(4)
    sure, right = [], []
    for _ in range(12):
        present = coins.uniforms(40) < 0.5
        scores = audited.scores(audited.train(present))
        sure += (1.0 / (1.0 + np.exp(-np.abs(scores)))).tolist()
        right += ((scores > 0.0) == present).tolist()
    assert np.mean(right) > 0.52
    assert np.mean(right) == pytest.approx(np.mean(sure), abs=0.08)


def test_each_training_has_a_ledger_of_its_own_that_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened: list[object] = []
    connect = sqlite3.connect

    def watch(path: object, *arguments: object, **how: object) -> sqlite3.Connection:
        opened.append(path)
        return connect(path, *arguments, **how)  # type: ignore[arg-type,call-overload,no-any-return]

    monkeypatch.setattr(sqlite3, "connect", watch)
    audited = trainer()
    for _ in range(4):  # four times the budget of one ledger
        audited.train(np.ones(60, np.bool_))
    assert opened
    assert all(str(path).startswith(str(tmp_path)) for path in opened)
    assert list(tmp_path.iterdir()) == []


def test_a_seed_repeats_and_production_does_not() -> None:
    def made(noise: SeededNoise | None) -> list[float]:
        audited = trainer(canaries=5, noise=noise)
        return [*audited._canaries.codes.ravel(), *audited.train(np.ones(5, np.bool_)).tensors["weight"].ravel()]

    assert made(SeededNoise(2)) == made(SeededNoise(2))
    assert made(None) != made(None)


def test_a_schema_of_three_classes_is_audited_too(toy_schema: Schema) -> None:
    document = toy_schema.as_dict()
    target = document["target"] | {key: ["a", "b", "c"] for key in ("labels", "answers", "sentences")}
    from llamdex_fl.schema import parse_schema  # noqa: PLC0415

    schema = parse_schema(json.dumps(document | {"target": target}))
    assert audit(trainer(schema, canaries=30), canaries=60, runs=2, noise=SeededNoise(5)).consistent


def test_the_command_prints_what_a_program_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["privacy", "audit", "--canaries", "90", "--runs", "3", "--records", "20", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"epsilon", "delta", "adjacency", "unit", "accountant"} <= set(document["claimed"])
    assert {"confidence", "canaries", "guesses", "correct", "runs", "seconds"} <= set(document)
    assert document["consistent"] is True
    assert document["empirical_lower_bound"] <= document["claimed"]["epsilon"] <= 1.0


def test_the_command_tells_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["privacy", "audit", "--canaries", "40", "--runs", "1", "--schema", "titanic"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "claimed" in told
    assert "add_or_remove_one" in told
    assert "no proof" in told


def test_a_contradicted_claim_ends_with_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class NoNoise(silo_client.training.SecureDPOptimizer):
        def add_noise(self) -> None:
            for parameter in self.params:
                parameter.grad = parameter.summed_grad.view_as(parameter)

    monkeypatch.setattr(silo_client.training, "SecureDPOptimizer", NoNoise)
    assert run(["privacy", "audit", "--canaries", "240", "--runs", "4", "--json"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["consistent"] is False
    error = json.loads(told.err)
    assert error["error"] == "AuditError"
    assert "ours" in error["next_step"]


@pytest.mark.parametrize(
    "wrong",
    [["--epsilon", "0"], ["--epsilon", "nan"], ["--delta", "1"], ["--delta", "0"], ["--canaries", "2", "--runs", "3"]],
)
def test_what_cannot_be_audited_is_the_callers_fault(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["privacy", "audit", "--canaries", "10", "--runs", "1", *wrong, "--json"]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert json.loads(told.err)["next_step"]
