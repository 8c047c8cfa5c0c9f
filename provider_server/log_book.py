"""Keeps the log complete: every revocation and every change of policy is a leaf before the next release is one.

What was noted last stands in the registry, so it does not matter who changed the keyring, the schemas or the limits,
nor whether the provider ran then: the difference is noted at the start, when an upload begins, when somebody reads
the log, and in the transaction that enters a release. The policy of a new registry is its baseline and no change.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from llamdex_fl.envelope import SUITE, Keyring, LogNote, Root, SignedEnvelope, SigningKey, TreeHead
from llamdex_fl.envelope.canonical import decimal, dumps
from llamdex_fl.envelope.merkle import leaf_hash, root_hash
from provider_server.config import ProviderConfig
from provider_server.registry import Registry

__all__ = ["Situation", "log_entries", "note_changes"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What is in force now."""

    config: ProviderConfig
    root: Root
    keyring: Keyring
    signer: SigningKey
    now: datetime


def note_changes(registry: Registry, situation: Situation) -> None:
    """Append a leaf for each difference between what is in force and what was noted last; all of it or nothing."""
    policy = dumps(_policy(situation)).decode()
    revoked = set(situation.keyring.revoked)
    with registry.database.transaction():
        log = registry.log
        withdrawn = {record.release_id for record in registry.releases(status="withdrawn")}
        new_revoked = sorted(revoked - set(json.loads(log.noted("revoked") or "[]")))
        new_withdrawn = sorted(withdrawn - set(json.loads(log.noted("withdrawn") or "[]")))
        if new_revoked or new_withdrawn:
            silos = situation.keyring.silos.items()
            affected = tuple(
                sorted(name for name, member in silos if {member.key.keyid, member.spki} & set(new_revoked))
            )
            content = {"revoked": tuple(new_revoked), "silos": affected, "releases": tuple(new_withdrawn)}
            _append(registry, situation, "revocation", content)
            log.note("revoked", json.dumps(sorted(revoked)))
            log.note("withdrawn", json.dumps(sorted(withdrawn)))
        before = log.noted("policy")
        if before != policy:
            if before is not None:
                _append(registry, situation, "policy", {"policy": json.loads(policy)})
            log.note("policy", policy)


def log_entries(registry: Registry, size: int) -> Iterator[tuple[bytes, SignedEnvelope | None]]:
    """The first ``size`` leaves' payloads, each with its release's signed statement if it is one of a release."""
    for payload, statement in registry.log.entries(size):
        yield payload, None if statement is None else SignedEnvelope.from_json(statement)


def _policy(situation: Situation) -> dict[str, Any]:
    config, provider = situation.config, situation.keyring.provider
    limits = asdict(config.limits)
    return {
        "suite": SUITE,
        "baseLlm": hashlib.sha256(config.base_llm.encode()).hexdigest() if "/" in config.base_llm else config.base_llm,
        "schemas": sorted(path.stem for path in config.schemas.glob("*.json")),
        "limits": {name: value if isinstance(value, int) else decimal(value) for name, value in limits.items()},
        "root": situation.root.fingerprint(),
        "ca": hashlib.sha256(situation.keyring.ca.encode()).hexdigest(),
        "signingKey": provider.key.keyid,
        "recipientKeys": [key.keyid for key in provider.recipients],
        "tlsKeys": list(provider.spki),
    }


def _append(registry: Registry, situation: Situation, kind: Any, content: dict[str, Any]) -> None:  # noqa: ANN401 - LogNote's words
    leaves = registry.log.leaves()
    note = LogNote(
        kind=kind,
        provider=situation.config.provider,
        leaf_index=len(leaves),
        noted_at=situation.now,
        keyring_version=situation.keyring.version,
        **content,
    )
    payload = note.to_payload()
    leaves.append(leaf_hash(payload))
    head = TreeHead.make(note.provider, len(leaves), root_hash(leaves), situation.now, situation.signer)
    registry.log.append(note.leaf_index, leaves[-1], payload, head.envelope)
