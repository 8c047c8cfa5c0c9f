"""What privacy costs in time: a DP-SGD step beside a plain one, an estimate, a certified calibration.

A private and a plain step train the same model on batches that are drawn alike from records of the same size; both
run in turns, so that a busy machine troubles them alike, and the median of the turns' ratios counts.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from llamdex_fl.experts import coded_size
from llamdex_fl.privacy import SampledGaussian, calibrated_noise, edgeworth_estimate, plan
from llamdex_fl.privacy.accounting import forget_compositions
from llamdex_fl.schema import load_library_schema
from silo_client.noise import SecureNoise
from silo_client.training import Recipe, _dp_sgd
from simulations.benchmarks.text_step import text_step_ratio

__all__ = ["TARGETS", "measure_privacy"]

#: What the product promises: a private step over a plain one at most, an estimate and a calibration at most.
TARGETS = {"step_ratio": 3.0, "text_step_ratio": 2.0, "estimate_ms": 20.0, "calibration_seconds": 10.0}

#: Records of a silo; half of them are in a batch.
_SILOS = (230, 2000)
_STEPS = 60
#: Texts of a silo, a quarter of which is in a batch, and steps of a turn.
_TEXTS = (400, 2000)
_TEXT_STEPS = 10
_ESTIMATED_STEPS = (100, 10_000, 1_000_000)
#: Records, batch size, epochs, epsilon of trainings as they occur; delta is records^-1.1.
_TRAININGS = (
    (67_349, 256, 3, 8.0),
    (67_349, 256, 10, 1.0),
    (500, 64, 30, 8.0),
    (500, 64, 10, 1.0),
    (2_000, 128, 10, 2.0),
    (5_000, 64, 10, 1.0),
    (30_000, 256, 10, 0.5),
)


def measure_privacy(*, rounds: int = 7, on_part: Callable[[int, int], None] | None = None) -> Any:  # noqa: ANN401 - a JSON document
    """Run the benchmark; a minute of one core.

    Args:
        rounds: turns of private and plain steps, and repetitions of an estimate.
        on_part: told (parts done, in all).

    Returns:
        A JSON document with ``step_ratio`` and ``text_step_ratio`` (the largest ones), ``step`` and ``text_step`` by
        records, ``estimate_ms`` by steps, and ``calibration_seconds`` by training.
    """
    parts = len(_SILOS) + len(_TEXTS) + len(_ESTIMATED_STEPS) + len(_TRAININGS)
    done = 0

    def one() -> None:
        nonlocal done
        done += 1
        if on_part is not None:
            on_part(done, parts)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        step = {}
        for records in _SILOS:
            step[str(records)] = _step(records, rounds)
            one()
        text_step = {}
        for records in _TEXTS:
            text_step[str(records)] = text_step_ratio(records, rounds, _TEXT_STEPS)
            one()
    finally:
        torch.set_num_threads(threads)
    estimates, calibrations = {}, {}
    for steps in _ESTIMATED_STEPS:
        estimates[str(steps)] = _estimate(steps, rounds)
        one()
    for training in _TRAININGS:
        calibrations["{} records, batch {}, {} epochs, epsilon {:g}".format(*training)] = _calibration(training)
        one()
    return {
        "step_ratio": max(row["ratio"] for row in step.values()),
        "step": step,
        "text_step_ratio": max(row["ratio"] for row in text_step.values()),
        "text_step": text_step,
        "estimate_ms": estimates,
        "calibration_seconds": calibrations,
        "targets": TARGETS,
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "note": "median of the turns; one thread",
    }


def _step(records: int, rounds: int) -> dict[str, float]:
    random = np.random.default_rng(0)
    codes_nD = random.normal(0.0, 0.3, (records, coded_size(load_library_schema("heart"))))
    labels_n = random.integers(0, 2, records)
    turns = []
    # One turn more than is counted: the first loads and allocates.
    for number in range(rounds + 1):
        private, plain = (_timed(run, codes_nD, labels_n) for run in (_private, _plain))
        if number:
            turns.append((private / plain, private, plain))
    ratio, private, plain = (statistics.median(column) for column in zip(*turns, strict=True))
    return {"ratio": round(ratio, 2), "private_ms": round(1e3 * private, 3), "plain_ms": round(1e3 * plain, 3)}


def _timed(
    run: Callable[[NDArray[np.float64], NDArray[np.int64]], None],
    codes_nD: NDArray[np.float64],
    labels_n: NDArray[np.int64],
) -> float:
    """Seconds a step."""
    started = time.perf_counter()
    run(codes_nD, labels_n)
    return (time.perf_counter() - started) / _STEPS


def _private(codes_nD: NDArray[np.float64], labels_n: NDArray[np.int64]) -> None:
    recipe = Recipe(steps=_STEPS)
    mechanism = SampledGaussian(
        sampling_rate=recipe.sampling_rate, noise_multiplier=5.0, steps=_STEPS, max_grad_norm=recipe.max_grad_norm
    )
    _dp_sgd(codes_nD, labels_n, np.bincount(labels_n).astype(np.float64), mechanism, recipe, SecureNoise(), None)


def _plain(codes_nD: NDArray[np.float64], labels_n: NDArray[np.int64]) -> None:
    """The same model without privacy, as one would write it."""
    recipe, noise = Recipe(), SecureNoise()
    inputs, targets = torch.from_numpy(codes_nD), torch.from_numpy(labels_n)
    layer = torch.nn.Linear(inputs.shape[1], 2, dtype=torch.float64)
    optimizer = torch.optim.SGD(
        layer.parameters(), lr=recipe.learning_rate, weight_decay=recipe.l2_records / len(labels_n)
    )
    for _ in range(_STEPS):
        chosen = torch.from_numpy(noise.uniforms(len(labels_n)) < recipe.sampling_rate)
        optimizer.zero_grad()
        cross_entropy(layer(inputs[chosen]), targets[chosen]).backward()  # type: ignore[no-untyped-call] # torch's own
        optimizer.step()


def _estimate(steps: int, rounds: int) -> float:
    """Milliseconds of an Edgeworth estimate, the median."""
    mechanism = SampledGaussian(sampling_rate=0.01, noise_multiplier=1.0, steps=steps, max_grad_norm=1.0)
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        edgeworth_estimate([mechanism], 1e-5)
        seconds.append(time.perf_counter() - started)
    return round(1e3 * statistics.median(seconds[1:]), 2)


def _calibration(training: Sequence[float]) -> float:
    records, batch, epochs, epsilon = training
    rate, steps = plan(records=int(records), batch=int(batch), epochs=int(epochs))
    rough = SampledGaussian(sampling_rate=rate, noise_multiplier=1.0, steps=steps, max_grad_norm=1.0)
    forget_compositions()
    started = time.perf_counter()
    calibrated_noise([rough], epsilon=epsilon, delta=records**-1.1, accountant="pld")
    return round(time.perf_counter() - started, 2)
