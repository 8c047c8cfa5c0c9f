"""The rounds of a demo: every silo whose expert the provider does not have yet trains one, in real processes.

Training again would cost silos more of their privacy budget, so experts that are there are kept; a round that was
interrupted goes on under its old name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llamdex_fl.errors import PolicyError, ProcessError
from llamdex_fl.release import Offer
from llamdex_fl.rounds import Answer as Outcome
from provider_server.config import ProviderConfig
from provider_server.registry import Registry, ReleaseRecord
from provider_server.round_report import RoundReport, report_path
from provider_server.rounds import RoundSpec
from silo_client.policy import DEFAULT_PURPOSE
from simulations.demo.consortium import Domain
from simulations.local_consortium import Founded, LocalConsortium

__all__ = ["Rounds"]

#: Outcomes of a silo that another try would not change.
_LASTING = frozenset(
    {
        Outcome.POLICY_REFUSED,
        Outcome.BUDGET_SPENT,
        Outcome.DATA_INVALID,
        Outcome.PROVIDER_IDENTITY,
        Outcome.SILO_MISCONFIGURED,
    }
)
_ROUND_TIMEOUT_S = 900.0

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Rounds:
    """Rounds for the schemas in which a silo's expert is missing.

    Attributes:
        out: directory of the demo.
        founded: its consortium.
        config: the provider's.
        base_digest: of the LLM that the experts are for.
        on_progress: told (stage, done, in all).
    """

    out: Path
    founded: Founded
    config: ProviderConfig
    base_digest: str
    on_progress: Progress

    def hold(self, domains: Sequence[Domain]) -> list[RoundReport]:
        """Hold what is needed; the processes run only if something is.

        Raises:
            ProcessError: a silo did not deliver.
        """
        wanted = [(domain, silos) for domain in domains if (silos := self._missing(domain))]
        if not wanted:
            self.on_progress("rounds (the experts are here)", 1, 1)
            return []
        self.on_progress("starting processes", 0, 0)
        with LocalConsortium(
            work_dir=self.out / "work",
            provider_home=self.founded.provider_home,
            silo_homes=list(self.founded.silo_homes.values()),
        ) as consortium:
            self.on_progress("starting processes", 1, 1)
            return [self._hold(consortium, domain, silos) for domain, silos in wanted]

    def releases(self, domain: Domain) -> dict[str, ReleaseRecord]:
        """The active releases of a domain for this base LLM, by silo."""
        with Registry(self.config.registry) as registry:
            return {
                record.silo: record
                for record in registry.releases(domain.schema.digest(), status="active")
                if record.base_model_digest == self.base_digest
            }

    def _missing(self, domain: Domain) -> list[str]:
        there = self.releases(domain)
        return [silo for silo in domain.splits if silo not in there]

    def _hold(self, consortium: LocalConsortium, domain: Domain, silos: Sequence[str]) -> RoundReport:
        offer = Offer(
            provider=self.founded.provider,
            purpose=DEFAULT_PURPOSE,
            schema_digest=domain.schema.digest(),
            architecture=domain.architecture,
            base_model_digest=self.base_digest,
            epsilon=domain.terms.epsilon,
            delta=domain.terms.delta,
            challenge="0" * 64,  # the ServerApp draws the round's own
        )
        spec = RoundSpec(offer=offer, silos=tuple(silos), quorum=len(silos), answer_timeout_s=_ROUND_TIMEOUT_S)
        what = f"round: {domain.schema.name}"
        report = consortium.run_round(
            self._round_id(domain.schema.name),
            spec,
            lambda report: self.on_progress(what, len(report.accepted), len(report.silos)),
        )
        if left := self._missing(domain):
            refused = [own.silo for own in report.silos if own.silo in left and own.outcome in _LASTING]
            outcomes = ", ".join(f"{own.silo}: {own.outcome}" for own in report.silos if own.silo in left)
            if refused:
                logs = ", ".join(str(self.founded.silo_homes[silo] / "daemon.log") for silo in refused)
                raise PolicyError(
                    f"A silo refuses the round for {domain.schema.name}, and would refuse it again.",
                    expected="a receipt from each",
                    got=outcomes,
                    next_step=f"read {logs}; what a silo has spent stays spent: another --out, or make demo-clean, "
                    "founds a new consortium",
                )
            raise ProcessError(
                f"Not every silo delivered an expert for {domain.schema.name}.",
                expected="a receipt from each",
                got=outcomes,
                next_step=f"read the logs in {self.out / 'work'} and run this again: it goes on from here",
            )
        return report

    def _round_id(self, schema: str) -> str:
        """The name of a round that was interrupted, or the next free one."""
        number = 1
        while (path := report_path(self.config.home, f"{schema}-{number}")).exists() and RoundReport.load(
            path
        ).finished:
            number += 1
        return f"{schema}-{number}"
