"""The report of a round: one JSON file in the provider's home, rewritten whole whenever something changed.

It holds what the provider knows by itself (times, codes) and what its registry confirmed (receipt, digest,
guarantee); nothing that a silo merely said stands in it. A ServerApp that was killed reads it to go on.
"""

import json
import os
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from llamdex_fl.errors import ArtefactError, ConfigError
from llamdex_fl.release import Offer
from llamdex_fl.rounds import PUBLIC_TEXT, Answer, offer_from_text, offer_to_text
from provider_server.rounds import Round, RoundState

__all__ = ["RoundReport", "SiloReport", "report_path"]

_ROUND_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SiloReport:
    """What became of one silo in the round.

    Attributes:
        outcome: an ``Answer`` or the provider's own ``Fault``; empty while there is none.
        text: the outcome for people.
        asked: how many questions the silo was sent.
        seconds: from the start of the round to the outcome.
        receipt_id: of the accepted release, else empty; so are the next two.
        artefact_digest: hex SHA-256 of the release's tensors.
        guarantee: one line of JSON (``llamdex_fl.rounds.guarantee_to_text``).
    """

    silo: str
    outcome: str
    text: str
    asked: int
    seconds: float
    receipt_id: str = ""
    artefact_digest: str = ""
    guarantee: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundReport:
    """What became of a round."""

    round_id: str
    state: RoundState
    offer: Offer
    opened_at: datetime
    changed_at: datetime
    silos: tuple[SiloReport, ...]

    @property
    def finished(self) -> bool:
        """Nothing will change any more."""
        return self.state in {RoundState.COMPLETED, RoundState.ABANDONED}

    @property
    def accepted(self) -> tuple[SiloReport, ...]:
        """The silos whose expert is in the registry."""
        return tuple(silo for silo in self.silos if silo.outcome == Answer.DONE)

    def as_dict(self) -> dict[str, Any]:
        """The report for a program."""
        return {
            "round_id": self.round_id,
            "state": self.state.value,
            "offer": offer_to_text(self.offer),
            "opened_at": self.opened_at.isoformat(),
            "changed_at": self.changed_at.isoformat(),
            "silos": [asdict(silo) for silo in self.silos],
        }

    def save(self, path: Path) -> None:
        """Write the report, whole or not at all."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        with beside.open("w", encoding="utf-8") as stream:
            json.dump(self.as_dict(), stream, indent=1, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)

    @classmethod
    def load(cls, path: Path) -> "RoundReport":
        """Read a report.

        Raises:
            ArtefactError: it is missing or damaged.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                round_id=document["round_id"],
                state=RoundState(document["state"]),
                offer=offer_from_text(document["offer"]),
                opened_at=datetime.fromisoformat(document["opened_at"]),
                changed_at=datetime.fromisoformat(document["changed_at"]),
                silos=tuple(SiloReport(**silo) for silo in document["silos"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(
                f"{path} is not a round's report.",
                expected="the JSON file that a round leaves",
                got=type(error).__name__,
                next_step="remove it and hold the round again",
            ) from error

    @classmethod
    def of(cls, round_id: str, held: Round, *, opened_at: datetime, changed_at: datetime) -> "RoundReport":
        """The report of a round as it stands."""
        return cls(
            round_id=round_id,
            state=held.state,
            offer=held.spec.offer,
            opened_at=opened_at,
            changed_at=changed_at,
            silos=tuple(
                SiloReport(
                    silo=silo.silo,
                    outcome=silo.outcome.value if silo.outcome is not None else "",
                    text=PUBLIC_TEXT[silo.outcome] if isinstance(silo.outcome, Answer) else "",
                    asked=silo.total_asked,
                    seconds=round(silo.seconds, 3),
                    **silo.facts,
                )
                for silo in held.silos.values()
            ),
        )


def report_path(provider_home: Path, round_id: str) -> Path:
    """Where the report of a round lies.

    Raises:
        ConfigError: this is no round id.
    """
    if not _ROUND_ID.fullmatch(round_id):
        raise ConfigError(
            "This is no round id.",
            expected="lower-case letters, digits and hyphens, at most 63",
            got=round_id[:80],
            next_step="give the round another id",
        )
    return provider_home / "rounds" / f"{round_id}.json"
