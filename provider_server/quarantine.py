"""Behaviour checks that an accepted release must pass before it may speak.

Detection of a poisoned expert is partial. What is checked here is deterministic and simple: no tensor is out of
scale, and where at least three other silos have active experts of the same kind, the weights do not point against
their median. A backdoor that keeps to both is not found (docs/threat-model.md).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import ArtefactError, WeightsError
from llamdex_fl.release import Release
from provider_server.config import Limits
from provider_server.registry import Registry, ReleaseRecord

__all__ = ["judge", "review"]

#: Fewer others say nothing about who is the odd one out.
_QUORUM = 3
#: The tensor that holds noisy numbers of records: not a weight, and rightly as large as a silo.
_COUNTS = "class_counts"
_MOST_RECORDS = 1e7


def review(registry: Registry, limits: Limits) -> list[ReleaseRecord]:
    """Look at every release in quarantine, in the order of the log; the records as they are now."""
    reviewed = []
    for record in registry.releases(status="quarantined"):
        try:
            release, _ = registry.load_release(record.release_id)
            reason = judge(release, _others(registry, record), limits)
        except (ArtefactError, WeightsError) as error:
            reason = error.problem
        registry.accepted.mark(record.release_id, "quarantined" if reason else "active", reason)
        after = registry.accepted.find(record.release_id)
        if after is not None:
            reviewed.append(after)
    return reviewed


def judge(release: Release, others: Sequence[Release], limits: Limits) -> str:
    """Why a release stays in quarantine; an empty text where it need not.

    Args:
        release: the one in question.
        others: active releases of other silos with the same schema and architecture, one a silo.
        limits: the thresholds.
    """
    for name, tensor in release.tensors.items():
        rms = float(np.sqrt(np.mean(np.square(tensor, dtype=np.float64))))
        most = _MOST_RECORDS if name == _COUNTS else limits.weight_rms
        if rms > most:
            return f"the tensor {name} is out of scale: RMS {rms:.3g} over {most:g}"
    same = [other for other in others if _shapes(other) == _shapes(release)]
    if len(same) < _QUORUM:
        return ""
    median = np.median(np.stack([_flat(other) for other in same]), axis=0)
    agreement = _cosine(_flat(release), median)
    if agreement < limits.agreement:
        return f"it points against the other experts: agreement {agreement:.2f} under {limits.agreement:g}"
    return ""


def _others(registry: Registry, record: ReleaseRecord) -> list[Release]:
    latest: dict[str, ReleaseRecord] = {}
    for other in registry.releases(record.schema_digest, status="active"):
        if other.silo != record.silo and other.architecture == record.architecture:
            latest[other.silo] = other
    return [registry.load_release(other.release_id)[0] for other in latest.values()]


def _shapes(release: Release) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in release.tensors.items()}


def _flat(release: Release) -> NDArray[np.float64]:
    names = [name for name in sorted(release.tensors) if name != _COUNTS]
    return np.concatenate([release.tensors[name].reshape(-1).astype(np.float64) for name in names])


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return 1.0 if length == 0.0 else float(one @ other) / length
