"""The stages of the demo, in order: data, founding, rounds, connectors, questions.

A stage whose result is on disk is not done again. Training again would cost the hospitals more of their privacy
budget, so experts that the provider has already are kept; a round that was interrupted goes on under its old name.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamdex_fl.assembly import AssembledLlamdex, evaluate, evaluate_base
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.errors import PolicyError, ProcessError
from llamdex_fl.experts import THERMOMETER_LINEAR
from llamdex_fl.release import Offer
from llamdex_fl.rounds import Answer as Outcome
from llamdex_fl.schema import load_library_schema
from provider_server.config import ProviderConfig, load_provider_config
from provider_server.fitting import fit_connectors, fit_injector, open_assembly
from provider_server.registry import Registry, ReleaseRecord
from provider_server.round_report import RoundReport, report_path
from provider_server.rounds import RoundSpec
from silo_client.dp_optimizer import one_thread
from silo_client.policy import DEFAULT_PURPOSE
from simulations.datasets import load_heart, load_titanic, split
from simulations.demo.background import ReaderInBackground
from simulations.demo.consortium import Domain, claimed, found
from simulations.demo.figures import Measured, figures
from simulations.evaluation import held_out_questions, held_out_texts
from simulations.local_consortium import Founded, LocalConsortium

__all__ = ["DemoSettings", "run_demo"]

_ARCHIVE = "titanic-archive"
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
_ROUND_TIMEOUT_S = 420.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoSettings:
    """What the demo runs with.

    Attributes:
        out: directory of the results and of the consortium.
        seed: fixes who is held out and how the questions are worded; the noise comes from the system.
        epsilon, delta: guarantee of each silo's release.
        questions: held-out patients that are asked about through the LLM, at most; None: all of them.
        archive_questions: held-out passengers that are asked about.
        base_questions: how many of the patients' questions the base LLM alone gets too.
    """

    out: Path
    seed: int = 0
    epsilon: float = 1.0
    delta: float = 1e-4
    questions: int | None = None
    archive_questions: int = 20
    base_questions: int = 40


#: Told (stage, done, in all); in all 0 while it is not known.
Progress = Callable[[str, int, int], None]


def run_demo(settings: DemoSettings, on_progress: Progress) -> dict[str, Any]:
    """Run all stages and return the report.

    Raises:
        LlamdexError: of the stage that failed; the same call goes on from there.
    """
    with claimed(settings.out):
        return _run(settings, on_progress)


def _run(settings: DemoSettings, on_progress: Progress) -> dict[str, Any]:
    clock = _Clock()
    with clock("data"):
        heart = Domain(
            load_library_schema("heart"), {silo: split(own, settings.seed) for silo, own in load_heart().items()}
        )
        titanic = Domain(load_library_schema("titanic"), {_ARCHIVE: split(load_titanic(), settings.seed)})
    with clock("founding"):
        on_progress("founding the consortium", 0, 0)
        founded = found(settings.out, (heart, titanic))
        config = load_provider_config(founded.provider_home)
        on_progress("founding the consortium", 1, 1)
    with ReaderInBackground(config.home, on_progress) as reader, one_thread():
        with clock("base_llm"):
            on_progress("base LLM", 0, 0)
            base = load_base_llm(config.base_llm)
            on_progress("base LLM", 1, 1)
        with clock("rounds"):
            rounds = _Rounds(settings, founded, config, base.digest, on_progress)
            reports = rounds.hold((heart, titanic))
        with clock("injector"):
            _, injector_trained = fit_injector(base, on_progress=on_progress)
        asked = held_out_questions(heart.schema, heart.splits, settings.seed, settings.questions)
        with clock("base_llm_alone"):
            alone = evaluate_base(
                base,
                {heart.schema.name: heart.schema},
                asked[: settings.base_questions],
                on_question=lambda done, total: on_progress("the base LLM alone", done, total),
            )
        with clock("waiting_for_reader"):
            reader_trained = reader.wait()
    fit_connectors(config, base)
    with clock("questions"):
        assembly = open_assembly(config, base)
        patients = evaluate(
            assembly,
            asked,
            timed=8,
            base_asked=0,
            on_question=lambda done, total: on_progress("patients' questions", done, total),
        )
        passengers = evaluate(
            assembly,
            held_out_questions(titanic.schema, titanic.splits, settings.seed, settings.archive_questions),
            timed=0,
            base_asked=0,
            on_question=lambda done, total: on_progress("passengers' questions", done, total),
        )
        measured = Measured(
            assembly=assembly,
            splits=heart.splits,
            releases=rounds.releases(heart),
            base=alone,
            patients=patients,
            passengers=passengers,
            ordinary=_ordinary(assembly),
        )
        report = figures(measured)
    report["timings"] = {
        **{f"{stage}_s": seconds for stage, seconds in clock.seconds.items()},
        "total_s": clock.total(),
    }
    report |= {
        "rounds": [round_report.as_dict() for round_report in reports],
        "reused": {"experts": not reports, "connectors": not (reader_trained or injector_trained)},
        "seed": settings.seed,
    }
    return report


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - began

    def total(self) -> float:
        return time.perf_counter() - self._began


@dataclass(frozen=True, slots=True)
class _Rounds:
    """Rounds for the schemas in which a silo's expert is missing."""

    settings: DemoSettings
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
            work_dir=self.settings.out / "work",
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
            architecture=THERMOMETER_LINEAR,
            base_model_digest=self.base_digest,
            epsilon=self.settings.epsilon,
            delta=self.settings.delta,
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
                next_step=f"read the logs in {self.settings.out / 'work'} and run the demo again: it goes on from here",
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


def _ordinary(assembly: AssembledLlamdex) -> dict[str, Any]:
    texts = held_out_texts()
    routed = [text for text, reading in zip(texts, assembly.read(texts), strict=True) if reading.schema]
    return {"asked": len(texts), "false_route_rate": len(routed) / len(texts), "routed": routed}
