"""The cells of the experiment, and where each one's result is kept: one JSON file, whole or not there.

A cell is one data set, one method, one epsilon (none where nothing private is learned from or no privacy is given) and
one seed. What a cell was made with (iterations, questions, steps) and of which sources it comes are kept beside its
result: a cell that was made with other settings or by other code is stale: it counts as not run, and is run again.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simulations.paper.sources import sources_of

__all__ = ["DATA_SETS", "EPSILONS", "METHODS", "Cell", "Plan", "Store"]

#: Of the paper (arXiv 2410.10481).
DATA_SETS = ("titanic", "wine", "bank", "nursery")
EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
#: What is run of each, names of ``simulations.alternatives``; cheap ones first.
METHODS = (
    "assembled",
    "pooled_dp",
    "pooled",
    "synthesis_mst",
    "synthesis_aim",
    "plain_llm",
    "expert_api",
    "llm_on_synthetic_mst",
    "llm_on_synthetic_aim",
    "synthesis_dp_ctgan",
    "synthesis_mst_single_owner",
    "synthesis_aim_single_owner",
)
_NO_EPSILON = frozenset({"plain_llm", "pooled"})
_Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One cell; ``epsilon`` is None for methods that have none."""

    data_set: str
    method: str
    epsilon: float | None
    seed: int

    @property
    def place(self) -> Path:
        """Under the store."""
        epsilon = "no-epsilon" if self.epsilon is None else f"epsilon-{self.epsilon:g}"
        return Path(self.data_set, self.method, epsilon, f"seed-{self.seed}.json")

    def __str__(self) -> str:
        """For progress."""
        epsilon = "" if self.epsilon is None else f" epsilon {self.epsilon:g}"
        return f"{self.data_set} {self.method}{epsilon} seed {self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Which cells are wanted.

    Attributes:
        seeds: how many: 0, 1, 2 ...
        llm_epsilons: at which of ``epsilons`` LLMs are asked and tuned: they take minutes a cell.
    """

    data_sets: Sequence[str] = DATA_SETS
    methods: Sequence[str] = METHODS
    epsilons: Sequence[float] = EPSILONS
    seeds: int = 3
    llm_epsilons: Sequence[float] = (1.0,)

    def cells(self) -> list[Cell]:
        """All of them. Seed after seed; within one epsilon 1 first, so that what was cut off says most."""
        order = sorted(self.epsilons, key=lambda epsilon: (epsilon != 1.0, epsilon))
        found: dict[Cell, None] = {}
        for seed in range(self.seeds):
            for epsilon in order:
                for data_set in self.data_sets:
                    for method in self.methods:
                        if _takes_llm(method) and method not in _NO_EPSILON and epsilon not in self.llm_epsilons:
                            continue
                        own = None if method in _NO_EPSILON else epsilon
                        found[Cell(data_set=data_set, method=method, epsilon=own, seed=seed)] = None
        return list(found)


@dataclass(frozen=True, slots=True)
class Store:
    """The results under one directory.

    Attributes:
        root: the directory.
        settings: by method, what its cells must have been made with.
        sources: of a method and a data set, what its cells must come from: a digest by path.
    """

    root: Path
    settings: Mapping[str, Mapping[str, Any]]
    sources: Callable[[str, str], Mapping[str, str]] = sources_of

    def get(self, cell: Cell) -> _Document | None:
        """A cell's result, or None if it was not run with these settings and this code."""
        document = self._read(self.root / cell.place)
        return None if document is None or self._changed(document) else document

    def changed(self, cell: Cell) -> list[str]:
        """Why a kept cell is stale: ``settings``, or the paths that say something else; else empty."""
        document = self._read(self.root / cell.place)
        return [] if document is None else self._changed(document)

    def put(self, cell: Cell, document: Mapping[str, Any]) -> None:
        """Keep a cell's result, in the place of an earlier one."""
        path = self.root / cell.place
        path.parent.mkdir(parents=True, exist_ok=True)
        made = {"settings": dict(self.settings[cell.method]), "sources": self._sources(asdict(cell))}
        beside = path.with_name(f".{path.name}.part")
        beside.write_text(
            json.dumps({"cell": asdict(cell), **made, **document}, allow_nan=False) + "\n", encoding="utf-8"
        )
        beside.replace(path)

    def drop(self, cell: Cell) -> None:
        """Forget a cell."""
        (self.root / cell.place).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[_Document]:
        """Every result that is not stale, whatever plan it was of."""
        for path in sorted(self.root.glob("*/*/*/seed-*.json")):
            document = self._read(path)
            if document is not None and document["cell"]["method"] in self.settings and not self._changed(document):
                yield document

    @staticmethod
    def _read(path: Path) -> _Document | None:
        if not path.is_file():
            return None
        document: _Document = json.loads(path.read_text(encoding="utf-8"))
        return document

    def _sources(self, cell: Mapping[str, Any]) -> dict[str, str]:
        return dict(self.sources(cell["method"], cell["data_set"]))

    def _changed(self, document: _Document) -> list[str]:
        cell = document["cell"]
        if document["settings"] != dict(self.settings[cell["method"]]):
            return ["settings"]
        kept, now = document.get("sources", {}), self._sources(cell)
        return sorted(path for path in {*kept, *now} if kept.get(path) != now.get(path))


def _takes_llm(method: str) -> bool:
    return method in {"plain_llm", "expert_api", "assembled_llm"} or method.startswith("llm_on_synthetic")
