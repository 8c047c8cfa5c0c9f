"""Injection before a deeper layer, against runs of the whole prompt without a cache."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from llamdex_fl.assembly.speaking import Injection, Speaker
from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.base_llm.layers import beginning_at, changed_before, decoder_layer, middle_layer, state_size
from llamdex_fl.connectors.injector import Frame, Injector, InjectorRecipe, confidence_level, train_injector
from llamdex_fl.connectors.injector.network import MIXTURES
from llamdex_fl.connectors.injector.training import practice, suffix_loss
from llamdex_fl.connectors.questions import Wording
from llamdex_fl.errors import InputError
from llamdex_fl.schema import Schema

FAMILIES = ["llama", "qwen2", "gpt_neox", "mistral", "phi"]


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, make_tiny_llm: Callable[[str], Path]) -> BaseLLM:
    return load_base_llm(str(make_tiny_llm(request.param)))


@pytest.fixture
def llama(make_tiny_llm: Callable[[str], Path]) -> BaseLLM:
    return load_base_llm(str(make_tiny_llm("llama")))


@pytest.fixture
def injector(base: BaseLLM) -> Injector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Injector(base.width, 1.0, base.digest, layer=1).eval()


@torch.inference_mode()
def _whole(base: BaseLLM, injector: Injector, injection: Injection) -> Tensor:
    """Shares (N,) of the first tokens: one pass over the whole prompt, its states overwritten by hand."""
    frame = Frame(base)
    offers = frame.target_offers(injection.schema.target)
    words, after = offers.first, frame.after_A.tolist()
    level = confidence_level(float(injection.probability_N.max()))
    asked = [*frame.offered_ids([own[level] for own in offers.ids]), *frame.question_ids(injection.question)]
    ids = [*frame.opening_P.tolist(), *asked, *words, *after[:1] * MIXTURES, *after]
    end = len(ids) - len(after)

    def overwrite(state_1LD: Tensor) -> Tensor:
        changed = state_1LD.clone()
        start = end - MIXTURES - len(words)
        changed[0, start:end] = injector(injection.probability_N, state_1LD[0, start : end - MIXTURES])
        return changed

    with changed_before(base.model, 1, overwrite):
        logits_V: Tensor = base.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    return logits_V[words].softmax(-1)


def test_what_is_spoken_comes_from_the_overwritten_states(
    base: BaseLLM, injector: Injector, toy_schema: Schema
) -> None:
    speaker = Speaker(base, injector, corrections=0)
    injections = [
        Injection(question, toy_schema, torch.tensor([1 - chance, chance]))
        for question, chance in (("A red fruit of 51 grams. Is it ripe?", 0.9), ("ripe?", 0.3))
    ]
    together = speaker.speak(injections, 2)
    for injection, said in zip(injections, together, strict=True):
        shares = _whole(base, injector, injection)
        torch.testing.assert_close(torch.tensor(said.probabilities), shares, rtol=1e-3, atol=1e-4)
        (alone,) = speaker.speak([injection], 2)
        torch.testing.assert_close(torch.tensor(alone.probabilities), shares, rtol=1e-3, atol=1e-4)
    other = Speaker(base, Injector(base.width, 1.0, base.digest).eval(), corrections=0).speak(injections, 2)
    assert other[0].probabilities != together[0].probabilities


def test_a_pass_that_begins_at_the_layer_says_what_a_whole_pass_says(
    base: BaseLLM, injector: Injector, toy_schema: Schema
) -> None:
    speaker = Speaker(base, injector, corrections=2, tolerance=0.0)
    injections = [
        Injection(question, toy_schema, torch.tensor([1 - chance, chance]))
        for question, chance in (("A red fruit of 51 grams. Is it ripe?", 0.9), ("ripe?", 0.3))
    ]
    layers = decoder_layer(base.model, 0), decoder_layer(base.model, 1)
    for injection, said in zip(injections, speaker.speak(injections, 6), strict=True):
        assert said.corrections == 2
        given = Injection(injection.question, toy_schema, torch.tensor(said.injected))
        # The words in which outcomes stand come from what is wanted.
        wanted, whole = speaker.begin([injection]), Speaker(base, injector, corrections=0)
        again = wanted.first_token([torch.tensor(said.injected).log()])
        torch.testing.assert_close(wanted.said_among_marked(again)[0].exp(), torch.tensor(said.probabilities))
        if confidence_level(float(given.probability_N.max())) == confidence_level(float(injection.probability_N.max())):
            (fresh,) = whole.speak([given], 6)
            torch.testing.assert_close(
                torch.tensor(fresh.probabilities), torch.tensor(said.probabilities), rtol=1e-3, atol=1e-4
            )
            assert fresh.text == said.text
    assert all("forward" not in vars(own) for own in layers)
    assert not layers[1]._forward_pre_hooks


def test_other_threads_run_all_layers_while_one_begins_later(llama: BaseLLM) -> None:
    ids_1T = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        plain = llama.model(ids_1T).logits
        cache = llama.model(ids_1T, use_cache=True).past_key_values
        states = torch.randn(1, 2, llama.width, generator=torch.Generator().manual_seed(0))
        with beginning_at(llama.model, 1, states, cache, 2), ThreadPoolExecutor(1) as other:
            assert torch.equal(other.submit(_logits, llama, ids_1T).result(), plain)
            begun = llama.model(ids_1T[:, 2:], past_key_values=cache).logits
        assert {len(own.keys[0, 0]) for own in cache.layers} == {4}
        assert not torch.equal(begun, plain[:, 2:])
        assert torch.equal(_logits(llama, ids_1T), plain)


def test_it_learns_before_a_deeper_layer_and_is_saved_with_it(
    llama: BaseLLM, toy_wording: Wording, tmp_path: Path
) -> None:
    recipe = InjectorRecipe(questions=4, own=1.0, steps=24, outcome_batch=8, sentence_batch=2, rate=1e-2, layer=1)
    injector = train_injector(llama, [toy_wording], recipe=recipe)
    frame, rng = Frame(llama), random.Random(99)
    offers = frame.target_offers(toy_wording.schema.target)
    batch = [practice(frame, offers, f"{number} grams?", rng) for number in range(16)]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(recipe.seed)
        untrained = Injector(llama.width, float(injector.scale), llama.digest, layer=1)
        before, after = (
            float(suffix_loss(frame, own, batch, random.Random(7), sentence=False)) for own in (untrained, injector)
        )
    assert after < before
    assert not llama.model.model.layers[1]._forward_pre_hooks
    injector.save(tmp_path)
    loaded = Injector.load(tmp_path, base_digest=llama.digest)
    assert loaded.layer == 1
    chance = torch.tensor([0.2, 0.8])
    words = torch.randn(2, llama.width, generator=torch.Generator().manual_seed(random.Random(0).randrange(99)))
    assert torch.equal(loaded(chance, words), injector(chance, words))


def test_layers_are_found_or_refused(base: BaseLLM) -> None:
    assert decoder_layer(base.model, 1) is not decoder_layer(base.model, 0)
    assert middle_layer(base.model) == 1
    assert state_size(base.model, 1, base.prompt("A red fruit").before_T) > 0
    for layer in (-1, 2):
        with pytest.raises(InputError, match="no such layer"):
            decoder_layer(base.model, layer)


def test_a_model_whose_layers_cannot_be_told_is_refused(llama: BaseLLM, toy_wording: Wording) -> None:
    llama.model.model.other = torch.nn.ModuleList(torch.nn.Identity() for _ in range(2))
    with pytest.raises(InputError, match="cannot be found"):
        train_injector(llama, [toy_wording], recipe=InjectorRecipe(questions=1, steps=3, layer=1))
    # Unless it is free to choose.
    assert train_injector(llama, [toy_wording], recipe=InjectorRecipe(questions=1, steps=3)).layer == 0


def test_only_the_thread_that_changes_a_pass_has_it_changed(llama: BaseLLM) -> None:
    ids_1T = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        plain = llama.model(ids_1T).logits
        with changed_before(llama.model, 1, torch.zeros_like), ThreadPoolExecutor(1) as other:
            assert torch.equal(other.submit(_logits, llama, ids_1T).result(), plain)
            assert not torch.equal(llama.model(ids_1T).logits, plain)


def _logits(base: BaseLLM, ids_1T: Tensor) -> Tensor:
    with torch.no_grad():
        logits_1TV: Tensor = base.model(ids_1T).logits
    return logits_1TV
