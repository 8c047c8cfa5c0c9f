"""DP-SGD of text experts: gradients, clipping, noise and sampling are those that are accounted for."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from torch.nn.functional import cross_entropy

from llamdex_fl.errors import PolicyError
from llamdex_fl.experts import MINILM_LORA, TEXT_ARCHITECTURES, Expert, tensor_shapes
from llamdex_fl.experts.text_base import load_text_base, padded
from llamdex_fl.privacy import Budget, LaplaceCounts, Ledger, SampledGaussian, check_guarantee
from llamdex_fl.release import Offer, Release
from llamdex_fl.schema import Value, load_library_schema
from silo_client.data import SiloData, read_records
from silo_client.dp_optimizer import no_word_of_hooks
from silo_client.noise import NoiseSource
from silo_client.policy import DEFAULT_PURPOSE, Authorisation
from silo_client.text_training import TextModel, TextRecipe, learn_texts, public_down_maps, read_texts
from silo_client.training import train
from simulations.seeded_noise import SeededNoise

SENTIMENT = load_library_schema("sentiment")
OFFER = Offer(
    provider="provider",
    purpose=DEFAULT_PURPOSE,
    schema_digest=SENTIMENT.digest(),
    architecture=MINILM_LORA,
    base_model_digest="0" * 64,
    epsilon=4.0,
    delta=1e-3,
    challenge="1" * 64,
)
ALLOWED = Authorisation(offer=OFFER, data_set="letters", budget=Budget(epsilon=9.0, delta=1e-3), record_bound=500)
THINGS = ("kettle", "film", "book", "phone", "hotel", "soup", "play", "garden", "train", "song")
GOOD = ("I love this {}.", "What a wonderful {}!", "The best {} of my life.", "A great {}, thank you.")
BAD = ("I hate this {}.", "What an awful {}!", "The worst {} of my life.", "A broken {}, never again.")
QUICK = TextRecipe(steps=12)
LAYER = TEXT_ARCHITECTURES[MINILM_LORA].layer


def letters(count: int = 80) -> SiloData:
    records: list[dict[str, Value]] = []
    for place in range(count):
        forms = GOOD if place % 2 else BAD
        records.append({"text": forms[place // 2 % 4].format(THINGS[place // 8 % 10])})
    return SiloData(records=tuple(records), labels=tuple(place % 2 for place in range(count)), digest="cd" * 32)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


class Silent:
    """No noise, and every record in every batch."""

    def uniforms(self, count: int) -> NDArray[np.float64]:
        return np.full(count, 1.0 - 2.0**-53)


def learn(  # noqa: PLR0913 - what single tests change
    data: SiloData, noise: NoiseSource, *, steps: int = 1, norm: float = 0.5, rate: float = 1.0, sigma: float = 4.0
) -> dict[str, NDArray[np.float64]]:
    mechanism = SampledGaussian(sampling_rate=rate, noise_multiplier=sigma, steps=steps, max_grad_norm=norm)
    return learn_texts(
        MINILM_LORA,
        read_texts(MINILM_LORA, SENTIMENT, data),
        np.array(data.labels, np.int64),
        np.array([40.0, 40.0]),
        mechanism=mechanism,
        recipe=QUICK,
        noise=noise,
    )


def test_the_release_is_what_it_says(ledger: Ledger) -> None:
    release = train(SENTIMENT, letters(), ALLOWED, ledger, recipe=QUICK)
    assert {name: array.shape for name, array in release.tensors.items()} == tensor_shapes(MINILM_LORA, SENTIMENT)
    assert all(array.dtype == np.float32 for array in release.tensors.values())
    assert release.architecture == MINILM_LORA
    assert 3.99 <= check_guarantee(release.guarantee) <= 4.0
    counts, steps = release.guarantee.mechanisms
    assert counts == LaplaceCounts(epsilon=QUICK.counts_share * 4.0)
    assert isinstance(steps, SampledGaussian)
    assert (steps.sampling_rate, steps.steps, steps.max_grad_norm) == (
        QUICK.sampling_rate,
        QUICK.steps,
        QUICK.max_grad_norm,
    )
    (entry,) = ledger.entries()
    assert (entry.status, entry.spending.mechanisms) == ("finished", release.guarantee.mechanisms)


def test_it_learns(ledger: Ledger) -> None:
    release = train(SENTIMENT, letters(320), ALLOWED, ledger, noise=SeededNoise(1))
    expert = Expert.from_tensors(SENTIMENT, release.tensors, MINILM_LORA)
    good, bad = expert.predict_proba([{"text": "I adore this lamp."}, {"text": "This lamp is terrible."}])[:, 1]
    assert good > 0.55
    assert bad < 0.45


def test_gradients_of_single_records_are_those_of_batches_of_one() -> None:
    model = TextModel(MINILM_LORA, 2, 0.5).double()
    model.layer.centre, model.layer.query_centre = model.layer.centre.double(), model.layer.query_centre.double()
    random = np.random.default_rng(3)
    for weight in (p for p in model.parameters() if p.requires_grad):
        with torch.no_grad():
            weight.add_(torch.from_numpy(0.05 * random.normal(size=tuple(weight.shape))))
    texts = ["Short.", "A rather longer text, so that the others are padded.", "Bad!", "It was neither good nor bad."]
    query, memory, mask = (part.double() for part in padded(load_text_base(MINILM_LORA).read(texts)))
    labels = torch.tensor([0, 1, 0, 1])
    alone = []
    for row in range(len(texts)):
        one = slice(row, row + 1)
        model.zero_grad()
        tokens = int(mask[row].sum())
        logits = model(query[one], memory[one, :tokens], mask[one, :tokens])
        cross_entropy(logits, labels[one], reduction="sum").backward()
        alone.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    with no_word_of_hooks():
        sampled = GradSampleModule(model, loss_reduction="sum")
        cross_entropy(sampled(query, memory, mask), labels, reduction="sum").backward()
    together = [p.grad_sample for p in model.parameters() if p.requires_grad]
    assert len(together) == len(alone[0]) == 2 * len(TEXT_ARCHITECTURES[MINILM_LORA].targets) + 1
    for place, gradients in enumerate(together):
        for row in range(len(texts)):
            torch.testing.assert_close(gradients[row], alone[row][place], atol=1e-10, rtol=1e-7)


def test_pefts_layer_and_the_provider_agree() -> None:
    learned = learn(letters(), SeededNoise(4), steps=5, sigma=0.5)
    data = letters(20)
    tensors = {name: array.astype(np.float32) for name, array in learned.items()}
    expert = Expert.from_tensors(SENTIMENT, tensors | {"class_counts": np.array([40.0, 40.0], np.float32)}, MINILM_LORA)
    model = TextModel(MINILM_LORA, 2, QUICK.constant)
    with torch.no_grad():
        for target in TEXT_ARCHITECTURES[MINILM_LORA].targets:
            for part, weight in zip("ab", model.low_rank(target), strict=True):
                weight.copy_(torch.from_numpy(learned[f"lora.{LAYER}.{target}.{part}"]))
        features = model.layer(*padded([text for text in read_texts(MINILM_LORA, SENTIMENT, data) if text])).numpy()
    logits = features @ learned["head.weight"].T + learned["head.bias"]
    np.testing.assert_allclose(expert.log_odds(data.records), logits - logits.mean(1, keepdims=True), atol=1e-4)


def rate(norm: float) -> float:
    """The softmax's learning rate in one step of ``learn``."""
    mechanism = SampledGaussian(sampling_rate=1.0, noise_multiplier=4.0, steps=1, max_grad_norm=norm)
    return QUICK.learning_rate(80.0, mechanism)


def test_the_learning_rate_follows_public_numbers() -> None:
    loud = SampledGaussian(sampling_rate=0.5, noise_multiplier=8.0, steps=100, max_grad_norm=0.5)
    few, many = (QUICK.learning_rate(records, loud) for records in (100.0, 1000.0))
    assert many == pytest.approx(10.0 * few)
    # One weight's noise after all steps: each adds rate * noise / (share * records) of deviation.
    assert few * 8.0 * 0.5 / (0.5 * 100.0) * 100**0.5 == pytest.approx(QUICK.loudness)
    assert QUICK.learning_rate(1e12, loud) == QUICK.most_rate


def test_one_record_moves_one_step_by_the_clip_norm_at_most() -> None:
    data = letters(9)
    less = replace(data, records=data.records[1:], labels=data.labels[1:])
    with_it, without = learn(data, Silent(), norm=0.01), learn(less, Silent(), norm=0.01)
    # At the first step B is 0, so only the softmax and B move: the length is that of the step, undone.
    moved = np.concatenate([(with_it["head.weight"] - without["head.weight"]).ravel() / rate(0.01)])
    bias = (with_it["head.bias"] - without["head.bias"]) / QUICK.constant / rate(0.01)
    low_rank = [
        (with_it[name] - without[name]).ravel() / (rate(0.01) * QUICK.lora_share)
        for name in with_it
        if name.startswith("lora.")
    ]
    length = np.linalg.norm(np.concatenate([moved, bias, *low_rank])) * 80.0
    assert length == pytest.approx(0.01, rel=1e-3)


def test_noise_is_as_large_as_accounted_and_on_every_weight() -> None:
    empty = replace(letters(1), records=({"text": None},), labels=(0,))
    learned = learn(empty, SeededNoise(6), norm=0.5, sigma=4.0)
    start = public_down_maps(MINILM_LORA)
    steps = {}
    for name, array in learned.items():
        parts = name.split(".")
        begun = start[parts[2]] if name.endswith(".a") else 0.0
        scale = {"head.weight": 1.0, "head.bias": QUICK.constant}.get(name, QUICK.lora_share)
        begun = np.log(0.5) if name == "head.bias" else begun
        steps[name] = ((array - begun) / (rate(0.5) * scale)).ravel() * 80.0
    for name, moved in steps.items():
        assert abs(moved.std() / (4.0 * 0.5) - 1.0) < (0.1 if moved.size > 500 else 0.9), name
    everything = np.concatenate(list(steps.values()))
    assert abs(everything.std() / 2.0 - 1.0) < 0.03
    assert abs(everything.mean()) < 0.05


def test_empty_batches_are_steps_and_large_ones_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = learn(letters(6), SeededNoise(7), steps=3, rate=1e-9)
    assert np.abs(nobody["lora.4.up.b"]).max() > 0.0
    whole = learn(letters(30), Silent(), steps=3)
    monkeypatch.setattr("silo_client.text_training._PART", 7)
    parts = learn(letters(30), Silent(), steps=3)
    for name, array in whole.items():
        np.testing.assert_allclose(parts[name], array, atol=1e-4)


def test_nothing_of_torchs_generator_is_drawn_and_nothing_is_logged(
    ledger: Ledger, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    before = torch.get_rng_state()
    releases = [train(SENTIMENT, letters(), ALLOWED, ledger, recipe=QUICK) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert not np.allclose(releases[0].tensors["head.weight"], releases[1].tensors["head.weight"])
    assert not [record for record in caplog.records if record.name.startswith(("silo_client", "llamdex_fl"))]
    assert "kettle" not in caplog.text + "".join(capsys.readouterr())


def test_an_architecture_for_tables_is_refused_before_a_record_is_read(ledger: Ledger) -> None:
    other = replace(ALLOWED, offer=replace(OFFER, architecture="thermometer_linear/v1"))
    with pytest.raises(PolicyError):
        train(SENTIMENT, letters(), other, ledger)
    assert not ledger.entries()


def test_a_text_column_is_read_as_it_was_written(tmp_path: Path, ledger: Ledger) -> None:
    path = tmp_path / "letters.csv"
    path.write_text(
        'sentiment,text\npositive,"Good, ""really"" good.\nTwo lines, even."\nnegative,bad\npositive,\n',
        encoding="utf-8",
    )
    data = read_records(path, SENTIMENT)
    assert [record["text"] for record in data.records] == ['Good, "really" good.\nTwo lines, even.', "bad", None]
    assert data.labels == (1, 0, 1)
    release = train(SENTIMENT, data, ALLOWED, ledger, recipe=QUICK)
    assert isinstance(release, Release)
