"""LLM alternatives with a tiny LLM that knows nothing: what is asked, how answers are scored, what tuning leaves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from llamdex_fl.assembly import Answer, AskedQuestion
from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.errors import ConfigError
from llamdex_fl.privacy import Budget
from simulations.alternatives import Cohort, LLMSettings, LoraSettings, assembled_llm, expert_api, plain_llm
from simulations.alternatives.llm import _said, sentence_chances, worded
from simulations.alternatives.lora import tuned

_BUDGET = Budget(epsilon=4.0, delta=1e-4)


@pytest.fixture(scope="module")
def tiny(make_tiny_llm: Callable[[str], Path]) -> BaseLLM:
    return load_base_llm(str(make_tiny_llm("llama")))


def test_plain_and_told_llms_are_asked_about_the_same_records(small_cohort: Cohort, tiny: BaseLLM) -> None:
    settings = LLMSettings(load=lambda: tiny, questions=6)
    (plain,), (told,) = (make(settings)(small_cohort, _BUDGET, 1) for make in (plain_llm, expert_api))
    assert plain.rows_m.tolist() == told.rows_m.tolist() == sorted(plain.rows_m.tolist())
    assert len(plain.rows_m) == 6
    assert plain.spent is None
    assert told.spent is not None
    assert told.spent.epsilon <= 4.0
    assert told.bytes_sent > 0 == plain.bytes_sent
    assert 0.0 <= plain.told["said_accuracy"] <= 1.0
    np.testing.assert_allclose(told.probabilities_mC.sum(axis=1), 1.0)


@torch.inference_mode()
def test_chances_are_the_likelihoods_of_whole_sentences(tiny: BaseLLM) -> None:
    sentences = ["Yes.", "No, that is not what happened.", "Perhaps."]
    (chances,) = sentence_chances(tiny, ["Did it rain?"], sentences)
    logs = []
    for sentence in sentences:
        prompt, answer = tiny.prompt_ids("Did it rain?"), torch.tensor([tiny.answer_ids(sentence)])
        logits = tiny.model(input_ids=torch.cat([prompt, answer], dim=1)).logits[0, prompt.shape[1] - 1 : -1]
        logs.append(float(torch.log_softmax(logits, -1)[torch.arange(answer.shape[1]), answer[0]].sum()))
    expected = np.exp(np.array(logs) - max(logs))
    np.testing.assert_allclose(chances, expected / expected.sum(), rtol=1e-4)


def test_tuning_learns_and_leaves_the_base_as_it_was(tiny: BaseLLM) -> None:
    sentences = ["Yes.", "No."]
    before = {name: own.clone() for name, own in tiny.model.state_dict().items()}
    plain = sentence_chances(tiny, ["Did it rain?"], sentences)
    settings = LoraSettings(steps=20, batch=2, learning_rate=1e-2)
    with tuned(tiny, [("Did it rain?", "No.")], settings, 1) as own:
        learned = sentence_chances(own, ["Did it rain?"], sentences)
    assert learned[0, 1] > plain[0, 1]
    after = tiny.model.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    np.testing.assert_array_equal(sentence_chances(tiny, ["Did it rain?"], sentences), plain)


def test_questions_come_from_the_records_and_the_training_wording(small_cohort: Cohort) -> None:
    records = next(iter(small_cohort.splits.values())).train
    pairs = worded(small_cohort.schema, records, 1, 50)
    assert len(pairs) == 50
    assert {sentence for _, sentence in pairs} <= set(small_cohort.schema.target.sentences)
    assert pairs == worded(small_cohort.schema, records, 1, 50)
    assert len({question for question, _ in pairs}) > 40


def test_without_connectors_the_assembled_llm_says_what_it_needs(small_cohort: Cohort) -> None:
    with pytest.raises(ConfigError, match="reader and injector"):
        assembled_llm()(small_cohort, _BUDGET, 1)


def test_the_assembled_llm_is_judged_by_what_it_says(small_cohort: Cohort) -> None:
    schema = small_cohort.schema
    no, yes = schema.target.labels
    sentence = dict(zip(schema.target.labels, schema.target.sentences, strict=True))
    asked = AskedQuestion(identity="a", schema=schema.name, question="?", features={}, label=no, asker="a")

    def heard(text: str, chances: dict[str, float], route: str | None = schema.name) -> Answer:
        return Answer(text=text, schema=route, probabilities=chances, expert_probabilities={}, silos=(), facts={})

    assert _said(schema, asked, heard(sentence[yes], {"n": 0.2, "y": 0.8})) == [0.2, 0.8]
    assert _said(schema, asked, heard(sentence[no], {"n": 0.2, "y": 0.8})) == [1.0, 0.0], "what it says counts"
    assert _said(schema, asked, heard("Perhaps.", {"n": 0.8, "y": 0.2})) == [0.0, 1.0], "no outcome is wrong"
    assert _said(schema, asked, heard(sentence[no], {}, None)) == [1.0, 0.0]
