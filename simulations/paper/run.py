"""Runs the cells that are missing, one after another, and writes the report after each of them.

Whoever interrupts it has a report of what was done; the same command goes on. A cell that fails is told of, tried again
by the next run, and never stands in the report as a figure. Nor does one that other code made, or other settings.
"""

import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llamdex_fl.errors import LlamdexError
from llamdex_fl.experts import one_against_rest
from llamdex_fl.privacy import Budget
from simulations.alternatives import Cohort, Settings, alternatives, architecture_for, delta_for, load_cohort
from simulations.alternatives.methods import METHODS as KNOWN
from simulations.alternatives.outcome import Outcome
from simulations.local_consortium.lock import take_lock
from simulations.paper.cells import Cell, Plan, Store
from simulations.paper.report import report_of, write_report

__all__ = ["PaperSettings", "run_paper"]

#: Of a cell of which nothing is known, in seconds: for the time left.
_UNKNOWN_S = 60.0
#: ``(cell, done, in all, seconds left, why a kept one is stale)``, before a cell and after the last.
Told = Callable[[Cell | None, int, int, float, list[str]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperSettings:
    """How the experiment is made again.

    Attributes:
        out: under which ``paper/`` is made.
        plan: what is run.
        methods: how the alternatives are run.
        base_llm: the name that is kept with the cells of LLMs.
        connectors: a digest of those through which ``assembled_llm`` is asked.
        again: run the plan's cells even where they are kept.
        report_only: run nothing; another run may be going on meanwhile.
        cohort_of: where the records come from.
    """

    out: Path = Path("out/sim")
    plan: Plan = field(default_factory=Plan)
    methods: Settings = field(default_factory=Settings)
    base_llm: str = "packaged"
    connectors: str | None = None
    again: bool = False
    report_only: bool = False
    cohort_of: Callable[[str, int], Cohort] = load_cohort

    @property
    def store(self) -> Store:
        """Where the cells are."""
        return Store(self.out / "paper" / "cells", {name: _made_with(name, self) for name in KNOWN})


def run_paper(settings: PaperSettings, told: Told, failed: Callable[[Cell, LlamdexError], None]) -> dict[str, Any]:
    """Run what is missing.

    Args:
        settings: what, and how.
        told: of the progress.
        failed: told of each cell that failed; the next is run all the same.

    Returns:
        The report.

    Raises:
        PortInUseError: another run uses the directory.
        ArtefactError: the data cannot be had.
    """
    out, store = settings.out / "paper", settings.store
    out.mkdir(parents=True, exist_ok=True)
    if settings.report_only:  # cells and report are whole at any moment, so another run may be going on
        return _written(store, settings.plan, [], out)
    descriptor = take_lock(out / ".lock")
    try:
        cells = settings.plan.cells()
        missing = [cell for cell in cells if settings.again or store.get(cell) is None]
        cohort_of = functools.lru_cache(maxsize=2)(settings.cohort_of)
        failures: list[dict[str, Any]] = []
        for number, cell in enumerate(missing):
            done = len(cells) - len(missing) + number
            told(cell, done, len(cells), _left(store, missing[number:]), store.changed(cell))
            try:
                document = _made(cell, cohort_of(cell.data_set, cell.seed), settings.methods)
            except LlamdexError as error:
                failed(cell, error)
                failures.append({**asdict(cell), "problem": error.problem, "got": error.got})
                continue
            store.put(cell, document)
            write_report(report_of(store, settings.plan, failures), out)
        told(None, len(cells), len(cells), 0.0, [])
        return _written(store, settings.plan, failures, out)
    finally:
        os.close(descriptor)


def _written(store: Store, plan: Plan, failures: Sequence[Mapping[str, Any]], out: Path) -> dict[str, Any]:
    report = report_of(store, plan, failures)
    write_report(report, out, rows=True)
    return report


def _made(cell: Cell, cohort: Cohort, methods: Settings) -> dict[str, Any]:
    # A method without an epsilon gets one, and does not look at it.
    delta = delta_for(cohort)
    budget = Budget(epsilon=cell.epsilon or 1.0, delta=delta)
    began = time.perf_counter()
    outcomes = alternatives([cell.method], methods)[cell.method](cohort, budget, cell.seed)
    labels_n = cohort.labels_n
    return {
        "delta": delta,
        "architecture": architecture_for(cohort),
        "silos": {silo: len(part.train) for silo, part in cohort.splits.items()},
        "held_out": len(labels_n),
        "majority": float(np.bincount(labels_n).max() / len(labels_n)),
        "outcomes": [_scored(outcome, labels_n) for outcome in outcomes],
        "wall_s": round(time.perf_counter() - began, 3),
    }


def _scored(outcome: Outcome, labels_n: Any) -> dict[str, Any]:  # noqa: ANN401 - an array
    labels_m = labels_n[outcome.rows_m]
    right_m = outcome.probabilities_mC.argmax(axis=1) == labels_m
    several = len(np.unique(labels_m)) > 1
    return {
        "method": outcome.method,
        "accuracy": float(right_m.mean()),
        "auc": one_against_rest(outcome.probabilities_mC, labels_m) if several else None,
        "right": "".join("1" if right else "0" for right in right_m),
        # None: all of them, in their order.
        "rows": None if len(labels_m) == len(labels_n) else outcome.rows_m.tolist(),
        "guarantee": asdict(outcome.spent) if outcome.spent else None,
        "seconds": outcome.seconds,
        "bytes_sent": outcome.bytes_sent,
        "told": dict(outcome.told),
    }


def _left(store: Store, cells: Sequence[Cell]) -> float:
    """Seconds that these cells will take, by those of the same method that were run, of the same data set if any."""
    took: dict[tuple[str, ...], list[float]] = {}
    for document in store:
        cell = document["cell"]
        for key in ((cell["method"], cell["data_set"]), (cell["method"],)):
            took.setdefault(key, []).append(document["wall_s"])
    return sum(_mean(took.get((cell.method, cell.data_set)) or took.get((cell.method,))) for cell in cells)


def _mean(values: Sequence[float] | None) -> float:
    return sum(values) / len(values) if values else _UNKNOWN_S


def _made_with(method: str, settings: PaperSettings) -> Mapping[str, Any]:
    """What decides a method's figures beside data set, epsilon and seed."""
    llm, lora, synthesis = settings.methods.llm, settings.methods.lora, settings.methods.synthesis
    kind = "mst" if "mst" in method else "aim" if "aim" in method else None
    found: dict[str, Any] = {}
    if kind is not None:
        found |= {"iterations": synthesis.iterations(kind), "model_megabytes": synthesis.model_megabytes}
    if method == "assembled_llm":
        found |= {"connectors": settings.connectors}
    if method in {"plain_llm", "expert_api", "assembled_llm"} or method.startswith("llm_on"):
        found |= {"base_llm": settings.base_llm, "questions": llm.questions}
    if method.startswith("llm_on"):
        found |= {"tuning_steps": lora.steps, "batch": lora.batch, "rank": lora.rank}
    return found
