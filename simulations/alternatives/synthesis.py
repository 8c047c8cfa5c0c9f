"""Differentially private synthesis: each silo draws a table of its own; the tables are pooled and learned from.

AIM (McKenna et al., arXiv 2201.12677) and MST (McKenna, Miklau and Sheldon, arXiv 2108.04978), as dpmm has them. It
needs versions of its own, so it runs in another environment, by a process that reads and writes files. A silo spends
its whole epsilon on its table; what is learned from the tables costs nothing more. The guarantee is dpmm's own:
zero-concentrated DP, converted as in arXiv 2004.00010; neighbours differ by one record added or removed. A GAN of the
DP-CTGAN kind is ours (``dp_gan``), and so is its accountant.
"""

import csv
import functools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import ConfigError, ProcessError
from llamdex_fl.privacy import Budget
from llamdex_fl.schema import Schema
from simulations.alternatives.dp_gan import draw_table
from simulations.alternatives.experts import everything
from simulations.alternatives.outcome import Cohort, Outcome, Spent, with_silo
from simulations.alternatives.whole_numbers import columns, from_whole_numbers, to_whole_numbers
from simulations.datasets import LabelledRecord
from simulations.tabular import boosting, record_bound, regression

__all__ = [
    "METHODS",
    "SynthesisSettings",
    "SyntheticTable",
    "has_environment",
    "needs_environment",
    "synthesis",
    "synthesise",
    "synthetic_cohort",
]

METHODS = ("mst", "aim", "dp_ctgan")
#: What dpmm has, and needs an environment for.
_OF_DPMM = frozenset({"mst", "aim"})
_ENVIRONMENT = "LLAMDEX_SYNTHESIS_PYTHON"
_ROOT = Path(__file__).parents[2]
_WORKER = Path(__file__).with_name("synthesis_worker.py")
_CONSUMERS: Mapping[str, Callable[..., NDArray[np.float64] | None]] = {"regression": regression, "boosting": boosting}


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthesisSettings:
    """How long a synthesis may think; the privacy does not depend on it.

    Attributes:
        mst_iterations, aim_iterations: of each inference (mirror descent); None for dpmm's own 5,000 and 1,000.
        model_megabytes: largest graphical model; the authors of AIM recommend 80 for comparisons.
        timeout_s: of one table.
    """

    mst_iterations: int | None = 300
    aim_iterations: int | None = 100
    model_megabytes: float = 80.0
    timeout_s: float = 1800.0

    def iterations(self, method: str) -> int | None:
        """Of this method."""
        return {"mst": self.mst_iterations, "aim": self.aim_iterations}.get(method)


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticTable:
    """What one owner publishes."""

    records: Sequence[LabelledRecord]
    spent: Spent
    bytes_sent: int
    seconds: float
    marginals: int


def synthesise(  # noqa: PLR0913, PLR0917 - what one table needs
    schema: Schema,
    records: Sequence[LabelledRecord],
    method: str,
    budget: Budget,
    seed: int,
    settings: SynthesisSettings | None = None,
) -> SyntheticTable:
    """Draw a synthetic table.

    Args:
        schema: of the records; its ranges and categories are all that is known beforehand.
        records: of one owner.
        method: one of ``METHODS``.
        budget: of the whole table.
        seed: of the simulation's noise.
        settings: None for the defaults.

    Raises:
        ConfigError: there is no environment for it.
        ProcessError: it failed, or took too long.
    """
    settings = SynthesisSettings() if settings is None else settings
    if method not in _OF_DPMM:
        return _by_gan(schema, records, budget, seed)
    domain = columns(schema)
    with tempfile.TemporaryDirectory() as folder:
        table, synthetic = Path(folder) / "table.csv", Path(folder) / "synthetic.csv"
        _write(table, list(domain), to_whole_numbers(schema, records))
        request = {
            "table": str(table),
            "synthetic": str(synthetic),
            "domain": domain,
            "method": method,
            "epsilon": budget.epsilon,
            "delta": budget.delta,
            "seed": seed % 2**32,
            "iterations": settings.iterations(method),
            "model_megabytes": settings.model_megabytes,
        }
        reply = _asked(request, settings.timeout_s)
        numbers = _read(synthetic, len(domain))
        size = synthetic.stat().st_size
    return SyntheticTable(
        records=from_whole_numbers(schema, numbers, seed),
        spent=Spent(
            epsilon=budget.epsilon,
            delta=budget.delta,
            accountant=f"zcdp, rho {reply['rho']:.6g}, {reply['version']}",
            table="each silo's",
        ),
        bytes_sent=size,
        seconds=float(reply["seconds"]),
        marginals=len(reply["marginals"]),
    )


def _by_gan(schema: Schema, records: Sequence[LabelledRecord], budget: Budget, seed: int) -> SyntheticTable:
    started = time.process_time()
    sizes = list(columns(schema).values())
    drawn = draw_table(to_whole_numbers(schema, records), sizes, record_bound(len(records)), budget, seed)
    return SyntheticTable(
        records=from_whole_numbers(schema, drawn.numbers, seed),
        spent=Spent.of([drawn.guarantee]),
        bytes_sent=sum(len(" ".join(map(str, row))) + 1 for row in drawn.numbers.tolist()),
        seconds=time.process_time() - started,
        marginals=0,
    )


def synthesis(
    method: str, *, single_owner: bool = False, settings: SynthesisSettings | None = None
) -> Callable[[Cohort, Budget, int], list[Outcome]]:
    """The alternative: what is learned from a method's tables, by each consumer, whose silo each record is known.

    Args:
        method: one of ``METHODS``.
        single_owner: one owner of all records makes one table, with each record's silo as a column.
        settings: None for the defaults.
    """

    def answer(cohort: Cohort, budget: Budget, seed: int) -> list[Outcome]:
        known = with_silo(cohort)
        if single_owner:
            tables = [synthesise(known.schema, everything(known), method, budget, _seed(seed, -1), settings)]
            drawn = list(tables[0].records)
        else:
            drawn, tables = synthetic_cohort(cohort, method, budget, seed, settings)
        name = f"synthesis_{method}" + ("_single_owner" if single_owner else "")
        return _consumed(name, known, drawn, tables, "the pooled" if single_owner else "each silo's")

    return answer


@functools.lru_cache(maxsize=4)
def synthetic_cohort(
    cohort: Cohort, method: str, budget: Budget, seed: int, settings: SynthesisSettings | None = None
) -> tuple[list[LabelledRecord], list[SyntheticTable]]:
    """Each silo's table, pooled, with the silo that published it as a feature; and the tables by silo."""
    known = with_silo(cohort)
    name = known.schema.features[-1].name
    tables = [
        synthesise(cohort.schema, part.train, method, budget, _seed(seed, number), settings)
        for number, part in enumerate(cohort.splits.values())
    ]
    pooled = [
        LabelledRecord(features={**record.features, name: silo}, label=record.label)
        for silo, table in zip(cohort.splits, tables, strict=True)
        for record in table.records
    ]
    return pooled, tables


def _consumed(
    name: str, known: Cohort, drawn: Sequence[LabelledRecord], tables: Sequence[SyntheticTable], whose: str
) -> list[Outcome]:
    outcomes = []
    spent = tables[0].spent
    for consumer, learn in _CONSUMERS.items():
        started = time.process_time()
        answers_nC = learn(known.schema, drawn, known.held_out)
        if answers_nC is None:
            continue
        outcomes.append(
            Outcome(
                method=f"{name}+{consumer}",
                probabilities_mC=answers_nC,
                rows_m=np.arange(len(answers_nC)),
                spent=Spent(epsilon=spent.epsilon, delta=spent.delta, accountant=spent.accountant, table=whose),
                seconds=sum(table.seconds for table in tables) + time.process_time() - started,
                bytes_sent=sum(table.bytes_sent for table in tables),
                told={"records": [len(table.records) for table in tables]},
            )
        )
    return outcomes


def _asked(request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """The worker's reply. What it prints of an error stays out of ours: it may hold a private value."""
    python = _python()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    try:
        done = subprocess.run(
            [str(python), "-W", "ignore", str(_WORKER)],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(f"nothing within {timeout_s:g} s", "allow more seconds, or fewer iterations") from error
    try:
        reply: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        kind = next((line.partition(":")[0] for line in reversed(done.stderr.splitlines()) if line.strip()), "no word")
        raise _failed(f"exit code {done.returncode}, {kind[:80]}", "make synthesis-env, then again") from error
    return reply


def needs_environment(name: str) -> bool:
    """Whether an alternative of this name needs the environment."""
    return any(name.startswith((f"synthesis_{own}", f"llm_on_synthetic_{own}")) for own in _OF_DPMM)


def has_environment() -> bool:
    """Whether there is an interpreter for it."""
    return _place().is_file()


def _place() -> Path:
    given = os.environ.get(_ENVIRONMENT)
    return Path(given) if given else _ROOT / ".venv-synthesis" / "bin" / "python"


def _python() -> Path:
    python = _place()
    if python.is_file():
        return python
    raise ConfigError(
        "There is no environment for synthesis: it needs versions that this program cannot have beside its own.",
        expected=f"an interpreter with dpmm at {python}",
        got="nothing",
        next_step=f"make synthesis-env, or name such an interpreter in {_ENVIRONMENT}, or leave synthesis out",
    )


def _failed(got: str, next_step: str) -> ProcessError:
    return ProcessError("The synthesis of a table failed.", expected="a synthetic table", got=got, next_step=next_step)


def _write(path: Path, names: Sequence[str], table: NDArray[np.int64]) -> None:
    with path.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(table.tolist())


def _read(path: Path, width: int) -> NDArray[np.int64]:
    return np.loadtxt(path, np.int64, delimiter=",", skiprows=1, ndmin=2).reshape(-1, width)


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence((seed, number + 1, 6)).generate_state(1)[0])
