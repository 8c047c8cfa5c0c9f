"""DP-FedAvg of one expert: Flower's own strategy, its own messages and ClientApp, and DP-SGD at each silo.

Each silo's steps are our own: the same codes, Poisson sampling, clipping and noise by record as our expert has. So
every silo has the same guarantee (one record added or removed), certified by the same accountant over all rounds and
the noisy class counts. Flower's wrappers for differential privacy hide a whole silo's update, another unit: with four
silos their noise would leave nothing, and a comparison at one unit is what is asked.

What a silo sends in a round is computed from noisy gradients, and weighed by its noisy number of records. The iterates
are averaged, later ones counting more, as our expert's are. ``dp_fedavg`` starts from the pooled noisy shares of the
classes, ``dp_fedavg_site`` from each silo's own, which then also answer: as our assembly, it knows who asks.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from torch.nn.functional import cross_entropy
from torch.nn.utils import skip_init

from llamdex_fl.experts import code_records
from llamdex_fl.privacy import Budget, Guarantee, LaplaceCounts, SampledGaussian, calibrate, certify
from llamdex_fl.schema import Schema
from silo_client.dp_optimizer import SecureDPOptimizer, no_word_of_hooks, one_thread
from silo_client.recipe import Recipe, recipe_for
from silo_client.training import noisy_counts
from simulations.alternatives.cohorts import architecture_for
from simulations.alternatives.flower_grid import InProcessGrid
from simulations.alternatives.outcome import Cohort, Outcome, Spent
from simulations.datasets import LabelledRecord
from simulations.seeded_noise import SeededNoise

__all__ = ["dp_fedavg", "federated"]

#: Steps of a silo between two averagings.
LOCAL_STEPS = 1
_WEIGHT = "weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What all silos are told; public numbers."""

    recipe: Recipe
    counts: LaplaceCounts
    steps: SampledGaussian
    guarantee: Guarantee
    local_steps: int

    @property
    def rounds(self) -> int:
        return self.steps.steps // self.local_steps


@dataclass(kw_only=True)
class _Silo:
    """A silo's side: its records stay in here."""

    plan: _Plan
    codes_nD: NDArray[np.float64] = field(repr=False)
    labels_n: NDArray[np.int64] = field(repr=False)
    classes: int
    noise: SeededNoise
    counts_C: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        """Release the noisy counts, once."""
        self.counts_C = noisy_counts(self.labels_n, self.classes, self.plan.counts, self.noise)

    def train(
        self, weight_CD: NDArray[np.float64], offset_C: NDArray[np.float64], rate: float, penalty: float
    ) -> NDArray[np.float64]:
        """Some steps of DP-SGD from these weights, the constant code's column last."""
        recipe, mechanism = self.plan.recipe, self.plan.steps
        constant = np.full(len(self.codes_nD), recipe.constant)
        inputs = torch.from_numpy(np.column_stack([self.codes_nD, constant]))
        targets, offset = torch.from_numpy(self.labels_n), torch.from_numpy(offset_C)
        layer: torch.nn.Linear = skip_init(  # type: ignore[no-untyped-call] # torch's own
            torch.nn.Linear, weight_CD.shape[1], self.classes, bias=False, dtype=torch.float64
        )
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight_CD))
        model = GradSampleModule(layer, loss_reduction="sum")
        optimizer = SecureDPOptimizer(
            torch.optim.SGD(layer.parameters(), lr=rate, weight_decay=penalty),
            mechanism=mechanism,
            expected_batch_size=mechanism.sampling_rate * max(float(self.counts_C.sum()), recipe.least_records),
            noise=self.noise,
        )
        for _ in range(self.plan.local_steps):
            chosen = torch.from_numpy(self.noise.uniforms(len(self.labels_n)) < mechanism.sampling_rate)
            optimizer.zero_grad()
            cross_entropy(model(inputs[chosen]) + offset, targets[chosen], reduction="sum").backward()  # type: ignore[no-untyped-call] # torch's own
            optimizer.step()
        learned: NDArray[np.float64] = layer.weight.detach().numpy().copy()
        return learned


def dp_fedavg(cohort: Cohort, budget: Budget, seed: int) -> list[Outcome]:
    """Both forms of it; see the module."""
    return [federated(cohort, budget, seed), federated(cohort, budget, seed, site=True)]


def federated(
    cohort: Cohort, budget: Budget, seed: int, *, site: bool = False, local_steps: int = LOCAL_STEPS
) -> Outcome:
    """Train one expert over all silos.

    Args:
        cohort: the records.
        budget: of each silo, over all rounds.
        seed: of the noise.
        site: start from, and answer with, each silo's own noisy shares of the classes.
        local_steps: of a silo between two averagings; the number of DP-SGD steps in all is the expert's recipe's.
    """
    started = time.process_time()
    architecture, schema = architecture_for(cohort), cohort.schema
    plan = _planned(architecture, cohort, budget, local_steps)
    silos = [
        _silo(
            plan, architecture, schema, part.train, int(np.random.SeedSequence((seed, number, 2)).generate_state(1)[0])
        )
        for number, part in enumerate(cohort.splits.values())
    ]
    counts_iC = np.array([silo.counts_C for silo in silos])
    pooled_C = counts_iC.sum(axis=0)
    offsets_iC = np.log(counts_iC if site else np.tile(pooled_C, (len(silos), 1)))
    offsets_iC -= np.log(np.exp(offsets_iC).sum(axis=1, keepdims=True))
    grid = InProcessGrid(app=_client_app(silos), nodes={number + 1: {"silo": number} for number in range(len(silos))})
    weight_CD = _averaged(grid, plan, silos, offsets_iC)
    codes_mD = code_records(architecture, schema, [own.features for own in cohort.held_out]).astype(np.float64)
    logits_mC = codes_mD @ weight_CD[:, :-1].T + weight_CD[:, -1] * plan.recipe.constant + offsets_iC[cohort.silo_n]
    probabilities_mC = torch.softmax(torch.from_numpy(logits_mC), dim=1).numpy()
    return Outcome(
        method="dp_fedavg_site" if site else "dp_fedavg",
        probabilities_mC=probabilities_mC,
        rows_m=np.arange(len(probabilities_mC)),
        spent=Spent.of([plan.guarantee]),
        seconds=time.process_time() - started,
        bytes_sent=grid.bytes_sent,
        told={"rounds": plan.rounds, "local_steps": local_steps},
    )


def _planned(architecture: str, cohort: Cohort, budget: Budget, local_steps: int) -> _Plan:
    bound = 1 << (max(len(part.train) for part in cohort.splits.values()) - 1).bit_length()
    recipe = recipe_for(architecture, cohort.schema, bound)
    counts = LaplaceCounts(epsilon=recipe.counts_share * budget.epsilon)
    rough = SampledGaussian(
        sampling_rate=recipe.sampling_rate,
        noise_multiplier=1.0,
        steps=recipe.steps - recipe.steps % local_steps,
        max_grad_norm=recipe.max_grad_norm,
    )
    mechanisms = calibrate([counts, rough], epsilon=budget.epsilon, delta=budget.delta)
    steps = next(own for own in mechanisms if isinstance(own, SampledGaussian))
    return _Plan(
        recipe=recipe,
        counts=counts,
        steps=steps,
        guarantee=certify(mechanisms, budget.delta),
        local_steps=local_steps,
    )


def _silo(plan: _Plan, architecture: str, schema: Schema, records: Sequence[LabelledRecord], seed: int) -> _Silo:
    return _Silo(
        plan=plan,
        codes_nD=code_records(architecture, schema, [own.features for own in records]).astype(np.float64),
        labels_n=np.array([own.label for own in records], np.int64),
        classes=len(schema.target.labels),
        noise=SeededNoise(seed),
    )


def _client_app(silos: Sequence[_Silo]) -> ClientApp:
    app = ClientApp()

    @app.train()  # type: ignore[untyped-decorator] # Flower is not followed by mypy
    def train(message: Message, context: Context) -> Message:
        silo = silos[int(context.node_config["silo"])]
        config = message.content["config"]
        weight_CD = message.content["arrays"][_WEIGHT].numpy()
        offset_C = np.array(config["offsets"]).reshape(-1, silo.classes)[int(context.node_config["silo"])]
        learned_CD = silo.train(weight_CD, offset_C, float(config["rate"]), float(config["penalty"]))
        content = {
            "arrays": ArrayRecord({_WEIGHT: Array(learned_CD)}),
            "metrics": MetricRecord({"num-examples": float(silo.counts_C.sum())}),
        }
        return Message(RecordDict(content), reply_to=message)

    return app


def _averaged(
    grid: InProcessGrid, plan: _Plan, silos: Sequence[_Silo], offsets_iC: NDArray[np.float64]
) -> NDArray[np.float64]:
    """All rounds; the mean of the rounds' weights, later ones counting more."""
    rate, penalty = _pace(plan, silos)
    width = silos[0].codes_nD.shape[1] + 1
    mean_CD = np.zeros((silos[0].classes, width))

    def add(number: int, arrays: ArrayRecord) -> None:
        nonlocal mean_CD
        mean_CD = mean_CD + number * arrays[_WEIGHT].numpy()

    with one_thread(), no_word_of_hooks(), _quiet():
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=len(silos), min_available_nodes=len(silos))
        strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord({_WEIGHT: Array(mean_CD)}),
            num_rounds=plan.rounds,
            train_config=ConfigRecord({"offsets": offsets_iC.ravel().tolist(), "rate": rate, "penalty": penalty}),
            evaluate_fn=add,
        )
    return mean_CD / (plan.rounds * (plan.rounds + 1) / 2)


def _pace(plan: _Plan, silos: Sequence[_Silo]) -> tuple[float, float]:
    """Learning rate and penalty of the expert's recipe, for all records and the noise that averaging leaves.

    Momentum would not outlive a round, so the rate is larger instead, up to where steps become unstable.
    """
    records = max(float(sum(silo.counts_C.sum() for silo in silos)), plan.recipe.least_records)
    noise = plan.steps.noise_multiplier * len(silos) ** 0.5
    pace = plan.recipe.pace(records, replace(plan.steps, noise_multiplier=noise))
    stable = 16.0 / plan.recipe.code_length**2 if plan.recipe.loudness is not None else np.inf
    return float(min(pace.learning_rate / (1.0 - pace.momentum), stable)), pace.penalty


@contextmanager
def _quiet() -> Iterator[None]:
    """Flower tells of every round."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
