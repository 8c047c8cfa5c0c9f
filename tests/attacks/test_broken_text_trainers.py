"""Text trainers broken on purpose, and which check finds which fault; ``test_broken_trainers`` of texts.

``noise``, ``clipping`` and ``sampling`` look at one step of a training; ``audit`` attacks the releases of a few
trainings and sees what shouts.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import silo_client.text_training
import silo_client.training
from llamdex_fl.experts import MINILM_LORA
from llamdex_fl.experts.text_base import ReadText, load_text_base
from llamdex_fl.privacy import SampledGaussian
from llamdex_fl.schema import load_library_schema
from silo_client.audit import audit
from silo_client.dp_optimizer import SecureDPOptimizer
from silo_client.text_audit import TextTrainer
from silo_client.text_training import TextRecipe
from simulations.seeded_noise import SeededNoise

SENTIMENT = load_library_schema("sentiment")
QUICK = TextRecipe(steps=8)


class NoNoise(SecureDPOptimizer):
    """The noise is missing."""

    def add_noise(self) -> None:
        for parameter in self.params:
            parameter.grad = parameter.summed_grad.view_as(parameter)


class NoClipping(SecureDPOptimizer):
    """Gradients are as long as they come."""

    def clip_and_accumulate(self) -> None:
        for parameter in self.params:
            summed = parameter.grad_sample.sum(dim=0)
            parameter.summed_grad = summed if parameter.summed_grad is None else parameter.summed_grad + summed


class StepsByParts(SecureDPOptimizer):
    """Every part of a batch is taken for a step, so there are more of them than are accounted for."""

    def signal_skip_step(self, do_skip: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - as Opacus has it
        super().signal_skip_step(False)


class Silent:
    """No noise, and every record in every batch."""

    def uniforms(self, count: int) -> NDArray[np.float64]:
        return np.full(count, 1.0 - 2.0**-53)


def one_step(read: list[ReadText | None], noise: Any, norm: float, sigma: float = 4.0) -> dict[str, Any]:  # noqa: ANN401
    mechanism = SampledGaussian(sampling_rate=1.0, noise_multiplier=sigma, steps=1, max_grad_norm=norm)
    labels = np.arange(len(read)) % 2
    return silo_client.text_training.learn_texts(
        MINILM_LORA, read, labels, np.array([50.0, 50.0]), mechanism=mechanism, recipe=QUICK, noise=noise
    )


def rate(norm: float) -> float:
    mechanism = SampledGaussian(sampling_rate=1.0, noise_multiplier=4.0, steps=1, max_grad_norm=norm)
    return QUICK.learning_rate(100.0, mechanism)


def noise() -> bool:
    drawn = one_step([None], SeededNoise(1), 1.0)["head.weight"]
    return bool(abs(drawn.std() / (rate(1.0) * 4.0 / 100.0) - 1.0) < 0.1)


def parts() -> bool:
    """Three parts get the noise of one step, once."""
    texts: list[ReadText | None] = list(load_text_base(MINILM_LORA).read(["one", "two", "three"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(silo_client.text_training, "_PART", 1)
        drawn = one_step(texts, SeededNoise(2), 1.0, sigma=40.0)["lora.4.up.b"]
    mechanism = SampledGaussian(sampling_rate=1.0, noise_multiplier=40.0, steps=1, max_grad_norm=1.0)
    step = QUICK.learning_rate(100.0, mechanism) * QUICK.lora_share
    return bool(abs(drawn.std() / (step * 40.0 / 100.0) - 1.0) < 0.1)


def clipping() -> bool:
    texts: list[ReadText | None] = list(load_text_base(MINILM_LORA).read(["I hate it.", "I love it.", "Fine."]))
    moved = one_step(texts, Silent(), 0.01)["head.weight"] - one_step(texts[:2], Silent(), 0.01)["head.weight"]
    return bool(np.linalg.norm(moved) <= rate(0.01) * 0.01 / 100.0 * (1.0 + 1e-3))


def audited() -> bool:
    trainer = TextTrainer(
        SENTIMENT, MINILM_LORA, epsilon=1.0, delta=1e-4, canaries=40, records=60, recipe=QUICK, noise=SeededNoise(3)
    )
    return audit(trainer, canaries=160, runs=4, noise=SeededNoise(4)).consistent


CHECKS: dict[str, Callable[[], bool]] = {"noise": noise, "parts": parts, "clipping": clipping, "audit": audited}
FAULTS: dict[str, tuple[type[SecureDPOptimizer], set[str]]] = {
    "none": (SecureDPOptimizer, set()),
    "noise missing": (NoNoise, {"noise", "parts", "audit"}),
    "clipping missing": (NoClipping, {"clipping"}),
    "a step a part": (StepsByParts, {"parts"}),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("fault", FAULTS)
def test_which_check_finds_which_fault(fault: str, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, found_by = FAULTS[fault]
    monkeypatch.setattr(silo_client.text_training, "SecureDPOptimizer", broken)
    torch.set_num_threads(1)
    assert CHECKS[check]() == (check not in found_by)
