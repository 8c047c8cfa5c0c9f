"""Labelled records, and what is done with them before a silo sees them."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llamdex_fl.schema import Schema, Value

__all__ = ["LabelledRecord", "Split", "split", "write_silo_csv"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledRecord:
    """One record: feature name to value (absent features are left out), and the label's place in the schema."""

    features: dict[str, Value]
    label: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Records for training, and those that are kept apart and only ever evaluated on."""

    train: tuple[LabelledRecord, ...]
    held_out: tuple[LabelledRecord, ...]


def split(records: Sequence[LabelledRecord], seed: int, fraction: float = 0.25) -> Split:
    """Keep a part apart by one plain random permutation: it looks at nothing but the number of records.

    Raises:
        ValueError: the fraction is not between 0 and 1, both excluded.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"fraction must be above 0 and below 1, not {fraction}")
    order = np.random.default_rng(seed).permutation(len(records))
    held_out = round(fraction * len(records))
    return Split(
        train=tuple(records[index] for index in order[held_out:]),
        held_out=tuple(records[index] for index in order[:held_out]),
    )


def write_silo_csv(path: Path, schema: Schema, records: Sequence[LabelledRecord]) -> None:
    """Write a silo's data file, readable by its owner only; an absent value is an empty cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [feature.name for feature in schema.features]
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, schema.target.name])
        for record in records:
            cells = [record.features.get(name) for name in names]
            writer.writerow(["" if cell is None else cell for cell in cells] + [schema.target.labels[record.label]])
    unfinished.replace(path)
