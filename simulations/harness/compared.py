"""The assembly against every silo alone and against the other ways: paired over the seeds and records that both have.

A difference is the assembly's figure less the other's. Accuracy is compared by record (``paired_difference``), AUC by
seed (``seed_difference``); seeds share records, so intervals are somewhat too narrow.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.privacy import ADJACENCY, UNIT
from simulations.alternatives.paired import interval, paired_difference, seed_difference
from simulations.harness.seed_run import SeedResult
from simulations.harness.ways import SweptScore, Way

__all__ = ["costs", "owners", "paired", "student", "swept", "versus"]

_Ways = Mapping[int, Sequence[Way]]
_OWN = "alone_own"


def student(numbers: Sequence[float]) -> list[float] | None:
    """Student's 95 % interval of the mean over seeds; None for one seed."""
    found = interval(numbers)
    return None if found.low is None or found.high is None else [found.low, found.high]


def versus(results: Sequence[SeedResult], ways: _Ways, names: Iterable[str]) -> dict[str, Any]:
    """Means and intervals of other forms of the ways, ``alone_own`` among them: each silo asks its own expert."""
    values: dict[str, tuple[list[float], list[float]]] = {}
    own = [(result.look.right["own"], result.look.own_auc) for result in results if "own" in result.look.right]
    if own:
        areas = [area for _, area in own if area is not None]
        values[_OWN] = [float(_right(bits).mean()) for bits, _ in own], areas
    for name in names:
        found = [way for result in results for way in ways.get(result.seed, ()) if way.name == name]
        values[name] = [way.accuracy for way in found], [way.auc for way in found]
    return {
        name: {
            "accuracy": fmean(accuracy),
            "accuracy_interval": student(accuracy),
            "auc": fmean(areas) if areas else None,
            "auc_interval": student(areas) if areas else None,
        }
        for name, (accuracy, areas) in values.items()
        if accuracy
    }


def paired(results: Sequence[SeedResult], ways: _Ways) -> dict[str, Any]:
    """The assembly less each other way and each silo alone.

    Returns:
        ``best_silo`` (by its mean AUC) and ``assembled_less {name: {accuracy, auc}}``; silos are ``alone: NAME``.
    """
    ours = {result.seed: result for result in results if result.assembled and "assembled" in result.look.right}
    if not ours:
        return {"best_silo": None, "assembled_less": {}}
    silos = set.intersection(*(set(result.alone) & set(result.look.alone) for result in ours.values()))
    best = max(sorted(silos), key=lambda silo: fmean(own.alone[silo].auc for own in ours.values()), default=None)
    others: dict[str, dict[int, tuple[str, float]]] = {
        f"alone: {silo}": {seed: (own.look.alone[silo], own.alone[silo].auc) for seed, own in ours.items()}
        for silo in sorted(silos)
    }
    others[_OWN] = {seed: (own.look.right["own"], own.look.own_auc or 0.0) for seed, own in ours.items()}
    for seed in ours:
        for way in ways.get(seed, ()):
            others.setdefault(way.name, {})[seed] = way.right, way.auc
    return {
        "best_silo": best,
        "assembled_less": {name: _difference(ours, found) for name, found in others.items() if found},
    }


def _difference(ours: Mapping[int, SeedResult], other: Mapping[int, tuple[str, float]]) -> dict[str, Any]:
    seeds = [seed for seed in ours if seed in other]
    right = [_right(ours[seed].look.right["assembled"]) for seed in seeds]
    areas = [score.auc for score in (ours[seed].assembled for seed in seeds) if score]
    return {
        "accuracy": asdict(paired_difference(right, [_right(other[seed][0]) for seed in seeds])),
        "auc": asdict(seed_difference(areas, [other[seed][1] for seed in seeds])),
    }


def owners(results: Sequence[SeedResult]) -> dict[str, Any]:
    """Of each silo's own records: its own expert, the assembly, and the difference; who is worse off.

    A silo is worse off where the assembly is right less often, on its own records, than its own expert, mean over the
    seeds; ``surely`` are those whose whole interval says so.
    """
    silos = list(dict.fromkeys(silo for result in results for silo in result.look.own))
    table = {}
    for silo in silos:
        rows = [result.look.own[silo] for result in results if silo in result.look.own]
        both = [row for row in rows if row["alone"] is not None]
        gaps = [row["assembled"] - row["alone"] for row in both]
        table[silo] = {
            "asked": sum(row["asked"] for row in rows),
            "assembled": fmean(row["assembled"] for row in rows),
            "alone": fmean(row["alone"] for row in both) if both else None,
            "difference": fmean(gaps) if gaps else None,
            "difference_interval": student(gaps) if gaps else None,
        }
    worse = [silo for silo, own in table.items() if own["difference"] is not None and own["difference"] < 0.0]
    surely = [silo for silo in worse if (found := table[silo]["difference_interval"]) and found[1] < 0.0]
    return {"silos": table, "worse_off": worse, "surely_worse_off": surely}


def costs(results: Sequence[SeedResult], ways: _Ways, delta: float) -> dict[str, Any]:
    """By way: CPU seconds, bytes that leave the silos, and the guarantee; means over the seeds.

    Args:
        results: one a seed.
        ways: by seed.
        delta: of the releases.
    """
    spent = [epsilon for result in results for epsilon in result.accounts.epsilon.values()]
    table: dict[str, Any] = {
        "assembled": {
            "seconds": fmean(result.measured.get("rounds_cpu_s", 0.0) for result in results),
            "bytes_sent": fmean(result.measured.get("bytes_sent", 0.0) for result in results),
            "guarantee": {
                "epsilon": max(spent, default=0.0),
                "delta": delta,
                "accountant": "pld",
                "table": "each silo's",
                "adjacency": ADJACENCY,
                "unit": UNIT,
            },
            "what": "sealed envelopes, through the upload service; CPU seconds of all rounds but the provider's",
        }
    }
    for name in dict.fromkeys(way.name for own in ways.values() for way in own):
        found = [way for own in ways.values() for way in own if way.name == name]
        table[name] = {
            "seconds": fmean(way.seconds for way in found),
            "bytes_sent": fmean(float(way.bytes_sent) for way in found),
            "guarantee": found[0].guarantee,
            "what": "as they would be sent, unsealed; CPU seconds of learning and answering",
        }
    return table


def swept(scores: Sequence[SweptScore]) -> dict[str, Any]:
    """``{axis: [{value, seeds, ways {way: {accuracy, auc, …_interval}}, best_alone}]}``, values rising."""
    axes: dict[str, Any] = {}
    for axis, value in sorted({(own.axis, own.value) for own in scores}):
        here = [own for own in scores if (own.axis, own.value) == (axis, value)]
        point: dict[str, Any] = {"value": value, "seeds": len({own.seed for own in here}), "ways": {}}
        for name in dict.fromkeys(own.way for own in here if not own.way.startswith("alone: ")):
            point["ways"][name] = _point([own for own in here if own.way == name])
        for name, pick in (("alone, best", max), ("alone, mean", _mean), ("alone, worst", min)):
            point["ways"][name] = _point(_of_silos(here, pick))
        axes.setdefault(axis, []).append(point)
    return axes


def _of_silos(here: Sequence[SweptScore], pick: Callable[[list[float]], float]) -> list[SweptScore]:
    """By seed, one made of all silos' scores."""
    found = []
    for seed in dict.fromkeys(own.seed for own in here):
        silos = [own for own in here if own.seed == seed and own.way.startswith("alone: ")]
        if silos:
            first = silos[0]
            found.append(
                SweptScore(
                    axis=first.axis,
                    value=first.value,
                    seed=seed,
                    silos=first.silos,
                    way="alone",
                    accuracy=pick([own.accuracy for own in silos]),
                    auc=pick([own.auc for own in silos]),
                )
            )
    return found


def _point(scores: Sequence[SweptScore]) -> dict[str, Any]:
    accuracy, areas = [own.accuracy for own in scores], [own.auc for own in scores]
    return {
        "accuracy": fmean(accuracy),
        "accuracy_interval": student(accuracy),
        "auc": fmean(areas),
        "auc_interval": student(areas),
    }


def _mean(values: list[float]) -> float:
    return fmean(values)


def _right(bits: str) -> NDArray[np.bool_]:
    return np.array([bit == "1" for bit in bits], np.bool_)
