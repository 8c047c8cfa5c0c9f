"""The benchmark of EW-Tune on text: one guarantee, reached by three accountants, and what each leaves of the accuracy.

For every source a part is held out by a seed; on the rest the very mechanisms of a release run with the noise that
each accountant asks for. The texts are taken to be public: there is no ledger here, and results are not released under
any guarantee. Sources are worked on side by side, each in a process of its own. Legend: n records.
"""

import functools
import math
import multiprocessing
import os
import queue
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llamdex_fl.errors import InputError
from llamdex_fl.experts import Expert, TextExpert
from llamdex_fl.experts.text_base import ReadText, load_text_base
from llamdex_fl.privacy import LaplaceCounts, SampledGaussian, calibrate, certified_epsilon, find_accountant
from llamdex_fl.privacy.edgeworth import edgeworth_report
from llamdex_fl.schema import Schema
from silo_client.ew_tune_kept import KeptResults
from silo_client.noise import SecureNoise
from silo_client.text_training import TextRecipe, learn_texts
from silo_client.training import noisy_counts

__all__ = ["ROUTES", "BenchPlan", "Texts", "bench"]

#: The accountants that are compared; RDP's noise is what the others are measured against.
ROUTES = ("rdp", "pld", "edgeworth")
#: The same training without noise, from exact counts.
_CEILING = "ceiling"
_LEAST_RECORDS = 50
#: Texts of a class, with the place of their label in the schema.
Texts = Sequence[tuple[str, int]]
#: Told (source, what is being done, done, in all).
Progress = Callable[[str, str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchPlan:
    """What is measured.

    Attributes:
        architecture: of text experts.
        schema: of the texts.
        epsilon: of every guarantee; delta is records^-1.1, of the records that are trained on.
        seeds: how many splits into training and held-out texts.
        held_out: the share of texts that is held out.
        most_records: texts of a source that are used, drawn by the split's seed; None for all.
        recipe: of every training.
    """

    architecture: str
    schema: Schema
    epsilon: float
    seeds: int = 3
    held_out: float = 0.2
    most_records: int | None = None
    recipe: TextRecipe = field(default_factory=TextRecipe)

    def mechanisms(self) -> tuple[LaplaceCounts, SampledGaussian]:
        """Those of a release; the noise is still to be chosen."""
        recipe = self.recipe
        return LaplaceCounts(epsilon=recipe.counts_share * self.epsilon), SampledGaussian(
            sampling_rate=recipe.sampling_rate,
            noise_multiplier=1.0,
            steps=recipe.steps,
            max_grad_norm=recipe.max_grad_norm,
        )


def bench(
    plan: BenchPlan, sources: Mapping[str, Texts], progress: Progress | None = None, kept: Path | None = None
) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        plan: what is measured.
        sources: public texts by the name of their source.
        progress: told how far each source is.
        kept: a file to which each training's result is written, and from which results of the same plan, texts and
            noise are taken instead of training again.

    Returns:
        By source: numbers of records, delta, majority, the ceiling, and of every route its noise, what it states and
        what is certified, its saving against RDP, accuracies, and seconds of one training. Seconds are of the
        processor; those of a source are of all that it took, kept results included.

    Raises:
        InputError: a source is too small or of one class, epsilon cannot be met, or ``kept`` is another kind of file.
    """
    if not (plan.seeds >= 1 and sources and math.isfinite(plan.epsilon) and plan.epsilon > 0.0):
        raise _wrong("at least one source and one seed, and an epsilon above 0", "others")
    for name, texts in sources.items():
        if len(texts) < _LEAST_RECORDS or len({label for _, label in texts}) < len(plan.schema.target.labels):
            raise _wrong(f"at least {_LEAST_RECORDS} texts of a source, of every class", f"fewer in {name}"[:80])
    # What this process may use: taskset and containers give less than the machine has.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(len(sources), allowed)
    if workers == 1:
        return {name: _source(name, plan, texts, progress, kept) for name, texts in sources.items()}
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(told,)) as pool:
        # The longest first, so that no worker is left alone with it at the end.
        order = sorted(sources, key=lambda name: -len(sources[name]))
        waiting = {name: pool.submit(_in_worker, name, plan, sources[name], kept) for name in order}
        while not all(future.done() for future in waiting.values()):
            try:
                heard = told.get(timeout=0.2)
            except queue.Empty:
                continue
            if progress is not None:
                progress(*heard)
        return {name: waiting[name].result() for name in sources}


_told: Any = None


def _begin(told: Any) -> None:  # noqa: ANN401 - a queue between processes
    global _told  # noqa: PLW0603 - a pool's workers are told once, and by no other way
    _told = told


def _in_worker(name: str, plan: BenchPlan, texts: Texts, kept: Path | None) -> dict[str, Any]:
    return _source(name, plan, texts, lambda *heard: _told.put(heard), kept)


def _source(name: str, plan: BenchPlan, texts: Texts, progress: Progress | None, kept: Path | None) -> dict[str, Any]:
    def tell(what: str, done: int, total: int) -> None:
        if progress is not None:
            progress(name, what, done, total)

    torch.set_num_threads(1)
    if plan.most_records is not None:
        chosen = np.random.default_rng(0).permutation(len(texts))[: plan.most_records]
        texts = [texts[place] for place in chosen]
    held = round(plan.held_out * len(texts))
    delta = (len(texts) - held) ** -1.1
    began = time.process_time()
    routes = {route: _calibrated(plan, route, delta) for route in ROUTES}
    seconds = time.process_time() - began
    noise = {route: facts["noise_multiplier"] for route, facts in routes.items()}
    # All that one training's result depends on: not how many seeds there are.
    results = KeptResults(kept, [plan.architecture, plan.schema.digest(), asdict(plan.recipe), texts, held, noise])
    labels_n = np.array([label for _, label in texts], np.int64)
    orders = [np.random.default_rng(seed).permutation(len(texts)) for seed in range(plan.seeds)]
    trainings = [(seed, route) for seed in range(plan.seeds) for route in (*ROUTES, _CEILING)]
    missing = [training for training in trainings if _key(*training) not in results]
    if missing:
        began = time.process_time()
        # Once for all routes and seeds: nothing of it depends on them.
        read = load_text_base(plan.architecture).read([text for text, _ in texts], functools.partial(tell, "reading"))
        results.add("reading", seconds=time.process_time() - began)
    for seed, route in missing:
        tell("training", sum(_key(*training) in results for training in trainings), len(trainings))
        began = time.process_time()
        mechanisms = routes[route]["mechanisms"] if route in routes else _without_privacy(plan)
        test_k, train_n = orders[seed][:held], orders[seed][held:]
        expert = _train(plan, [read[n] for n in train_n], labels_n[train_n], mechanisms)
        log_odds_kC = expert.log_odds_of_read([read[n] for n in test_k])
        accuracy = float((log_odds_kC.argmax(axis=1) == labels_n[test_k]).mean())
        results.add(_key(seed, route), accuracy=accuracy, seconds=time.process_time() - began)
    tell("training", len(trainings), len(trainings))
    columns = {
        route: _summary([results[_key(seed, route)] for seed in range(plan.seeds)]) for route in (*ROUTES, _CEILING)
    }
    told: dict[str, Any] = {
        "records": len(texts) - held,
        "held_out": held,
        "delta": delta,
        "majority": statistics.fmean(_majority(labels_n, order, held) for order in orders),
        "ceiling": columns[_CEILING],
        "routes": {},
        "seconds": seconds + sum(results[key]["seconds"] for key in ["reading", *(_key(*each) for each in trainings)]),
    }
    for route in ROUTES:
        facts = {key: value for key, value in routes[route].items() if key != "mechanisms"}
        told["routes"][route] = facts | {"saving": 1.0 - noise[route] / noise["rdp"]} | columns[route]
    return told


def _key(seed: int, route: str) -> str:
    return f"{route}, seed {seed}"


def _majority(labels_n: Any, order: Any, held: int) -> float:  # noqa: ANN401 - arrays
    """What the commonest class of the training texts is right in, of the held-out ones."""
    common = np.bincount(labels_n[order[held:]]).argmax()
    return float((labels_n[order[:held]] == common).mean())


def _calibrated(plan: BenchPlan, route: str, delta: float) -> dict[str, Any]:
    began = time.process_time()
    mechanisms = calibrate(plan.mechanisms(), epsilon=plan.epsilon, delta=delta, accountant=route)
    noise = next(m.noise_multiplier for m in mechanisms if isinstance(m, SampledGaussian))
    told: dict[str, Any] = {
        "mechanisms": mechanisms,
        "noise_multiplier": noise,
        "stated_epsilon": find_accountant(route).epsilon(mechanisms, delta),
        "certified_epsilon": certified_epsilon(mechanisms, delta),
        "binds": route,
        "calibration_seconds": time.process_time() - began,
    }
    if route == "edgeworth":
        report = edgeworth_report(mechanisms, delta)
        told["binds"] = report.binds
        told["estimate"] = asdict(report.estimate)
        told["tilted_bound"] = report.upper_bound
    return told


def _without_privacy(plan: BenchPlan) -> tuple[LaplaceCounts, SampledGaussian]:
    _, steps = plan.mechanisms()
    return LaplaceCounts(epsilon=1e6), SampledGaussian(
        sampling_rate=steps.sampling_rate,
        noise_multiplier=1e-9,
        steps=steps.steps,
        max_grad_norm=steps.max_grad_norm,
    )


def _train(plan: BenchPlan, read: Sequence[ReadText], labels_n: Any, mechanisms: Sequence[Any]) -> TextExpert:  # noqa: ANN401 - an array
    counts = next(m for m in mechanisms if isinstance(m, LaplaceCounts))
    steps = next(m for m in mechanisms if isinstance(m, SampledGaussian))
    noise = SecureNoise()
    counts_C = noisy_counts(labels_n, len(plan.schema.target.labels), counts, noise)
    learned = learn_texts(
        plan.architecture, read, labels_n, counts_C, mechanism=steps, recipe=plan.recipe, noise=noise
    ) | {"class_counts": counts_C}
    # As a release is made and read, the cut to float32 included.
    tensors = {name: array.astype(np.float32) for name, array in learned.items()}
    expert = Expert.from_tensors(plan.schema, tensors, plan.architecture)
    if not isinstance(expert, TextExpert):
        raise TypeError(plan.architecture)
    return expert


def _summary(results: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    accuracies = [result["accuracy"] for result in results]
    return {
        "accuracy": statistics.fmean(accuracies),
        "spread": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "accuracies": accuracies,
        "training_seconds": statistics.fmean(result["seconds"] for result in results),
    }


def _wrong(expected: str, got: str) -> InputError:
    return InputError(
        "This benchmark cannot run.", expected=expected, got=got, next_step="see llamdex-silo ew-tune bench --help"
    )
