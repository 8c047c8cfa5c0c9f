"""Behaviour checks that an accepted release must pass before it may speak.

Detection of a poisoned expert is partial. What is checked here is deterministic and simple: no tensor is out of
scale, and where at least three other silos have active experts of the same kind, the weights do not point against
their median. Where there are eight or more, everybody who came before is looked at again too, and who is unlike all
others goes back into quarantine (``provider_server.company``). An expert whose silo was revoked is not among those
others: it would judge others by what nobody may believe any more. A backdoor that keeps to all of it is not found
(docs/threat-model.md).
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llamdex_fl import weights
from llamdex_fl.envelope import Keyring
from llamdex_fl.errors import ArtefactError, WeightsError
from provider_server.company import odd_ones
from provider_server.config import Limits
from provider_server.registry import Registry, ReleaseRecord, Status
from provider_server.speaking import unrevoked

__all__ = ["judge", "review"]

#: Fewer others say nothing about who is the odd one out.
_QUORUM = 3
#: The tensor that holds noisy numbers of records: not a weight, and rightly as large as a silo.
_COUNTS = "class_counts"
_MOST_RECORDS = 1e7
#: Elements that are summed up in float32.
_SHORT = 1 << 14
#: How the reason begins of a release that only its company keeps in quarantine: it may come out when others come.
_UNLIKE = "it is unlike"


def review(registry: Registry, limits: Limits, keyring: Keyring) -> list[ReleaseRecord]:
    """Look at every release in quarantine, in the order of the log, and at each company as a whole.

    Args:
        registry: the provider's.
        limits: the thresholds.
        keyring: the present one: what was revoked is no measure for others.

    Returns:
        The records as they are now.
    """
    looked_at = registry.releases(status="quarantined")
    for record in looked_at:
        try:
            reason = judge(registry.artefact(record), _others(registry, record, keyring), limits)
        except (ArtefactError, WeightsError) as error:
            reason = error.problem
        if not reason and record.reason.startswith(_UNLIKE):
            # Not out of it and in again: its company says, below.
            continue
        registry.accepted.mark(record.release_id, "quarantined" if reason else "active", reason)
    looked_at += _look_again(registry, limits, keyring)
    found = [registry.accepted.find(record.release_id) for record in looked_at]
    return list({record.release_id: record for record in found if record is not None}.values())


def _look_again(registry: Registry, limits: Limits, keyring: Keyring) -> list[ReleaseRecord]:
    """Judge every company as a whole; the releases whose status changed."""
    companies: dict[tuple[str, str], dict[str, ReleaseRecord]] = {}
    for record in unrevoked(registry.releases(), registry, keyring):
        if record.status == "active" or (record.status == "quarantined" and record.reason.startswith(_UNLIKE)):
            companies.setdefault((record.schema_digest, record.architecture), {})[record.silo] = record
    changed = []
    for company in companies.values():
        members = list(company.values())
        try:
            odd = odd_ones([registry.artefact(record) for record in members], limits.likeness)
        except (ArtefactError, WeightsError, OSError):
            # A damaged file is found, and told of, where it is to be used.
            continue
        if odd is None:
            # Who was found odd stays so until a company clears it: it must not come out because others left.
            continue
        for place, record in enumerate(members):
            reason = odd.get(place, "")
            status: Status = "quarantined" if reason else "active"
            if status != record.status:
                registry.accepted.mark(record.release_id, status, reason)
                changed.append(record)
    return changed


def judge(artefact: Path, others: Sequence[Path], limits: Limits) -> str:
    """Why a release stays in quarantine; an empty text where it need not. Holds slices only, never whole experts.

    Args:
        artefact: the weights in question.
        others: the weights of active releases of other silos, one a silo, with the same schema and architecture.
        limits: the thresholds.
    """
    shapes = weights.read_shapes(artefact)
    squares = dict.fromkeys(shapes, 0.0)
    for name, part in weights.slices(artefact):
        # Over slices, so float32 sums stay short; a scale that overflows is infinite, and refused.
        for start in range(0, part.size, _SHORT):
            piece = part[start : start + _SHORT]
            squares[name] += float(piece @ piece)
    for name, shape in shapes.items():
        rms = math.sqrt(squares[name] / math.prod(shape))
        most = _MOST_RECORDS if name == _COUNTS else limits.weight_rms
        if rms > most:
            return f"the tensor {name} is out of scale: RMS {rms:.3g} over {most:g}"
    same = [other for other in others if weights.read_shapes(other) == shapes]
    if len(same) < _QUORUM:
        return ""
    agreement = _agreement(artefact, same)
    if agreement < limits.agreement:
        return f"it points against the other experts: agreement {agreement:.2f} under {limits.agreement:g}"
    return ""


def _agreement(artefact: Path, others: Sequence[Path]) -> float:
    """Cosine between the weights and the element-wise median of the others'."""
    product = own = theirs = 0.0
    for (name, part), *parts in zip(weights.slices(artefact), *map(weights.slices, others), strict=True):
        if name != _COUNTS:
            wide = part.astype(np.float64)
            median = np.median(np.stack([other for _, other in parts]).astype(np.float64), axis=0)
            product += float(wide @ median)
            own += float(wide @ wide)
            theirs += float(median @ median)
    length = math.sqrt(own * theirs)
    return 1.0 if length == 0.0 else product / length


def _others(registry: Registry, record: ReleaseRecord, keyring: Keyring) -> list[Path]:
    latest: dict[str, ReleaseRecord] = {}
    for other in unrevoked(registry.releases(record.schema_digest, status="active"), registry, keyring):
        if other.silo != record.silo and other.architecture == record.architecture:
            latest[other.silo] = other
    return [registry.artefact(other) for other in latest.values()]
