"""Keys and values of what stands before the questions: kept, bounded, and what a run from the first token gives."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.connectors.injector import Frame, Offers, joined, prompt

SENTENCES = [
    [["Ripe, it is."], ["No."]],
    [["One."], ["Two, perhaps."], ["Many, it is hard to say how many."]],
    [["Alone."]],
]


@pytest.fixture(params=["llama", "gpt_neox"])
def base(request: pytest.FixtureRequest, make_tiny_llm: Callable[[str], Path]) -> BaseLLM:
    return load_base_llm(str(make_tiny_llm(request.param)))


def _offered(frame: Frame, offers: Offers) -> tuple[int, ...]:
    return frame.offered_ids([wordings[0] for wordings in offers.ids])


@torch.no_grad()
def test_what_is_kept_goes_on_as_a_run_from_the_first_token(base: BaseLLM) -> None:
    """For sentences of different schemas side by side, kept by hand or computed again."""
    frame = Frame(base)
    offered = [_offered(frame, frame.offers(own)) for own in SENTENCES]
    question = torch.tensor(frame.question_ids("A red fruit of 51 grams?"))
    whole = [
        base.model(torch.cat([frame.opening_P, torch.tensor(own), question])[None], use_cache=False).logits[0, -1]
        for own in offered
    ]
    for _ in range(2):
        cache, mask_BT = joined([frame.kept(own) for own in offered])
        mask_BL = torch.cat([mask_BT, mask_BT.new_ones(len(offered), len(question))], dim=1)
        logits_BV = base.model(
            question.expand(len(offered), -1),
            past_key_values=cache,
            attention_mask=mask_BL,
            position_ids=(mask_BL.cumsum(-1) - 1)[:, mask_BT.shape[1] :],
            logits_to_keep=1,
        ).logits[:, -1]
        torch.testing.assert_close(logits_BV, torch.stack(whole), atol=1e-4, rtol=1e-4)


def test_the_last_used_are_kept_and_no_more_tokens_than_the_bound(
    base: BaseLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = Frame(base)
    opened: list[tuple[int, ...]] = []
    compute = frame.opened

    def noted(ids: tuple[int, ...]) -> prompt.Layers:
        opened.append(ids)
        return compute(ids)

    monkeypatch.setattr(frame, "opened", noted)
    one, two, three = offered = [_offered(frame, frame.offers(own)) for own in SENTENCES]
    tokens = [len(frame.opening_P) + len(own) for own in offered]
    monkeypatch.setattr(prompt, "_KEPT_TOKENS", sum(tokens) - 1)

    def held() -> int:
        return sum(layers[0][0].shape[1] for layers in frame._kept.values())

    for own in (one, two, one):
        frame.kept(own)
    assert opened == [one, two]
    frame.kept(three)  # one too many: what was used longest ago goes
    assert held() == tokens[0] + tokens[2]
    frame.kept(one)
    frame.kept(three)
    assert opened == [one, two, three]
    frame.kept(two)
    assert opened[3:] == [two]
    assert held() <= sum(tokens) - 1
    monkeypatch.setattr(prompt, "_KEPT_TOKENS", 1)
    frame.kept(one)
    assert list(frame._kept) == [one], "what is in use is kept, however long"


def test_sentences_before_the_question_are_lines(base: BaseLLM) -> None:
    frame = Frame(base)
    offers = frame.offers(SENTENCES[1])
    ids = [*frame.opening_P.tolist(), *_offered(frame, offers), *frame.question_ids("  How many? \n")]
    text = base.tokenizer.decode(ids)
    assert text.endswith("word for word:\nOne.\nTwo, perhaps.\nMany, it is hard to say how many.\n\nHow many?\n")


def test_words_for_practice_are_single_tokens_that_differ(base: BaseLLM) -> None:
    words = Frame(base).words
    ids = [base.answer_ids(f"{word} is") for word in words]
    assert len({own[0] for own in ids}) == len(words)
    assert all(base.tokenizer.decode(own[:1]) == word for own, word in zip(ids, words, strict=True))
    assert all(word[0].isupper() and word[1:].islower() for word in words)
