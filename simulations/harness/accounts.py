"""The books of a seed, kept by both ends and compared: what was asked, delivered, logged and spent.

Everything is read from where it lies after the run: the provider's rounds and registry, its log, each silo's receipts,
record of what left, and ledger. ``problems`` is what does not add up, in sentences; a run in which nothing was lost or
counted twice has none.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from llamdex_fl.privacy import Ledger, LedgerEntry, certified_epsilon
from llamdex_fl.rounds import Answer
from provider_server.config import ProviderConfig
from provider_server.registry import Registry, ReleaseRecord
from provider_server.round_report import RoundReport
from simulations.local_consortium import Founded, PrivacyTerms

__all__ = ["Accounts", "keep_accounts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accounts:
    """Of each silo, by its id.

    Attributes:
        outcomes: of each round that it was asked in, an answer or a fault.
        asked: questions that it was sent; more than needed where a run was interrupted or a message was lost.
        status: of its newest release: active, quarantined, withdrawn; silos without one are absent.
        reason: why that release is in quarantine or withdrawn.
        digests: of its releases, in the order of the log.
        epsilon: what its ledger says that all its trainings cost, at its policy's delta.
        over_budget: silos whose ledger says more than their policy allows.
        bytes_sent: of its sealed envelopes.
        replays: what the provider answered to a replay.
        records: on which it trains.
        problems: what does not add up.
    """

    outcomes: dict[str, list[str]]
    asked: dict[str, int]
    status: dict[str, str]
    reason: dict[str, str]
    digests: dict[str, list[str]]
    epsilon: dict[str, float]
    over_budget: list[str]
    bytes_sent: dict[str, int]
    replays: dict[str, list[str]]
    problems: list[str]
    records: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Accounts":
        """Read what ``dataclasses.asdict`` made."""
        return cls(**document)

    @property
    def delivered(self) -> list[str]:
        """Silos that were done in the last round that they were asked in."""
        return [silo for silo, answers in self.outcomes.items() if answers[-1] == Answer.DONE]


def keep_accounts(
    config: ProviderConfig,
    founded: Founded,
    reports: Sequence[RoundReport],
    terms: Mapping[str, PrivacyTerms],
    replays: Mapping[str, list[str]],
) -> Accounts:
    """Read the books of both ends and compare them.

    Args:
        config: the provider's.
        founded: the homes.
        reports: of all rounds.
        terms: silo id -> its policy's numbers.
        replays: what replaying silos were answered.
    """
    with Registry(config.registry) as registry:
        releases = registry.releases()
        leaves = Counter(leaf.hex() for leaf in registry.log.leaves())
    of_silo: dict[str, list[ReleaseRecord]] = {}
    for record in releases:
        of_silo.setdefault(record.silo, []).append(record)
    outcomes: dict[str, list[str]] = {}
    asked: Counter[str] = Counter()
    for report in reports:
        for silo in report.silos:
            outcomes.setdefault(silo.silo, []).append(silo.outcome)
            asked[silo.silo] += silo.asked
    ledgers = {silo: Ledger(home / "ledger.sqlite").entries() for silo, home in founded.silo_homes.items()}
    epsilon = {
        silo: _cost(tuple(m for entry in entries for m in entry.spending.mechanisms), terms[silo].delta)
        for silo, entries in ledgers.items()
        if entries
    }
    return Accounts(
        outcomes=outcomes,
        asked=dict(asked),
        status={silo: own[-1].status for silo, own in of_silo.items()},
        reason={silo: own[-1].reason for silo, own in of_silo.items() if own[-1].reason},
        digests={silo: [record.artefact_digest for record in own] for silo, own in of_silo.items()},
        epsilon=epsilon,
        over_budget=[silo for silo, cost in epsilon.items() if cost > terms[silo].lifetime_epsilon],
        bytes_sent={silo: _bytes_sent(home) for silo, home in founded.silo_homes.items()},
        replays=dict(replays),
        problems=_problems(founded, reports, of_silo, leaves, ledgers),
    )


def _problems(
    founded: Founded,
    reports: Sequence[RoundReport],
    of_silo: Mapping[str, Sequence[ReleaseRecord]],
    leaves: Mapping[str, int],
    ledgers: Mapping[str, Sequence[LedgerEntry]],
) -> list[str]:
    problems = []
    for report in reports:
        challenge = report.offer.challenge
        for silo in report.silos:
            own = [record for record in of_silo.get(silo.silo, ()) if record.round_challenge == challenge]
            spent = [e for e in ledgers.get(silo.silo, ()) if e.spending.reference == challenge]
            receipt = founded.silo_homes[silo.silo] / "receipts" / f"{challenge}.json"
            done = silo.outcome == Answer.DONE
            where = f"{report.round_id}, {silo.silo}"
            found = {
                f"{len(own)} releases for {silo.outcome}": len(own) == int(done),
                "a release without one leaf in the log": all(leaves.get(record.receipt_id) == 1 for record in own),
                "no receipt at the silo": receipt.exists() or not done,
                f"{len(spent)} entries in the ledger": len(spent) == 1 or (not done and not spent),
            }
            problems += [f"{where}: {what}" for what, good in found.items() if not good]
    return problems


@lru_cache(maxsize=64)
def _cost(mechanisms: tuple[Any, ...], delta: float) -> float:
    # Silos of a scenario mostly have the same mechanisms.
    return certified_epsilon(list(mechanisms), delta)


def _bytes_sent(home: Path) -> int:
    total = 0
    for path in sorted((home / "sent").glob("*.json")):
        sealed = json.loads(path.read_text(encoding="utf-8"))["sealed"] or {}
        total += int(sealed.get("bytes", 0))
    return total
