"""Trainers broken on purpose, and which check finds which fault.

The checks look at different things, so most faults pass most of them:

- ``noise``: one step's noise has the accounted deviation. Blind to all that goes wrong with gradients.
- ``clipping``: one record moves one step by the clip norm at most. Without noise, so blind to noise; of one step, so
  blind to what is kept from step to step.
- ``sampling``: the share of records in a batch is the one that the release's guarantee names. Blind to all else.
- ``steps``: five steps without noise are those of an independent implementation. Blind to noise and to accounting.
- ``audit``: releases of six trainings, attacked. Nothing is out of its sight, but small faults are lost in the noise:
  a sampling rate that is off by two needs hundreds of trainings, and missing clipping, which lengthens a gradient by
  less than two where the release's recipe clips, more than that.
- ``one run``: the same of a single training, for faults that shout.
- ``tight audit``: the audit of the same trainer with a recipe that clips a hundredfold, where missing clipping shouts.

The ``slow`` tests are an audit of 300 trainings, which does see a factor of two in the rate.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import silo_client.training
from llamdex_fl.errors import AuditError
from llamdex_fl.privacy import Guarantee, LaplaceCounts, SampledGaussian
from llamdex_fl.schema import load_library_schema
from silo_client.audit import audit
from silo_client.policy import Authorisation
from silo_client.tabular_audit import TabularTrainer
from silo_client.training import Recipe
from simulations.seeded_noise import SeededNoise

HEART = load_library_schema("heart")
Optimizer = silo_client.training.SecureDPOptimizer
_plan = silo_client.training._plan


class NoNoise(Optimizer):
    """The noise is missing."""

    def add_noise(self) -> None:
        for parameter in self.params:
            parameter.grad = parameter.summed_grad.view_as(parameter)


class NoClipping(Optimizer):
    """Gradients are as long as they come."""

    def clip_and_accumulate(self) -> None:
        for parameter in self.params:
            parameter.summed_grad = parameter.grad_sample.sum(dim=0)


class KeepsSums(Optimizer):
    """The sum of clipped gradients is kept when a new batch begins (trap 2 of Opacus)."""

    def zero_grad(self, set_to_none: bool = False) -> None:  # noqa: FBT001, FBT002 - as Opacus has it
        sums = [parameter.summed_grad for parameter in self.params]
        super().zero_grad(set_to_none)
        for parameter, kept in zip(self.params, sums, strict=True):
            parameter.summed_grad = kept


def plan_for_less(factor: float) -> Callable[..., tuple[LaplaceCounts, SampledGaussian, Guarantee]]:
    """Noise and guarantee for one sampling rate, batches of ``factor`` times that."""

    def plan(authorisation: Authorisation, recipe: Recipe) -> tuple[LaplaceCounts, SampledGaussian, Guarantee]:
        counts, steps, guarantee = _plan(authorisation, replace(recipe, sampling_rate=recipe.sampling_rate / factor))
        return counts, replace(steps, sampling_rate=recipe.sampling_rate), guarantee

    return plan


FAULTS: dict[str, tuple[str, object]] = {
    "none": ("_plan", _plan),
    "noise missing": ("SecureDPOptimizer", NoNoise),
    "clipping missing": ("SecureDPOptimizer", NoClipping),
    "twice the sampling rate": ("_plan", plan_for_less(2.0)),
    "ten times the sampling rate": ("_plan", plan_for_less(10.0)),
    "sums kept": ("SecureDPOptimizer", KeepsSums),
}


class Silent:
    """No noise, and every record in every batch."""

    def uniforms(self, count: int) -> NDArray[np.float64]:
        return np.full(count, 1.0 - 2.0**-53)


def dp_sgd(codes: NDArray[np.float64], noise: object, steps: int, norm: float, **recipe: float) -> NDArray[np.float64]:
    labels = np.arange(len(codes)) % 2
    mechanism = SampledGaussian(sampling_rate=1.0, noise_multiplier=14.0, steps=steps, max_grad_norm=norm)
    counts = np.array([50.0, 50.0])
    run: Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]] = silo_client.training._dp_sgd
    return run(codes, labels, counts, mechanism, Recipe(**recipe), noise, None)[0]  # type: ignore[arg-type]


def noise() -> bool:
    source = SeededNoise(1)
    drawn = np.concatenate([dp_sgd(np.zeros((1, 10)), source, 1, 1.0).ravel() for _ in range(100)])
    return bool(abs(drawn.std() / (0.3 * 14.0 / 100.0) - 1.0) < 0.1)


def clipping() -> bool:
    codes = np.zeros((7, 10))
    codes[0] = 5.0
    moved = dp_sgd(codes, Silent(), 1, 0.5) - dp_sgd(codes[1:], Silent(), 1, 0.5)
    return bool(np.linalg.norm(moved) <= 0.3 * 0.5 / 100.0 + 1e-9)


def sampling() -> bool:
    trainer = TabularTrainer(HEART, epsilon=1.0, delta=1e-4, canaries=200, noise=SeededNoise(2))
    sizes: list[int] = []
    whole = silo_client.training.cross_entropy

    def watch(logits: torch.Tensor, targets: torch.Tensor, **how: Any) -> torch.Tensor:  # noqa: ANN401
        sizes.append(len(targets))
        return whole(logits, targets, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(silo_client.training, "cross_entropy", watch)
        release = trainer.train(np.ones(200, np.bool_))
    (accounted,) = (m for m in release.guarantee.mechanisms if isinstance(m, SampledGaussian))
    return len(sizes) == accounted.steps and bool(abs(np.mean(sizes) / 200.0 - accounted.sampling_rate) < 0.03)


def steps() -> bool:
    random = np.random.default_rng(3)
    codes = np.column_stack([random.normal(size=(9, 10)), np.full(9, 0.5)])
    weight, mean = np.zeros((2, 11)), np.zeros((2, 11))
    for step in range(5):
        total = np.zeros_like(weight)
        for place, code in enumerate(codes):
            odds = np.exp(weight @ code)
            gradient = np.outer(odds / odds.sum() - np.eye(2)[place % 2], code)
            total += gradient * min(1.0, 1.0 / np.linalg.norm(gradient))
        weight = weight - 0.3 * (total / 100.0 + 20.0 / 100.0 * weight)
        mean += (step + 1) * weight / 15.0
    return bool(np.allclose(dp_sgd(codes[:, :-1], Silent(), 5, 1.0), mean[:, :-1], atol=1e-6))


def audited(seed: int, *, canaries: int, runs: int, recipe: Recipe | None = None) -> bool:
    trainer = TabularTrainer(
        HEART,
        epsilon=1.0,
        delta=1e-4,
        canaries=-(-canaries // runs),
        records=300,
        recipe=recipe,
        noise=SeededNoise(seed),
    )
    report = audit(trainer, canaries=canaries, runs=runs, noise=SeededNoise(seed + 1))
    if not report.consistent:
        with pytest.raises(AuditError):
            report.require_consistent()
    return report.consistent


CHECKS: dict[str, Callable[[], bool]] = {
    "noise": noise,
    "clipping": clipping,
    "sampling": sampling,
    "steps": steps,
    "one run": lambda: audited(5, canaries=60, runs=1),
    "audit": lambda: audited(7, canaries=360, runs=6),
    "tight audit": lambda: audited(9, canaries=360, runs=6, recipe=Recipe(max_grad_norm=0.02)),
}
AUDITS = {"one run", "audit"}
FOUND_BY = {
    "none": set(),
    "noise missing": {"noise", *AUDITS},
    "clipping missing": {"clipping", "steps", "tight audit"},
    "twice the sampling rate": {"sampling"},
    "ten times the sampling rate": {"sampling", *AUDITS},
    "sums kept": {"steps", *AUDITS},
}
#: The tight audit is made for one fault, and must not see one where there is none.
PAIRS = [
    (fault, check)
    for fault in FAULTS
    for check in CHECKS
    if check != "tight audit" or fault in {"none", "clipping missing"}
]


@pytest.mark.parametrize(("fault", "check"), PAIRS)
def test_which_check_finds_which_fault(fault: str, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, broken = FAULTS[fault]
    monkeypatch.setattr(silo_client.training, name, broken)
    assert CHECKS[check]() == (check not in FOUND_BY[fault])


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "found"), [("none", False), ("twice the sampling rate", True)])
def test_a_long_audit_sees_a_factor_of_two(fault: str, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    name, broken = FAULTS[fault]
    monkeypatch.setattr(silo_client.training, name, broken)
    assert audited(11, canaries=18_000, runs=300) != found
