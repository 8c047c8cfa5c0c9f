"""The text expert under audit: a claim that holds stands, and the command says so."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from llamdex_fl.errors import InputError
from llamdex_fl.experts import MINILM_LORA, tensor_shapes
from llamdex_fl.schema import load_library_schema
from silo_client.audit import audit
from silo_client.cli.main import app
from silo_client.text_audit import TextTrainer
from silo_client.text_training import TextRecipe
from simulations.seeded_noise import SeededNoise

SENTIMENT = load_library_schema("sentiment")
QUICK = TextRecipe(steps=6)


def trainer(canaries: int = 20, **changed: object) -> TextTrainer:
    given = {"epsilon": 2.0, "delta": 1e-3, "recipe": QUICK, "noise": SeededNoise(1)} | changed
    return TextTrainer(SENTIMENT, MINILM_LORA, canaries=canaries, records=20, **given)  # type: ignore[arg-type]


def test_its_releases_are_those_of_a_silo() -> None:
    release = trainer().train(np.ones(20, np.bool_))
    assert {name: array.shape for name, array in release.tensors.items()} == tensor_shapes(MINILM_LORA, SENTIMENT)
    assert release.guarantee.epsilon <= 2.0


def test_a_correct_trainer_stands() -> None:
    report = audit(trainer(), canaries=40, runs=2, noise=SeededNoise(2))
    assert report.consistent
    assert report.guesses == 13


def test_canaries_are_texts_of_the_schema_and_unlike_each_other() -> None:
    texts = [record["text"] for record in trainer(30)._records]
    assert len(set(texts)) == 30
    assert all(SENTIMENT.features[0].contains(text) for text in texts)


def test_the_command_knows_the_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silo_client.text_audit.TextRecipe", lambda: QUICK)
    command = ["privacy", "audit", "--architecture", MINILM_LORA, "--canaries", "20", "--runs", "2", "--json"]
    done = CliRunner().invoke(app, [*command, "--records", "10", "--delta", "1e-3"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["consistent"] is True
    assert told["canaries"] == 20
    refused = CliRunner().invoke(app, [*command, "--schema", "heart"])
    assert isinstance(refused.exception, InputError)
