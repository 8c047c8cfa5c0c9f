"""The LLM speaks for experts: prompts, corrections and probabilities against plain runs of the same LLM."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from llamdex_fl.assembly.prompts import Offered, Prompts
from llamdex_fl.assembly.speaking import Injection, Speaker, _Words, missing_sentence
from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.connectors.injector import (
    Frame,
    Injector,
    InjectorRecipe,
    confidence_level,
    marked,
    train_injector,
    worded_sentences,
)
from llamdex_fl.connectors.injector.network import MIXTURES
from llamdex_fl.connectors.questions import Wording
from llamdex_fl.errors import SchemaError
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
        base,
        [toy_wording],
        recipe=InjectorRecipe(questions=4, steps=40, outcome_batch=8, sentence_batch=2, rate=1e-2, layer=0),
    )


@pytest.fixture
def injections(toy_schema: Schema) -> list[Injection]:
    """One schema has three outcomes, so that what stands before the questions and after them differs in length."""
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
    # Twice: with a token for each of its outcomes, and without one for the first.
    return [
        *asked,
        *(Injection(QUESTIONS[0], other, torch.tensor(own)) for own in ([0.2, 0.5, 0.3], [0.01, 0.4, 0.59])),
    ]


WholeRun = Callable[..., torch.Tensor]


@torch.inference_mode()
def _plain(  # noqa: PLR0913, PLR0917 - what a prompt is made of
    whole_run: WholeRun,
    base: BaseLLM,
    injector: Injector,
    one: Injection,
    injected: Sequence[float],
    tokens: int,
    alone: int | None = None,
) -> tuple[list[float], float, str]:
    """Shares and mass of the outcomes' first tokens, and the words, of one unpadded greedy run without a cache."""
    worded = worded_sentences(one.schema.target)
    first = [base.answer_ids(wordings[0])[0] for wordings in worded]
    chances = one.probability_N.tolist()
    level = confidence_level(max(chances) if alone is None else chances[alone])
    own = marked(chances) if alone is None else [alone]
    standing = range(len(worded)) if alone is None else [alone]
    said: list[int] = []
    first_V = None
    while len(said) < tokens and base.tokenizer.eos_token_id not in said:
        sentences = [worded[outcome][level] for outcome in standing]
        given = ([first[place] for place in own], torch.tensor(injected)[own], said)
        logits_V = whole_run(base, injector, one.question, sentences, *given)[-1]
        first_V = logits_V.softmax(-1) if first_V is None else first_V
        said.append(int(logits_V.argmax()))
    assert first_V is not None
    said_N = first_V[first]
    text = base.tokenizer.decode(said, skip_special_tokens=True).strip()
    return (said_N / said_N.sum()).tolist(), float(said_N.sum()), text


@pytest.mark.parametrize("corrections", [0, 1, 2, 5])
@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_what_is_spoken_is_what_a_plain_run_says(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    base: BaseLLM,
    injector: Injector,
    injections: list[Injection],
    whole_run: WholeRun,
    corrections: int,
    tolerance: float,
) -> None:
    speaker = Speaker(base, injector, corrections=corrections, tolerance=tolerance)
    for one, said in zip(injections, speaker.speak(injections, 6), strict=True):
        shares, mass, text = _plain(whole_run, base, injector, one, said.injected, 6)
        assert said.probabilities == pytest.approx(shares, abs=1e-4)
        assert said.mass == pytest.approx(mass, abs=1e-4)
        # This LLM is too small to copy a sentence. Asked again, it is offered the one that it found likeliest.
        level = confidence_level(float(one.probability_N.max()))
        states = any(wordings[level].startswith(text) for wordings in worded_sentences(one.schema.target))
        assert said.asked_again == (not states)
        best = int(torch.tensor(shares).argmax())
        sure = [float(place == best) for place in range(len(shares))]
        assert said.text == (text if states else _plain(whole_run, base, injector, one, sure, 6, best)[2])
        if corrections == 0 or tolerance == 1.0:
            own = torch.zeros_like(one.probability_N)
            own[marked(one.probability_N.tolist())] = one.probability_N[marked(one.probability_N.tolist())]
            assert said.injected == pytest.approx((own / own.sum()).tolist(), abs=1e-4)
            assert said.corrections == 0


def test_an_answer_that_goes_astray_is_asked_for_again(
    base: BaseLLM, injector: Injector, toy_schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said one outcome with the words of the other: one must be stated, and the odds must stay as they were."""
    one, other = (Injection(question, toy_schema, torch.tensor([0.1, 0.9])) for question in QUESTIONS[:2])
    first_wordings, other_wordings = worded_sentences(toy_schema.target)
    # At first all is said in the words of the likeliest; alone, an outcome is said in its own.
    perhaps, very = first_wordings[3], other_wordings[1]
    speaker = Speaker(base, injector)
    plain = speaker.speak([one, other])
    likeliest = [int(own.probabilities[1] > own.probabilities[0]) for own in plain]
    asked: list[list[list[int]]] = []

    def with_a_slip(prompts: Prompts, *_: Any) -> list[_Words]:  # noqa: ANN401
        asked.append(prompts.marked)
        texts = ["Ripe, it needs time.", very] if len(asked) == 1 else [(perhaps, very)[likeliest[0]]]
        return [_Words(text, ended=True) for text in texts]

    monkeypatch.setattr(speaker, "_generated", with_a_slip)
    first, second = speaker.speak([one, other])
    assert [first.text, second.text] == [(perhaps, very)[likeliest[0]], very]
    assert [first.asked_again, second.asked_again] == [True, False]
    assert [first.stated, second.stated] == [likeliest[0], 1]
    assert first.whole
    assert asked == [[[0, 1], [0, 1]], [[likeliest[0]]]]
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
def test_words_that_state_an_outcome(base: BaseLLM, text: str, ended: bool, stated: bool) -> None:  # noqa: FBT001
    offers = Frame(base).offers([["Yes, it is."], ["No, it is not."]])
    row = Offered("?", offers, 0, (0, 1), (0, 1), torch.zeros(2))
    assert _Words(text, ended).stated(row) == (0 if stated else None)


def test_alone_and_together_the_same_is_said(base: BaseLLM, injector: Injector, injections: list[Injection]) -> None:
    """Of several schemas, in the words of several levels of confidence."""
    offers = [
        Offered.of(one.question, Frame(base).target_offers(one.schema.target), one.probability_N) for one in injections
    ]
    assert len({row.level for row in offers}) > 1
    assert len({len(Frame(base).offered_ids(row.ids)) for row in offers}) > 2
    speaker = Speaker(base, injector, tolerance=0.0)
    for one, together in zip(injections, speaker.speak(injections, 6), strict=True):
        (alone,) = Speaker(base, injector, tolerance=0.0).speak([one], 6)
        assert alone.text == together.text
        assert alone.probabilities == pytest.approx(together.probabilities, abs=1e-4)


def test_a_correction_takes_the_llms_own_lean_away(
    base: BaseLLM, injector: Injector, injections: list[Injection], whole_run: WholeRun
) -> None:
    """One correction adds what was missing in log-odds; the next goes by how much that moved the LLM.

    Of these, what is injected in the end is what brought the LLM nearest.
    """

    def odds(chances: Sequence[float]) -> float:
        return math.log(chances[1] / chances[0])

    def said(one: Injection, injected: float) -> float:
        chance = 1 / (1 + math.exp(-injected))
        return odds(_plain(whole_run, base, injector, one, [1 - chance, chance], 1)[0])

    for one in injections[:3]:
        wanted = odds(one.probability_N.tolist())
        first = said(one, wanted)
        trials = [(wanted, first), (2 * wanted - first, said(one, 2 * wanted - first))]
        slope = min(max((trials[1][1] - first) / (trials[1][0] - wanted), 0.5), 4.0)
        again = trials[1][0] + (wanted - trials[1][1]) / slope
        trials.append((again, said(one, again)))
        gaps = [abs(1 / (1 + math.exp(-own)) - float(one.probability_N[1])) for _, own in trials]
        for corrections in (1, 2):
            (told,) = Speaker(base, injector, corrections=corrections, tolerance=0.0).speak([one], 1)
            best = min(range(corrections + 1), key=gaps.__getitem__)
            assert odds(told.injected) == pytest.approx(trials[best][0], abs=1e-2)
            assert odds(told.probabilities) == pytest.approx(trials[best][1], abs=1e-2)
            assert told.lean == pytest.approx(gaps[0], abs=1e-4)


def test_a_correction_that_makes_it_worse_is_taken_back(
    base: BaseLLM, injector: Injector, injections: list[Injection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For one of two prompts; the other keeps its own."""
    run = Prompts.first_token
    heard: list[list[torch.Tensor]] = []

    def deaf(prompts: Prompts, given: Sequence[torch.Tensor]) -> torch.Tensor:
        """The first prompt's LLM says the less of the first outcome the more is injected; the second's obeys."""
        logits_BV = run(prompts, given)
        heard.append([own_K.clone() for own_K in given])
        first = prompts._first[0]
        for row, sign in ((0, -1.0), (1, 1.0)):
            logits_BV[row, first] = 20 + sign * given[row] + (torch.tensor([0.0, 0.5]) if sign > 0 else 0.0)
        return logits_BV

    monkeypatch.setattr(Prompts, "first_token", deaf)
    two = [replace(one, probability_N=torch.tensor([0.3, 0.7])) for one in injections[:2]]
    worse, better = Speaker(base, injector, tolerance=0.0).speak(two, 1)
    assert worse.injected == pytest.approx([0.3, 0.7], abs=1e-4)
    assert worse.probabilities == pytest.approx([0.7, 0.3], abs=1e-4)
    assert better.probabilities == pytest.approx([0.3, 0.7], abs=1e-4)
    assert better.injected[1] < 0.65
    torch.testing.assert_close(heard[1][0].softmax(-1), torch.tensor([0.0730, 0.9270]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("sure", [0.0, 1.0])
def test_a_sure_expert_is_no_trouble(base: BaseLLM, injector: Injector, toy_schema: Schema, sure: float) -> None:
    (said,) = Speaker(base, injector).speak([Injection("ripe?", toy_schema, torch.tensor([1 - sure, sure]))], 3)
    assert sum(said.probabilities) == pytest.approx(1.0)
    assert all(0 <= chance <= 1 for chance in (*said.probabilities, *said.injected))


def _widths(base: BaseLLM, run: Callable[[], object]) -> list[int]:
    """How many tokens each pass through the LLM had."""
    widths: list[int] = []

    def note(_: object, __: object, given: dict[str, Any]) -> None:
        inputs = given.get("inputs_embeds")
        widths.append((given["input_ids"] if inputs is None else inputs).shape[1])

    with base.model.register_forward_pre_hook(note, with_kwargs=True):
        run()
    return widths


def test_the_lean_is_told_as_it_was_before_a_correction(
    base: BaseLLM, injector: Injector, injections: list[Injection], whole_run: WholeRun
) -> None:
    for corrections in (0, 2):
        speaker = Speaker(base, injector, corrections=corrections, tolerance=0.0)
        for one, said in zip(injections, speaker.speak(injections, 1), strict=True):
            own = marked(one.probability_N.tolist())
            wanted = torch.zeros_like(one.probability_N)
            wanted[own] = one.probability_N[own] / one.probability_N[own].sum()
            shares = torch.tensor(_plain(whole_run, base, injector, one, wanted.tolist(), 1)[0])[own]
            assert said.lean == pytest.approx(float((shares / shares.sum() - wanted[own]).abs().max()), abs=1e-4)


def test_no_pass_is_run_that_the_llm_alone_would_not_run(
    base: BaseLLM, injector: Injector, injections: list[Injection]
) -> None:
    """What stands before the question is computed once; then only the question, the tokens and the header are."""
    speaker, one = Speaker(base, injector, tolerance=1.0), replace(injections[0], question=QUESTIONS[1])
    speaker.speak([one], 4, min_new_tokens=4)
    widths = _widths(base, lambda: speaker.speak([one], 4, min_new_tokens=4))
    question = len(Frame(base).question_ids(QUESTIONS[1]))
    again = 2  # this LLM is too small to copy a sentence, so it is asked for a second time
    assert widths[0] == question + 2 + MIXTURES + len(base.prompt("").after_T)
    assert widths[1:4] == [1, 1, 1]
    assert len(widths) in {4, 4 * again}


def test_a_correction_runs_only_what_follows_the_question(
    base: BaseLLM, injector: Injector, injections: list[Injection]
) -> None:
    speaker = Speaker(base, injector, corrections=1, tolerance=0.0)
    speaker.speak(injections[:1], 1)
    widths = _widths(base, lambda: speaker.speak(injections[:1], 1))
    assert widths[1] == 2 + MIXTURES + len(base.prompt("").after_T)


def test_an_unlikely_outcome_has_no_token(base: BaseLLM, injector: Injector, injections: list[Injection]) -> None:
    one = replace(injections[-1], probability_N=torch.tensor([0.001, 0.3, 0.699]))
    (said,) = Speaker(base, injector).speak([one], 1)
    assert said.injected[0] == 0.0
    assert len(said.probabilities) == 3
    assert sum(said.injected) == pytest.approx(1.0)


def test_outcomes_that_begin_alike_are_refused(base: BaseLLM, injector: Injector, toy_schema: Schema) -> None:
    alike = replace(toy_schema.target, sentences=("Ripe. It can be eaten.", "Ripe, but it needs time."))
    with pytest.raises(SchemaError, match="begin with a different word"):
        Speaker(base, injector).offers(replace(toy_schema, target=alike))


def test_missing_facts_are_named_where_the_llm_copies_them(
    base: BaseLLM, injector: Injector, injections: list[Injection], monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = Speaker(base, injector)
    sentence = "Not said: colour of the fruit and weight of the fruit."
    offered: list[str] = []
    generated = speaker._generated

    def copying(prompts: Prompts, *rest: Any) -> list[_Words]:  # noqa: ANN401
        if len(prompts.marked[0]) == 1 and rest[1] > 6:
            offered.append("asked")
            return [_Words(sentence, ended=True)]
        return generated(prompts, *rest)

    monkeypatch.setattr(speaker, "_generated", copying)
    missing = ("colour of the fruit", "weight of the fruit")
    first, second = speaker.speak([replace(injections[0], missing=missing), injections[1]], 6)
    assert first.text.endswith(f" {sentence}")
    assert "Not said" not in second.text
    assert offered == ["asked"]


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        (["age"], "Not said: age."),
        (["age", "sex", "pulse"], "Not said: age, sex and pulse."),
        (list("abcdefgh"), "Not said: a, b, c, d, e, f and 2 more."),
    ],
)
def test_the_sentence_on_missing_facts(missing: list[str], sentence: str) -> None:
    assert missing_sentence(missing) == sentence


def test_nothing_to_say_is_nothing_said(base: BaseLLM, injector: Injector) -> None:
    assert Speaker(base, injector).speak([]) == []


def test_an_outcome_that_is_turned_round_is_corrected_however_near_it_is(
    base: BaseLLM, injector: Injector, injections: list[Injection]
) -> None:
    plain = Speaker(base, injector, corrections=0)
    turned = 0
    for one in injections[:3]:
        # The experts find the LLM's second outcome likelier by a hair's breadth.
        for wanted in ([0.505, 0.495], [0.495, 0.505]):
            near = replace(one, probability_N=torch.tensor(wanted))
            (before,) = plain.speak([near], 1)
            aim, said = torch.tensor(wanted).argmax(), torch.tensor(before.probabilities).argmax()
            # Within the tolerance, but for what another likeliest outcome counts for.
            (after,) = Speaker(base, injector, tolerance=before.lean + 0.01).speak([near], 1)
            assert (after.corrections > 0) == bool(aim != said)
            turned += after.corrections > 0
    assert turned, "the tiny LLM must lean one way or the other"
