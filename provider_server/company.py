"""Who is unlike all others, where many silos have an expert of the same kind.

A silo that trains on turned labels, or on records with a trigger, sends weights of an honest size that hardly agree
with anybody's. Beside three others that cannot be told from noise, so ``provider_server.quarantine`` only refuses what
points against them. In a company of eight or more it can: each expert's agreement is the cosine of its weights to
the element-wise median of all, and who has less than a share of the middle agreement is odd.

Three things keep honest sites from being odd. Where the company's agreements are spread widely, because its sites
differ or are small, only who is far outside that spread is. Offsets (the tensor ``bias``) are left out: they follow how
common the classes are at a site, in which honest sites differ most, and they hide that the rest does not agree. And who
has few records of its rarer classes is not judged: its weights are mostly noise, and the experts' combination hardly
listens.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llamdex_fl import weights

__all__ = ["LEAST", "agreements", "odd_ones"]

#: Experts of a company; fewer cannot tell odd from noisy.
LEAST = 8
#: Elements of an expert, at most: all of them are held at once.
_SMALL = 1 << 16
_COUNTS, _OFFSETS = "class_counts", "bias"
#: A company whose middle agreement is below this agrees on nothing: nobody in it is odd.
_CONSENSUS = 0.1
#: Of the middle size: who is smaller is not judged.
_SIZE = 0.5
#: How many standard deviations below the middle an odd one is at least; of a normal spread one in 740 is.
_FAR = 3.0
#: From the median absolute deviation to the standard deviation of a normal spread.
_NORMAL = 1.4826


def odd_ones(artefacts: Sequence[Path], likeness: float) -> dict[int, str] | None:
    """The odd ones among experts of one schema and architecture.

    Args:
        artefacts: the weights, one a silo.
        likeness: share of the middle agreement that an expert needs.

    Returns:
        By place, why; None where nobody can be judged: the company is too small, of experts too large, or agrees on
        nothing.

    Raises:
        ArtefactError: a file is missing.
        WeightsError: a file is damaged.
    """
    if len(artefacts) < LEAST:
        return None
    experts = [_expert(path, path.stat().st_mtime_ns) for path in artefacts]
    if len({expert[0].shape if expert else None for expert in experts}) != 1 or experts[0] is None:
        return None
    weights_iD = np.array([expert[0] for expert in experts if expert])
    sizes_i = np.array([expert[1] for expert in experts if expert])
    found_i = agreements(weights_iD)
    middle = float(np.median(found_i))
    if middle < _CONSENSUS:
        return None
    spread = _NORMAL * float(np.median(np.abs(found_i - middle)))
    least = min(likeness * middle, middle - _FAR * spread)
    odd_i = (found_i < least) & (sizes_i >= _SIZE * np.median(sizes_i))
    return {
        int(place): (
            f"it is unlike the others of its company: agreement {found_i[place]:.2f}, where the middle one of "
            f"{len(artefacts)} is {middle:.2f}"
        )
        for place in np.flatnonzero(odd_i)
    }


def agreements(weights_iD: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cosine of each row to the median of all rows; 1 where one of the two is nothing."""
    median_D = np.median(weights_iD, axis=0)
    lengths_i = np.linalg.norm(weights_iD, axis=1) * np.linalg.norm(median_D)
    products_i = weights_iD @ median_D
    found_i: NDArray[np.float64] = np.ones(len(weights_iD))
    np.divide(products_i, lengths_i, out=found_i, where=lengths_i > 0.0)
    return found_i


@lru_cache(maxsize=2048)
def _expert(path: Path, _changed_ns: int) -> tuple[NDArray[np.float64], float] | None:
    """Weights without offsets, and about the rarer class's count; None if it is too large to be held."""
    shapes = weights.read_shapes(path)
    if sum(int(np.prod(shape)) for shape in shapes.values()) > _SMALL:
        return None
    parts: list[NDArray[np.float64]] = []
    counts = np.zeros(0)
    for name, part in weights.slices(path):
        if name == _COUNTS:
            counts = np.append(counts, part.astype(np.float64))
        elif name != _OFFSETS:
            parts.append(part.astype(np.float64))
    total = float(counts.sum())
    size = total * (1.0 - float(((counts / total) ** 2).sum())) / 2.0 if total > 0.0 else 0.0
    return (np.concatenate(parts) if parts else np.zeros(0)), size
