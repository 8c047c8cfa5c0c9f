"""Two silos of made-up texts, real processes: trained under DP, sealed, uploaded, connected, and asked."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors.injector import worded_sentences
from llamdex_fl.connectors.texts import TextQuestionGenerator, training_text_wording
from llamdex_fl.experts import MINILM_LORA, TextExpert
from llamdex_fl.privacy import SampledGaussian
from llamdex_fl.release import Offer
from llamdex_fl.rounds import Answer
from llamdex_fl.schema import Schema, load_library_schema
from provider_server.config import load_provider_config
from provider_server.fitting import fit_connectors
from provider_server.registry import Registry
from provider_server.rounds import RoundSpec
from silo_client.policy import DEFAULT_PURPOSE
from simulations.datasets import LabelledRecord, write_silo_csv
from simulations.local_consortium import Founded, LocalConsortium, PrivacyTerms, found_consortium

pytestmark = pytest.mark.slow

SILOS = ("gazette", "shop")
TERMS = PrivacyTerms(epsilon=8.0, delta=1e-4, lifetime_epsilon=8.0)
_RECORDS = 150
_QUESTIONS = 24


def _texts(schema: Schema, seed: int, count: int) -> list[LabelledRecord]:
    generator, rng = TextQuestionGenerator(training_text_wording(schema), noise=0.1), random.Random(seed)
    return [
        LabelledRecord(features={"text": generator.text(rng, label=schema.target.labels[number % 2])}, label=number % 2)
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    """The provider, with an expert of each silo and its connectors."""
    base = tmp_path_factory.mktemp("texts")
    schema = load_library_schema("sentiment")
    data = {silo: base / f"{silo}.csv" for silo in SILOS}
    for seed, path in enumerate(data.values()):
        write_silo_csv(path, schema, _texts(schema, seed, _RECORDS))
    founded = found_consortium(base / "c", schema, data, terms=dict.fromkeys(SILOS, TERMS))
    config = load_provider_config(founded.provider_home)
    llm = load_base_llm(config.base_llm)
    offer = Offer(
        provider=founded.provider,
        purpose=DEFAULT_PURPOSE,
        schema_digest=schema.digest(),
        architecture=MINILM_LORA,
        base_model_digest=llm.digest,
        epsilon=TERMS.epsilon,
        delta=TERMS.delta,
        challenge="0" * 64,
    )
    with LocalConsortium(
        work_dir=base / "work", provider_home=founded.provider_home, silo_homes=list(founded.silo_homes.values())
    ) as consortium:
        report = consortium.run_round("texts-1", RoundSpec(offer=offer, silos=SILOS, answer_timeout_s=300))
    assert {own.silo: own.outcome for own in report.silos} == dict.fromkeys(SILOS, Answer.DONE)
    # From the user's cache where a demo has trained them: minutes otherwise.
    fit_connectors(config, llm)
    return founded


def test_what_was_uploaded_is_a_text_expert_with_its_guarantee(founded: Founded) -> None:
    schema = load_library_schema("sentiment")
    config = load_provider_config(founded.provider_home)
    with Registry(config.registry) as registry:
        records = registry.releases(schema.digest())
        assert {record.silo for record in records} == set(SILOS)
        for record in records:
            release, _ = registry.load_release(record.release_id)
            assert release.architecture == MINILM_LORA
            assert release.guarantee.epsilon <= TERMS.epsilon
            assert any(isinstance(own, SampledGaussian) for own in release.guarantee.mechanisms)
            assert isinstance(TextExpert.from_tensors(schema, release.tensors, release.architecture), TextExpert)


def test_it_answers_about_sentences(founded: Founded, tmp_path: Path) -> None:
    schema = load_library_schema("sentiment")
    asked = TextQuestionGenerator(training_text_wording(schema))
    rng = random.Random(99)
    lines = [
        {
            "id": number,
            "schema": "sentiment",
            "question": asked.ask(str(record.features["text"]), rng).text,
            "features": record.features,
            "label": schema.target.labels[record.label],
        }
        for number, record in enumerate(_texts(schema, 77, _QUESTIONS))
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    report = _provider("eval", "--questions", str(path), "--home", str(founded.provider_home), "--json")
    assert report["reader"]["exact_match"] > 0.7
    assert report["routing"]["correct_rate"] > 0.7
    assert report["expert_accuracy_true_features"] > 0.6
    assert report["answer_accuracy"] > 0.6, "chance is .5, and what is not routed counts as wrong"
    assert report["injection_gap"] < 0.1


def test_a_person_asks(founded: Founded) -> None:
    question = 'A critic wrote: "A warm, clever and gripping film worth the wait." Did the critic like it?'
    said = _provider("ask", question, "--home", str(founded.provider_home), "--json")
    assert said["schema"] == "sentiment"
    assert sorted(said["experts"]) == sorted(SILOS)
    assert "warm, clever and gripping" in said["facts"]["text"]
    wordings = worded_sentences(load_library_schema("sentiment").target)
    assert said["answer"] in {text for own in wordings for text in own}
    plain = _provider("ask", "What is the capital of France?", "--home", str(founded.provider_home), "--json")
    assert plain["schema"] is None


def _provider(*arguments: str) -> dict[str, Any]:
    program = Path(sys.executable).with_name("llamdex-provider")
    done = subprocess.run([program, *arguments], check=True, capture_output=True, text=True, timeout=600)
    result: dict[str, Any] = json.loads(done.stdout)
    return result
