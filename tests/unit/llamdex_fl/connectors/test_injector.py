"""The injector against tiny LLMs of three architectures; the loss against a run without any cache."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.connectors.injector import (
    CONFIDENCE_WORDS,
    Frame,
    Injector,
    InjectorRecipe,
    confidence_level,
    train_injector,
    training,
)
from llamdex_fl.connectors.injector.network import MIXTURES
from llamdex_fl.connectors.injector.practice import made_up_outcomes
from llamdex_fl.connectors.injector.training import Practice, draw_outputs, practice, suffix_loss
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


#: Outcomes of two and of three, in sentences of different length.
OUTCOMES = [
    [["Yes, it probably is.", "Yes, it perhaps is."], ["No.", "No, not."]],
    [["Red."], ["A green one.", "A green one, perhaps."], ["Blue, it is a blue one."]],
]


def _practices(base: BaseLLM, wording: Wording, seed: int) -> list[tuple[str, list[str], Practice]]:
    """Prompts, each with its question and the sentences of ``OUTCOMES`` that must stand in it."""
    rng, frame, made = random.Random(seed), Frame(base), []
    generator = QuestionGenerator(wording)
    for number in range(5):
        question = generator.sample(rng).text
        kind = number % 2
        # Four levels of words are wanted; a made-up outcome may say some alike.
        sentences = [[wordings[level % len(wordings)] for level in range(4)] for wordings in OUTCOMES[kind]]
        own = practice(frame, frame.offers(sentences), question, rng)
        level = confidence_level(float(own.chances[0].max()))
        made.append((question, [wordings[level] for wordings in sentences], own))
    return made


def _whole_loss(
    whole_run: Callable[..., Tensor],
    base: BaseLLM,
    injector: Injector,
    made: list[tuple[str, list[str], Practice]],
    seed: int,
) -> dict[str, Tensor]:
    """The same loss, one example after the other, each from its first token on, without cache or padding."""
    rng = random.Random(seed)
    chances = [rng.choice(own.chances) for _, _, own in made]
    likeliest = [int(chance_K.argmax()) for chance_K in chances]
    outcomes, spoken = [], []
    for (question, standing, own), chance_K, label in zip(made, chances, likeliest, strict=True):
        sentence = own.sentences[label]
        logits_SV = whole_run(base, injector, question, standing, own.first_N.tolist(), chance_K, sentence[:-1])
        said_SV = logits_SV.log_softmax(-1)
        first_N = said_SV[0, own.first_N]
        # How far the shares are from what is wanted counts half, in all outcomes together.
        distance = (first_N.exp() / first_N.exp().sum() - chance_K).abs().sum()
        outcomes.append(0.5 * distance - (chance_K * first_N).sum())
        spoken += [-said_SV[place, token] for place, token in enumerate(sentence) if place]
    outcome = torch.stack(outcomes).mean()
    # The words after the first count half.
    return {"outcome": outcome, "both": outcome + 0.5 * torch.stack(spoken).sum() / len(made)}


@pytest.mark.parametrize("sentence", [False, True])
def test_the_loss_through_the_cache_is_the_loss_of_the_whole_run(
    base: BaseLLM,
    toy_wording: Wording,
    whole_run: Callable[..., Tensor],
    sentence: bool,  # noqa: FBT001 - a parameter
) -> None:
    made = _practices(base, toy_wording, 11)
    assert len({own.layers[0][0].shape[1] for _, _, own in made}) > 1, "prompts of one length would test no padding"
    assert len({len(own.sentences) for _, _, own in made}) > 1, "as many outcomes would test no padding"
    gradients = []
    for seed in range(3):
        injector = _untrained(base)
        batch = [own for _, _, own in made]
        loss = suffix_loss(Frame(base), injector, batch, random.Random(seed), sentence=sentence)
        oracle = _whole_loss(whole_run, base, injector, made, seed)["both" if sentence else "outcome"]
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
    recipe = replace(RECIPE, own=1.0)
    trained = train_injector(base, [toy_wording], recipe=recipe, on_step=lambda _, __, loss: losses.append(loss))
    assert len(losses) == RECIPE.steps
    frame = Frame(base)
    offers, rng = frame.target_offers(toy_wording.schema.target), random.Random(99)
    batch = [practice(frame, offers, f"{number} grams?", rng) for number in range(32)]
    with torch.no_grad():  # on the same questions and outputs, none of them from training
        before, after = (
            float(suffix_loss(frame, injector, batch, random.Random(7), sentence=False))
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


@pytest.mark.parametrize("size", [0.0, 1e-3, 0.2, 1e3])
def test_tokens_are_of_the_order_of_the_llms_own_embeddings_at_first(llama: BaseLLM, size: float) -> None:
    """Whatever the probabilities, and however large the words' own embeddings: these count by direction alone."""
    injector = _untrained(llama)
    for chances in ([0.1, 0.2, 0.7], [1.0, 0.0, 0.0], [1 / 3] * 3, [1.0], [1 / 40] * 40):
        words_KD = torch.randn(len(chances), llama.width, generator=torch.Generator().manual_seed(0)) * size
        tokens_KD = injector(torch.tensor(chances), words_KD)
        assert tokens_KD.shape == (len(chances) + MIXTURES, llama.width)
        assert torch.isfinite(tokens_KD).all()
        sizes_K = tokens_KD.pow(2).mean(-1).sqrt() / float(injector.scale)
        assert sizes_K.max() < 5
        if size > 0:
            assert sizes_K.min() > 0.1


def test_the_injected_tokens_tell_the_probabilities(llama: BaseLLM) -> None:
    """Already before training: every token moves with them, and an outcome's mark with its own word."""
    injector, words_KD = _untrained(llama), torch.randn(3, llama.width, generator=torch.Generator().manual_seed(0))
    one, other = (injector(torch.tensor(chances), words_KD) for chances in ([0.1, 0.2, 0.7], [0.6, 0.3, 0.1]))
    assert ((one - other).abs().amax(-1) > 1e-4).all()
    swapped = injector(torch.tensor([0.1, 0.2, 0.7]), words_KD[[1, 0, 2]])
    assert ((one - swapped)[:2].abs().amax(-1) > 1e-2).all()
    torch.testing.assert_close(swapped[2], one[2])


def test_an_injector_knows_no_class_numbers(llama: BaseLLM) -> None:
    """Outcomes in another order give the same tokens in that order."""
    injector = _untrained(llama)
    chance_N, words_ND = torch.tensor([0.1, 0.2, 0.7]), torch.randn(3, llama.width)
    order = [2, 0, 1]
    straight, turned = injector(chance_N, words_ND), injector(chance_N[order], words_ND[order])
    torch.testing.assert_close(turned[:3], straight[:3][order])
    torch.testing.assert_close(turned[3:], straight[3:])


def test_words_and_probabilities_of_a_prompt_to_practise_on_agree(llama: BaseLLM, toy_wording: Wording) -> None:
    frame, rng = Frame(llama), random.Random(0)
    offers = frame.target_offers(toy_wording.schema.target)
    for _ in range(10):
        own = practice(frame, offers, "ripe?", rng)
        ids = [[tuple(llama.answer_ids(text)) for text in wordings] for wordings in offers.sentences]
        line = llama.answer_ids("\n")
        for chance_K in own.chances:
            assert float(chance_K.sum()) == pytest.approx(1.0)
            said = [wordings[confidence_level(float(chance_K.max()))] for wordings in ids]
            assert [sentence[:-1] for sentence in own.sentences] == said
            standing = [token for sentence in said for token in (*sentence, *line)]
            assert list(own.ids) == [*standing, *line, *llama.answer_ids("ripe?\n")]
            assert own.layers[0][0].shape[1] == len(frame.opening_P) + len(own.ids)


def test_an_unlikely_outcome_to_practise_on_stands_in_the_prompt_without_a_mark(
    llama: BaseLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, rng = Frame(llama), random.Random(0)
    offers = frame.offers([[wordings[level % len(wordings)] for level in range(4)] for wordings in OUTCOMES[1]])
    drawn = torch.tensor([[0.005, 0.395, 0.6]])
    monkeypatch.setattr(
        training, "draw_outputs", lambda count, classes, _: drawn if classes == 3 else torch.full((count, 2), 0.5)
    )
    own = practice(frame, offers, "ripe?", rng)
    assert own.first_N.tolist() == offers.first[1:]
    assert len(own.sentences) == 2
    torch.testing.assert_close(own.chances[0], torch.tensor([0.395, 0.6]) / 0.995)
    unlikely = [*offers.ids[0][confidence_level(0.6)], *llama.answer_ids("\n")]
    assert list(own.ids[: len(unlikely)]) == unlikely


def test_words_that_stand_in_no_prompt_are_practised_on_too(base: BaseLLM, toy_wording: Wording) -> None:
    """More of them than the prompt has outcomes, so that places must not be mixed up."""
    made = _practices(base, toy_wording, 11)
    frame, injector, rng = Frame(base), _untrained(base), random.Random(0)
    words = list(range(20, 40))
    loosened = [training._loosened(own, words, rng) for _, _, own in made for _ in range(4)]
    assert {len(own.first_N) for own in loosened} == {2, 3, 4, 5}
    for own in loosened:
        assert set(own.first_N.tolist()) <= set(words)
        assert [sentence[0] for sentence in own.sentences] == own.first_N.tolist()
        assert all(chance_K.shape == own.first_N.shape for chance_K in own.chances)
    assert torch.isfinite(suffix_loss(frame, injector, loosened, rng, sentence=False))
    assert training._loosened(made[0][2], [1], rng) is made[0][2]


def test_made_up_outcomes_are_of_many_kinds() -> None:
    rng = random.Random(0)
    sets = [made_up_outcomes(rng) for _ in range(300)]
    assert {len(own) for own in sets} == set(range(2, 8))
    assert all(len(wordings) == len(CONFIDENCE_WORDS) for own in sets for wordings in own)
    assert len({own[0][0] for own in sets}) > 200


def test_made_up_outcomes_are_headed_by_any_words_too() -> None:
    rng, words = random.Random(0), [f"Word{letter}" for letter in "abcdefghij"]
    sets = [made_up_outcomes(rng, words) for _ in range(300)]
    headed = [own for own in sets if own[0][0].startswith("Word")]
    assert 0.3 < len(headed) / len(sets) < 0.6
    assert all(sentences[0].startswith("Word") for own in headed for sentences in own)
    assert not any(own[0][0].startswith("Word") for own in (made_up_outcomes(rng, words[:3]) for _ in range(50)))


def test_outputs_for_training_are_distributions_sure_and_unsure() -> None:
    probability_BN = draw_outputs(2000, 2, random.Random(0))
    torch.testing.assert_close(probability_BN.sum(-1), torch.ones(2000))
    largest = probability_BN.max(-1).values
    assert (largest > 0.99).float().mean() > 0.05
    assert (largest < 0.6).float().mean() > 0.05


def test_an_injector_is_read_back_as_it_was_written(llama: BaseLLM, tmp_path: Path) -> None:
    injector = _untrained(llama).eval()
    injector.save(tmp_path)
    again = Injector.load(tmp_path, base_digest=llama.digest)
    words_ND = torch.randn(2, llama.width)
    given = torch.tensor([0.3, 0.7])
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
