"""The LLM speaks for experts: prompts, corrections and probabilities against plain runs of the same LLM."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from llamdex_fl.assembly.speaking import Injection, Speaker, _Words
from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.connectors.injector import Injector, InjectorRecipe, injection_prompt, train_injector
from llamdex_fl.connectors.questions import Wording
from llamdex_fl.schema import Schema

QUESTIONS = ["A red fruit of 51 grams. Is it ripe?", "A red fruit. It came from far away and is heavy.", "ripe?"]
CHANCES = [0.9, 0.35, 0.6]


@pytest.fixture(scope="module", params=["llama", "gpt_neox"])
def base(request: pytest.FixtureRequest, make_tiny_llm: Callable[[str], Path]) -> BaseLLM:
    return load_base_llm(str(make_tiny_llm(request.param)))


@pytest.fixture(scope="module")
def injector(base: BaseLLM, toy_wording: Wording) -> Injector:
    """It has learnt a little."""
    return train_injector(
        base, [toy_wording], recipe=InjectorRecipe(questions=4, steps=40, outcome_batch=8, sentence_batch=2, rate=1e-2)
    )


@pytest.fixture
def injections(toy_schema: Schema) -> list[Injection]:
    """One of them has three outcomes, so that what follows the questions differs in length."""
    target = toy_schema.target
    other = replace(
        toy_schema,
        name="other",
        target=replace(
            target,
            labels=("0", "1", "2"),
            answers=(*target.answers, "maybe"),
            sentences=(*target.sentences, "maybe, it is hard to say."),
        ),
    )
    asked = [
        Injection(question, toy_schema, torch.tensor([1 - chance, chance]))
        for question, chance in zip(QUESTIONS, CHANCES, strict=True)
    ]
    return [*asked, Injection(QUESTIONS[0], other, torch.tensor([0.2, 0.5, 0.3]))]


@torch.inference_mode()
def _plain(
    base: BaseLLM, injector: Injector, injection: Injection, injected: Sequence[float], tokens: int
) -> tuple[list[float], float, str]:
    """Shares and mass of the outcomes' first tokens, and the words, of one unpadded greedy run without a cache."""
    target = injection.schema.target
    prompt = injection_prompt(base, injection.question, target.sentences)
    embed = base.model.get_input_embeddings()
    words_ND = torch.stack([embed(torch.tensor(base.answer_ids(answer))).mean(0) for answer in target.answers])
    tokens_ND = injector(torch.tensor(injected)[None], words_ND)[0]
    inputs_LD = torch.cat([embed(prompt.before_T), tokens_ND, embed(prompt.after_T)])
    ids: list[int] = []
    first = None
    while len(ids) < tokens and base.tokenizer.eos_token_id not in ids:
        logits_V = base.model(inputs_embeds=inputs_LD[None], use_cache=False).logits[0, -1]
        first = logits_V.softmax(-1) if first is None else first
        ids.append(int(logits_V.argmax()))
        inputs_LD = torch.cat([inputs_LD, embed(torch.tensor(ids[-1:]))])
    assert first is not None
    said_N = first[[base.answer_ids(sentence)[0] for sentence in target.sentences]]
    text = base.tokenizer.decode(ids, skip_special_tokens=True).strip()
    return (said_N / said_N.sum()).tolist(), float(said_N.sum()), text


@pytest.mark.parametrize("corrections", [0, 1, 2, 5])
@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_what_is_spoken_is_what_a_plain_run_says(
    base: BaseLLM, injector: Injector, injections: list[Injection], corrections: int, tolerance: float
) -> None:
    speaker = Speaker(base, injector, corrections=corrections, tolerance=tolerance)
    for one, said in zip(injections, speaker.speak(injections, 6), strict=True):
        shares, mass, text = _plain(base, injector, one, said.injected, 6)
        assert said.probabilities == pytest.approx(shares, abs=1e-4)
        assert said.mass == pytest.approx(mass, abs=1e-4)
        # This LLM is too small to copy a sentence. Asked again, it is offered the one that it found likeliest.
        target = one.schema.target
        states = any(sentence.startswith(text) for sentence in target.sentences)
        assert said.asked_again == (not states)
        likeliest = slice((best := int(torch.tensor(shares).argmax())), best + 1)
        alone = replace(target, answers=target.answers[likeliest], sentences=target.sentences[likeliest])
        offered = replace(one, schema=replace(one.schema, target=alone))
        assert said.text == (text if states else _plain(base, injector, offered, [1.0], 6)[2])
        if corrections == 0 or tolerance == 1.0:
            assert said.injected == pytest.approx(one.probability_N.tolist(), abs=1e-4)


def test_an_answer_that_goes_astray_is_asked_for_again(
    base: BaseLLM, injector: Injector, toy_schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said yes with the words of no: one outcome must be stated, and the odds must stay as they were."""
    no, yes = toy_schema.target.sentences
    one, other = (Injection(question, toy_schema, torch.tensor([0.2, 0.8])) for question in QUESTIONS[:2])
    speaker = Speaker(base, injector)
    plain = speaker.speak([one, other])
    asked: list[list[list[float]]] = []
    generated = speaker._generated

    def with_a_slip(prompts: Any, given: Sequence[Tensor], *rest: Any) -> tuple[list[_Words], Tensor]:  # noqa: ANN401
        _, first_BV = generated(prompts, given, *rest)
        asked.append([given_N.exp().tolist() for given_N in given])
        texts = [yes.split()[0] + " " + no.split(maxsplit=1)[1], yes] if len(asked) == 1 else [yes]
        return [_Words(text, ended=True) for text in texts], first_BV

    monkeypatch.setattr(speaker, "_generated", with_a_slip)
    first, second = speaker.speak([one, other])
    assert [first.text, second.text] == [yes, yes]
    assert [first.asked_again, second.asked_again] == [True, False]
    assert asked[1] == [[1.0]]
    assert [first.probabilities, second.probabilities] == [own.probabilities for own in plain]


@pytest.mark.parametrize(
    ("text", "ended", "stated"),
    [
        ("Yes, it is.", True, True),
        ("Yes, it is. And", False, True),
        ("Yes, it", False, True),
        ("Yes, it", True, False),
        ("Yes, it is not.", True, False),
        ("", True, False),
    ],
)
def test_words_that_state_an_outcome(text: str, ended: bool, stated: bool) -> None:  # noqa: FBT001
    assert _Words(text, ended).state_one_of(["Yes, it is.", "No, it is not."]) == stated


def test_alone_and_together_the_same_is_said(base: BaseLLM, injector: Injector, injections: list[Injection]) -> None:
    speaker = Speaker(base, injector, tolerance=0.0)
    for one, together in zip(injections, speaker.speak(injections, 6), strict=True):
        (alone,) = speaker.speak([one], 6)
        assert alone.text == together.text
        assert alone.probabilities == pytest.approx(together.probabilities, abs=1e-4)


def test_a_correction_takes_the_llms_own_lean_away(
    base: BaseLLM, injector: Injector, injections: list[Injection]
) -> None:
    """One correction adds what was missing in log-odds; the next goes by how much that moved the LLM."""

    def odds(chances: Sequence[float]) -> float:
        return math.log(chances[1] / chances[0])

    for one in injections[:3]:
        wanted = odds(one.probability_N.tolist())
        first = odds(_plain(base, injector, one, one.probability_N.tolist(), 1)[0])
        (once,) = Speaker(base, injector, corrections=1, tolerance=0.0).speak([one], 1)
        assert odds(once.injected) == pytest.approx(wanted + (wanted - first), abs=1e-3)
        second = odds(once.probabilities)
        slope = min(max((second - first) / (odds(once.injected) - wanted), 0.5), 4.0)
        (twice,) = Speaker(base, injector, corrections=2, tolerance=0.0).speak([one], 1)
        assert odds(twice.injected) == pytest.approx(odds(once.injected) + (wanted - second) / slope, abs=1e-2)


@pytest.mark.parametrize("sure", [0.0, 1.0])
def test_a_sure_expert_is_no_trouble(base: BaseLLM, injector: Injector, toy_schema: Schema, sure: float) -> None:
    (said,) = Speaker(base, injector).speak([Injection("ripe?", toy_schema, torch.tensor([1 - sure, sure]))], 3)
    assert sum(said.probabilities) == pytest.approx(1.0)
    assert all(0 <= chance <= 1 for chance in (*said.probabilities, *said.injected))


def test_injected_tokens_stand_after_the_outcomes_at_the_end_of_the_users_words(
    base: BaseLLM, injector: Injector, injections: list[Injection]
) -> None:
    speaker, one = Speaker(base, injector), injections[0]
    prompt = injection_prompt(base, one.question, one.schema.target.sentences)
    said = base.tokenizer.decode(prompt.before_T)
    assert one.question in said
    assert all(sentence in said for sentence in one.schema.target.sentences)
    embed = base.model.get_input_embeddings()
    inputs_LD = speaker.embeddings(one, torch.tensor([0.2, 0.8]))
    before, after = len(prompt.before_T), len(prompt.after_T)
    assert len(inputs_LD) == before + 2 + after
    assert torch.equal(inputs_LD[:before], embed(prompt.before_T))
    assert torch.equal(inputs_LD[-after:], embed(prompt.after_T))
    other_LD = speaker.embeddings(one, torch.tensor([0.9, 0.1]))
    assert not torch.equal(inputs_LD[before:-after], other_LD[before:-after])


def test_what_opens_every_prompt_is_computed_once(
    base: BaseLLM, injector: Injector, injections: list[Injection]
) -> None:
    speaker = Speaker(base, injector)
    widths: list[int] = []
    hook = base.model.register_forward_pre_hook(
        lambda _, __, given: widths.append(given["inputs_embeds"].shape[1]) if "inputs_embeds" in given else None,
        with_kwargs=True,
    )
    with hook:
        speaker.speak(injections[:1], 1)
    prompt = injection_prompt(base, injections[0].question, injections[0].schema.target.sentences)
    opening = len(speaker.opening().ids_P)
    assert opening > 0
    assert prompt.before_T[:opening].tolist() == speaker.opening().ids_P.tolist()
    assert widths[0] == len(prompt.before_T) + 2 + len(prompt.after_T) - opening


def test_nothing_to_say_is_nothing_said(base: BaseLLM, injector: Injector) -> None:
    assert Speaker(base, injector).speak([]) == []
