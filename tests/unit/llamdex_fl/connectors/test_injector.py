"""The injector against tiny LLMs of three architectures; the loss against a run without any cache."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.connectors.injector import (
    Injector,
    InjectorRecipe,
    answer_words,
    injection_prompt,
    train_injector,
)
from llamdex_fl.connectors.injector.training import _Domain, _domain, _draw_outputs, _loss
from llamdex_fl.connectors.questions import QuestionGenerator, Wording
from llamdex_fl.errors import ArtefactError

FAMILIES = ["llama", "qwen2", "gpt_neox"]
RECIPE = InjectorRecipe(questions=4, steps=30, outcome_batch=8, sentence_batch=4, rate=1e-2)


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, make_tiny_llm: Callable[[str], Path]) -> BaseLLM:
    return load_base_llm(str(make_tiny_llm(request.param)))


@pytest.fixture(scope="module")
def llama(make_tiny_llm: Callable[[str], Path]) -> BaseLLM:
    return load_base_llm(str(make_tiny_llm("llama")))


def _untrained(base: BaseLLM) -> Injector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Injector(base.width, 0.2, base.digest)


def _prompts(base: BaseLLM, wording: Wording, domain: _Domain, rng: random.Random) -> list[Tensor]:
    """The token ids behind the domain's keys and values."""
    generator, sentences, prompts = QuestionGenerator(wording), wording.schema.target.sentences, []
    for prefix in domain.prefixes:
        order = rng.sample(range(len(sentences)), len(sentences))
        assert order == prefix.order_N.tolist()
        asked = generator.sample(rng).text
        prompts.append(injection_prompt(base, asked, [sentences[place] for place in order]).before_T)
    return prompts


def _whole_run(  # noqa: PLR0913, PLR0917 - all that the loss depends on
    base: BaseLLM, injector: Injector, domain: _Domain, prompts: list[Tensor], after_T: Tensor, batch: int, seed: int
) -> dict[str, Tensor]:
    """The same loss, one example after the other, each from its first token on, without cache, padding or mask."""
    rng = random.Random(seed)
    probability_BN = _draw_outputs(batch, len(domain.sentences), rng)
    drawn = [rng.choices(range(len(domain.sentences)), row)[0] for row in probability_BN.tolist()]
    chosen = rng.choices(range(len(prompts)), k=batch)
    embed = base.model.get_input_embeddings()
    outcomes, spoken = [], []
    for probability_N, label, number in zip(probability_BN, drawn, chosen, strict=True):
        sentence_S = torch.tensor(domain.sentences[label])
        order_N = domain.prefixes[number].order_N
        injected_KD = injector(probability_N[order_N][None], domain.words_ND[order_N])[0]
        before_LD = torch.cat([embed(prompts[number]), injected_KD, embed(after_T)])
        logits_LV = base.model(inputs_embeds=torch.cat([before_LD, embed(sentence_S)])[None], use_cache=False).logits[0]
        said_SV = logits_LV[len(before_LD) - 1 : -1].log_softmax(-1)
        outcomes.append(-sum(p * said_SV[0, ids[0]] for p, ids in zip(probability_N, domain.sentences, strict=True)))
        spoken += [-said_SV[place, token] for place, token in enumerate(sentence_S.tolist()) if place]
    outcome = torch.stack(outcomes).mean()
    return {"outcome": outcome, "both": outcome + torch.stack(spoken).sum() / batch}


@pytest.mark.parametrize("sentence", [False, True])
def test_the_loss_through_the_cache_is_the_loss_of_the_whole_run(
    base: BaseLLM,
    toy_wording: Wording,
    sentence: bool,  # noqa: FBT001 - a parameter
) -> None:
    domain = _domain(base, toy_wording, 5, random.Random(11))
    prompts = _prompts(base, toy_wording, domain, random.Random(11))
    assert len({tuple(prefix.order_N.tolist()) for prefix in domain.prefixes}) > 1, "one order would test no order"
    assert len({len(prompt) for prompt in prompts}) > 1, "prompts of one length would test no padding"
    assert len({len(said) for said in domain.sentences}) > 1, "sentences of one length would test no padding"
    after_T = base.prompt("").after_T
    gradients = []
    for seed in range(3):
        injector = _untrained(base)
        loss = _loss(base, injector, domain, after_T, 6, random.Random(seed), sentence=sentence)
        oracle = _whole_run(base, injector, domain, prompts, after_T, 6, seed)["both" if sentence else "outcome"]
        torch.testing.assert_close(loss, oracle, atol=1e-4, rtol=1e-4)
        parameters = list(injector.parameters())
        gradients = [torch.autograd.grad(value, parameters) for value in (loss, oracle)]
        for got, expected in zip(*gradients, strict=True):
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-3)
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients[0]), "the loss must reach the injector"


def test_training_lowers_the_loss_and_leaves_the_llm_as_it_is(
    base: BaseLLM, toy_wording: Wording, make_tiny_llm: Callable[[str], Path]
) -> None:
    losses: list[float] = []
    trained = train_injector(base, [toy_wording], recipe=RECIPE, on_step=lambda _, __, loss: losses.append(loss))
    assert len(losses) == RECIPE.steps
    domain, after_T = _domain(base, toy_wording, 4, random.Random(99)), base.prompt("").after_T
    with torch.no_grad():  # on the same questions and outputs, none of them from training
        before, after = (
            float(_loss(base, injector, domain, after_T, 32, random.Random(7), sentence=True))
            for injector in (_untrained(base), trained)
        )
    assert after < 0.97 * before
    fresh = load_base_llm(base.name).model.state_dict()
    assert base.name in {str(make_tiny_llm(family)) for family in FAMILIES}
    assert set(fresh) == set(base.model.state_dict())
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in base.model.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in base.model.parameters())
    assert not base.model.training


def test_the_same_seed_trains_the_same_injector(llama: BaseLLM, toy_wording: Wording) -> None:
    short = InjectorRecipe(questions=2, steps=4, outcome_batch=2, sentence_batch=2, seed=5)
    state = torch.random.get_rng_state()
    one, two = (train_injector(llama, [toy_wording], recipe=short).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random numbers are the caller's"


def test_tokens_have_the_size_of_the_llms_own(llama: BaseLLM) -> None:
    injector = _untrained(llama)
    words_ND = torch.randn(3, llama.width) * 0.2
    tokens_BND = injector(torch.tensor([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]]), words_ND)
    assert tokens_BND.shape == (2, 3, llama.width)
    marks_BND = tokens_BND - words_ND
    torch.testing.assert_close(marks_BND.pow(2).mean(-1).sqrt(), torch.full((2, 3), 0.2), atol=1e-3, rtol=0)
    assert torch.isfinite(tokens_BND).all()


def test_an_injector_knows_no_class_numbers(llama: BaseLLM) -> None:
    """Outcomes in another order give the same tokens in that order."""
    injector = _untrained(llama)
    probability_BN, words_ND = torch.tensor([[0.1, 0.2, 0.7]]), torch.randn(3, llama.width)
    order = [2, 0, 1]
    straight, turned = injector(probability_BN, words_ND), injector(probability_BN[:, order], words_ND[order])
    torch.testing.assert_close(turned, straight[:, order])


def test_outputs_for_training_are_distributions_sure_and_unsure() -> None:
    probability_BN = _draw_outputs(2000, 2, random.Random(0))
    torch.testing.assert_close(probability_BN.sum(-1), torch.ones(2000))
    largest = probability_BN.max(-1).values
    assert (largest > 0.99).float().mean() > 0.05
    assert (largest < 0.6).float().mean() > 0.05


def test_an_injector_is_read_back_as_it_was_written(llama: BaseLLM, toy_wording: Wording, tmp_path: Path) -> None:
    injector = _untrained(llama).eval()
    injector.save(tmp_path)
    again = Injector.load(tmp_path, base_digest=llama.digest)
    words_ND = answer_words(llama, toy_wording.schema.target)
    assert words_ND.shape == (2, llama.width)
    given = torch.tensor([[0.3, 0.7]])
    assert torch.equal(again(given, words_ND), injector(given, words_ND))
    assert again.base_digest == llama.digest


def test_an_injector_for_another_llm_is_refused(llama: BaseLLM, tmp_path: Path) -> None:
    _untrained(llama).save(tmp_path)
    with pytest.raises(ArtefactError) as refusal:
        Injector.load(tmp_path, base_digest="0" * 64)
    assert "000000000000" in refusal.value.expected
    assert llama.digest[:12] in refusal.value.got


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("injector.json", None),
        ("injector.json", b"{"),
        ("injector.json", b"[]"),
        ("injector.json", b'{"format": 1}'),
        ("injector.safetensors", None),
        ("injector.safetensors", b"\x10\0\0\0\0\0\0\0{"),
    ],
)
def test_what_is_no_whole_injector_is_refused(llama: BaseLLM, tmp_path: Path, name: str, content: bytes | None) -> None:
    _untrained(llama).save(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtefactError, match="does not hold an injector"):
        Injector.load(tmp_path, base_digest=llama.digest)


@pytest.mark.parametrize("change", [{"format": 1}, {"width": 16}])
def test_an_injector_of_another_kind_is_refused(llama: BaseLLM, tmp_path: Path, change: dict[str, int]) -> None:
    _untrained(llama).save(tmp_path)
    path = tmp_path / "injector.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ArtefactError, match="connect"):
        Injector.load(tmp_path, base_digest=llama.digest)
