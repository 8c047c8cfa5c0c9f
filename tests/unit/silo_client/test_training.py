"""DP-SGD: its mechanism is the one that is accounted for, and each known way to break it is closed."""

import ast
import inspect
import logging
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from torch.nn.functional import cross_entropy

import silo_client.noise
import silo_client.training
from llamdex_fl.errors import BudgetSpentError, PolicyError
from llamdex_fl.experts import THERMOMETER_LINEAR, Expert, encode, tensor_shapes
from llamdex_fl.privacy import Budget, LaplaceCounts, Ledger, SampledGaussian, certified_epsilon, check_guarantee
from llamdex_fl.release import Offer
from llamdex_fl.schema import Value, load_library_schema
from silo_client.data import SiloData
from silo_client.dp_optimizer import no_word_of_hooks
from silo_client.noise import NoiseSource, SecureNoise, gaussians, laplaces
from silo_client.policy import DEFAULT_PURPOSE, Authorisation
from silo_client.training import Recipe, train
from simulations.seeded_noise import SeededNoise

HEART = load_library_schema("heart")
OFFER = Offer(
    provider="provider",
    purpose=DEFAULT_PURPOSE,
    schema_digest=HEART.digest(),
    architecture=THERMOMETER_LINEAR,
    base_model_digest="0" * 64,
    epsilon=1.0,
    delta=1e-4,
    challenge="1" * 64,
)
ALLOWED = Authorisation(offer=OFFER, data_set="patients", budget=Budget(epsilon=3.0, delta=1e-4), record_bound=1000)


def patients(count: int = 120, seed: int = 0) -> SiloData:
    random = np.random.default_rng(seed)
    records: list[dict[str, Value]] = []
    labels = []
    for _ in range(count):
        label = int(random.random() < 0.5)
        pain = "asymptomatic" if random.random() < 0.2 + 0.6 * label else "atypical angina"
        records.append({"age": int(random.integers(30, 80)), "chest_pain": pain, "sex": "male"})
        labels.append(label)
    return SiloData(records=tuple(records), labels=tuple(labels), digest="ab" * 32)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


class Silent:
    """No noise, and every record in every batch: what is left is plain gradient descent."""

    def uniforms(self, count: int) -> NDArray[np.float64]:
        # Gaussians: sqrt(-2 log u) is 0 to ten digits. Laplace: equal logarithms. Sampling: below any rate of 1.
        return np.full(count, 1.0 - 2.0**-53)


def test_the_release_is_what_it_says(ledger: Ledger) -> None:
    release = train(HEART, patients(), ALLOWED, ledger)
    assert {name: array.shape for name, array in release.tensors.items()} == tensor_shapes(THERMOMETER_LINEAR, HEART)
    assert all(array.dtype == np.float32 for array in release.tensors.values())
    assert (release.schema_digest, release.architecture) == (HEART.digest(), THERMOMETER_LINEAR)
    assert 0.998 <= check_guarantee(release.guarantee) <= 1.0
    counts, steps = release.guarantee.mechanisms
    assert counts == LaplaceCounts(epsilon=0.2)
    assert isinstance(steps, SampledGaussian)
    assert (steps.sampling_rate, steps.steps, steps.max_grad_norm) == (0.5, 60, 2**0.5)
    (entry,) = ledger.entries()
    assert (entry.status, entry.spending.mechanisms) == ("finished", release.guarantee.mechanisms)
    assert entry.spending.reference == OFFER.challenge


def test_it_learns(ledger: Ledger) -> None:
    release = train(HEART, patients(400), ALLOWED, ledger, noise=SeededNoise(1))
    expert = Expert.from_tensors(HEART, release.tensors)
    ill, well = expert.predict_proba([{"chest_pain": "asymptomatic"}, {"chest_pain": "atypical angina"}])[:, 1]
    assert ill > 0.55
    assert well < 0.45


def test_nothing_repeats_in_production_and_a_seed_repeats_in_tests(tmp_path: Path) -> None:
    def weight(name: str, noise: NoiseSource | None) -> NDArray[np.float32]:
        torch.manual_seed(0)
        return train(HEART, patients(), ALLOWED, Ledger(tmp_path / name), noise=noise).tensors["weight"]

    assert not np.allclose(weight("a", None), weight("b", None))
    assert (weight("c", SeededNoise(5)) == weight("d", SeededNoise(5))).all()


def test_training_draws_nothing_from_torchs_or_numpys_generator(ledger: Ledger) -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002 - the old global generator is the one that must stay untouched
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr,index,call-overload] # noqa: NPY002
    train(HEART, patients(), ALLOWED, ledger)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # type: ignore[index,call-overload] # noqa: NPY002


class Recorder:
    """Counts what is drawn, and can make every batch empty."""

    def __init__(self, source: NoiseSource, records: int, *, empty: bool = False) -> None:
        """Draw from ``source``; a draw of ``records`` numbers samples a batch."""
        self.source, self.records, self.empty, self.batches = source, records, empty, 0

    def uniforms(self, count: int) -> NDArray[np.float64]:
        drawn = self.source.uniforms(count)
        if count == self.records:
            self.batches += 1
            return np.ones(count) if self.empty else drawn
        return drawn


def test_every_planned_step_is_taken_even_if_every_batch_is_empty(ledger: Ledger) -> None:
    noise = Recorder(SeededNoise(2), 117, empty=True)
    steps = []
    release = train(
        HEART, patients(117), ALLOWED, ledger, noise=noise, progress=lambda done, of: steps.append((done, of))
    )
    assert noise.batches == 60
    assert steps == [(step, 60) for step in range(1, 61)]
    # Noise was added in every one of them: weights that no record touched are not 0.
    assert float(np.abs(release.tensors["weight"]).min()) > 0.0


def batches_of(monkeypatch: pytest.MonkeyPatch, *, rate: float, steps: int, records: int) -> NDArray[np.bool_]:
    """Which record was in which batch, [steps, records]: every record has a class of its own, which a batch shows."""
    seen: list[NDArray[np.bool_]] = []
    whole = silo_client.training.cross_entropy

    def watch(logits: torch.Tensor, targets: torch.Tensor, **how: Any) -> torch.Tensor:  # noqa: ANN401 - torch's own
        seen.append(np.isin(np.arange(records), targets.numpy()))
        return whole(logits, targets, **how)

    monkeypatch.setattr(silo_client.training, "cross_entropy", watch)
    mechanism = SampledGaussian(sampling_rate=rate, noise_multiplier=1.0, steps=steps, max_grad_norm=1.0)
    codes, labels, counts = np.zeros((records, 1)), np.arange(records), np.ones(records)
    silo_client.training._dp_sgd(codes, labels, counts, mechanism, Recipe(), SeededNoise(11), None)
    return np.array(seen)


def test_sampling_is_poisson_at_the_accounted_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    # Trap 5: batches of a fixed size, or epochs, are accounted as Poisson and are not.
    rate, steps, records = 0.3, 800, 20
    batches = batches_of(monkeypatch, rate=rate, steps=steps, records=records)
    deviation = (rate * (1.0 - rate) / steps) ** 0.5
    assert np.abs(batches.mean(axis=0) - rate).max() < 4.0 * deviation
    sizes = batches.sum(axis=1)
    assert sizes.var() == pytest.approx(records * rate * (1.0 - rate), rel=0.2)  # four standard errors
    # No record brings another one with it, nor itself again in the next step.
    together = np.corrcoef(batches.T) - np.eye(records)
    again = [np.corrcoef(batches[:-1, n], batches[1:, n])[0, 1] for n in range(records)]
    assert max(np.abs(together).max(), np.abs(again).max()) < 4.5 / steps**0.5


def test_steps_are_planned_and_not_derived_from_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    # Trap 7: 1 / 0.3 batches an epoch would be 3 in one place and 4 in another.
    assert len(batches_of(monkeypatch, rate=0.3, steps=7, records=3)) == 7


def test_without_noise_it_is_clipped_gradient_descent_step_by_step(ledger: Ledger) -> None:
    # An independent oracle: numpy, one record at a time.
    data, recipe = patients(40), Recipe(sampling_rate=1.0, steps=5)
    release = train(HEART, data, ALLOWED, ledger, recipe=recipe, noise=Silent())
    codes = np.column_stack([encode(HEART, data.records).astype(float), np.full(40, 0.5)])
    counts = np.bincount(data.labels).astype(float)
    prior = np.log(counts / 40)
    weight, mean = np.zeros((2, codes.shape[1])), np.zeros((2, codes.shape[1]))
    for step in range(5):
        total = np.zeros_like(weight)
        for code, label in zip(codes, data.labels, strict=True):
            odds = np.exp(weight @ code + prior)
            gradient = np.outer(odds / odds.sum() - np.eye(2)[label], code)
            total += gradient * min(1.0, 2**0.5 / (np.linalg.norm(gradient) + 1e-6))
        weight = weight - 0.3 * (total / 40 + 20.0 / 40 * weight)
        mean += (step + 1) * weight / 15
    np.testing.assert_allclose(release.tensors["weight"], mean[:, :-1], atol=1e-6)
    np.testing.assert_allclose(release.tensors["bias"], mean[:, -1] * 0.5 + prior, atol=1e-6)
    assert release.tensors["class_counts"].tolist() == counts.tolist()


def test_gradients_of_single_records_are_those_of_opacus_and_of_batches_of_one() -> None:
    random = np.random.default_rng(4)
    inputs, targets = torch.from_numpy(random.normal(size=(30, 7))), torch.from_numpy(random.integers(0, 5, 30))
    offset = torch.from_numpy(random.normal(size=5))
    layer = torch.nn.Linear(7, 5, bias=False, dtype=torch.float64)
    weight = layer.weight.detach().clone()
    found = silo_client.training._gradients(weight, offset, inputs, targets)
    assert not found.requires_grad
    hooked = GradSampleModule(layer, loss_reduction="sum")
    with no_word_of_hooks():
        cross_entropy(hooked(inputs) + offset, targets, reduction="sum").backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, layer.weight.grad_sample, rtol=1e-12, atol=1e-12)
    for row in range(30):
        alone = weight.clone().requires_grad_()
        cross_entropy(alone @ inputs[row] + offset, targets[row]).backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(found[row], alone.grad, rtol=1e-12, atol=1e-12)
    assert silo_client.training._gradients(weight, offset, inputs[:0], targets[:0]).shape == (0, 5, 7)


def test_one_record_moves_one_step_by_no_more_than_the_clip_norm() -> None:
    # Far more weight on one record's codes than the clip norm: its whole effect must be exactly the norm.
    recipe = Recipe(sampling_rate=1.0, steps=1, max_grad_norm=0.01, l2_records=0.0, learning_rate=1.0)
    data = patients(40)
    fewer = SiloData(records=data.records[1:], labels=data.labels[1:], digest=data.digest)
    counts = np.bincount(data.labels).astype(float)
    weights = []
    for table in (data, fewer):
        optimum = silo_client.training._dp_sgd(
            encode(HEART, table.records).astype(float),
            np.array(table.labels),
            counts,
            SampledGaussian(sampling_rate=1.0, noise_multiplier=1.0, steps=1, max_grad_norm=0.01),
            recipe,
            Silent(),
            None,
        )
        weights.append(np.column_stack([optimum[0], (optimum[1] - np.log(counts / 40)) / 0.5]))
    assert float(np.linalg.norm(weights[0] - weights[1])) * 40 == pytest.approx(0.01, rel=1e-3)


def test_the_noise_has_the_accounted_size() -> None:
    # 1,000 one-step runs on records that nobody ever samples: the weights are the noise, divided by the batch size.
    mechanism = SampledGaussian(sampling_rate=0.5, noise_multiplier=14.0, steps=1, max_grad_norm=2**0.5)
    noise = SeededNoise(7)
    codes, labels, counts = np.zeros((1, 4)), np.array([0]), np.array([50.0, 50.0])
    drawn = np.concatenate(
        [
            silo_client.training._dp_sgd(codes, labels, counts, mechanism, Recipe(steps=1), noise, None)[0].ravel()
            for _ in range(1000)
        ]
    )
    expected = 0.3 * 14.0 * 2**0.5 / (0.5 * 100.0)
    assert drawn.std() == pytest.approx(expected, rel=0.04)  # four standard errors
    assert abs(drawn.mean()) < 4.0 * expected / len(drawn) ** 0.5


def test_the_ledger_is_written_before_a_record_is_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        assert ledger.entries()[0].status == "begun"
        raise KeyboardInterrupt

    monkeypatch.setattr(silo_client.training, "noisy_counts", refuse)
    monkeypatch.setattr(silo_client.training, "code_records", refuse)
    with pytest.raises(KeyboardInterrupt):
        train(HEART, patients(), ALLOWED, ledger)
    assert [entry.status for entry in ledger.entries()] == ["begun"]


def test_a_spent_budget_stops_training(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    tight = replace(ALLOWED, budget=Budget(epsilon=1.2, delta=1e-4))
    train(HEART, patients(), tight, ledger)
    monkeypatch.setattr(silo_client.training, "noisy_counts", lambda *_: pytest.fail("records were read"))
    with pytest.raises(BudgetSpentError, match="which would still fit"):
        train(HEART, patients(), tight, ledger)
    assert len(ledger.entries()) == 1


def test_more_records_than_the_public_bound_are_refused_without_their_number(ledger: Ledger) -> None:
    with pytest.raises(PolicyError) as refused:
        train(HEART, patients(121), replace(ALLOWED, record_bound=120), ledger)
    assert "121" not in str(refused.value)
    assert ledger.entries() == ()


def test_another_schema_or_architecture_is_refused(ledger: Ledger) -> None:
    for change in ({"architecture": "mlp/v1"}, {"schema_digest": "0" * 64}):
        with pytest.raises(PolicyError):
            train(HEART, patients(), replace(ALLOWED, offer=replace(OFFER, **change)), ledger)
    assert ledger.entries() == ()


def test_nothing_is_logged_or_printed(
    ledger: Ledger, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        train(HEART, patients(), ALLOWED, ledger)
    assert [record.name for record in caplog.records if "opacus" not in record.name] == []
    assert all("set_to_none" in record.getMessage() for record in caplog.records)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("module", [silo_client.training, silo_client.noise])
def test_opacus_traps_are_absent_by_construction(module: ModuleType) -> None:
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    traps = {
        "PrivacyEngine",  # accounts for what it is told, not for what is done
        "BatchMemoryManager",
        "DPDataLoader",
        "DataLoader",
        "manual_seed",
        "Generator",
        "default_rng",
        "secure_mode",
        "load_state_dict",
        "load_checkpoint",
        "save_checkpoint",
        "poisson_sampling",
        "make_private",
        "signal_skip_step",
        "StepGradClip",
        "GradSampleModuleFastGradientClipping",
    }
    assert not names & traps


def test_the_secure_source_is_uniform_and_never_0_or_1() -> None:
    drawn = SecureNoise().uniforms(200_000)
    assert float(drawn.min()) > 0.0
    assert float(drawn.max()) < 1.0
    assert drawn.mean() == pytest.approx(0.5, abs=4 * (1 / 12 / 200_000) ** 0.5)
    assert np.histogram(drawn, 20, (0, 1))[0].std() < 3 * (200_000 / 20) ** 0.5
    assert SecureNoise().uniforms(0).shape == (0,)


def test_noise_has_the_right_moments() -> None:
    normal = gaussians(SeededNoise(1), (400, 500), 3.0)
    assert normal.shape == (400, 500)
    assert normal.std() == pytest.approx(3.0, rel=0.01)
    assert float((np.abs(normal) > 6.0).mean()) == pytest.approx(0.0455, abs=0.003)
    laplace = laplaces(SeededNoise(2), 200_000, 5.0)
    assert np.abs(laplace).mean() == pytest.approx(5.0, rel=0.02)
    assert laplace.mean() == pytest.approx(0.0, abs=0.1)


def test_the_plan_costs_what_was_asked_at_another_epsilon(ledger: Ledger) -> None:
    cheap = replace(ALLOWED, offer=replace(OFFER, epsilon=0.5, delta=1e-5))
    release = train(HEART, patients(), cheap, ledger)
    assert 0.499 <= certified_epsilon(release.guarantee.mechanisms, 1e-5) <= 0.5
