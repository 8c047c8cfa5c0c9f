"""Five schemas behind one assembly: experts at epsilon 1 of eight silos, one reader, one injector, one LLM.

As the demo (``simulations.demo``), with all tables that people ask about: real processes, sealed uploads over mTLS,
held-out records that nobody trained on, questions in the wordings that judge. A stage whose result is on disk is not
done again. What it leaves in ``OUT/provider`` is what ``llamdex-provider ask`` and ``eval`` work on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamdex_fl.assembly import AssembledLlamdex, evaluate
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.experts import recommended_architecture
from llamdex_fl.schema import load_library_schema
from provider_server.config import load_provider_config
from provider_server.fitting import fit_connectors, fit_injector
from provider_server.live_assembly import open_assembly
from silo_client.dp_optimizer import one_thread
from simulations.datasets import LabelledRecord, load_heart, load_table, split
from simulations.demo.background import ReaderInBackground
from simulations.demo.consortium import Domain, claimed, found, write_json
from simulations.demo.rounds import Rounds
from simulations.evaluation import held_out_questions, ordinary_routes
from simulations.local_consortium import PrivacyTerms
from simulations.tabular import default_delta, record_bound

__all__ = ["SCHEMAS", "AllDemoSettings", "run_all_demo", "summary_rows"]

SCHEMAS = ("heart", "titanic", "bank", "nursery", "wine")
_LIFETIME = 3
_LEAST_BOUND = 1000
#: Told (stage, done, in all); in all 0 while it is not known.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class AllDemoSettings:
    """What the demo of all schemas runs with.

    Attributes:
        out: directory of the report and of the consortium.
        seed: fixes which records are held out and how questions are worded; the noise comes from the system.
        epsilon: of each silo's release, by record, add or remove one; delta is the silo's records^-1.1 or less.
        questions: held-out records of each schema that are asked about through the LLM; its silos take turns.
        base_questions: how many of these the base LLM alone gets too.
    """

    out: Path
    seed: int = 0
    epsilon: float = 1.0
    questions: int = 40
    base_questions: int = 10


def run_all_demo(settings: AllDemoSettings, on_progress: Progress) -> dict[str, Any]:
    """Run all stages, write ``report.json``, and return what stands in it.

    Raises:
        LlamdexError: of the stage that failed; the same call goes on from there.
    """
    with claimed(settings.out):
        on_progress("tables", 0, 0)
        domains = [_domain(name, settings) for name in SCHEMAS]
        on_progress("founding the consortium", 0, 0)
        founded = found(settings.out, domains)
        config = load_provider_config(founded.provider_home)
        with ReaderInBackground(config.home, on_progress) as reader, one_thread():
            base = load_base_llm(config.base_llm)
            rounds = Rounds(settings.out, founded, config, base.digest, on_progress)
            rounds.hold(domains)
            fit_injector(base, on_progress=on_progress)
            reader.wait()
        fit_connectors(config, base)
        assembly = open_assembly(config, base)
        report = {
            "seed": settings.seed,
            "epsilon": settings.epsilon,
            "guarantees": {
                domain.schema.name: {
                    seat.silo: {"epsilon": seat.guarantee.epsilon, "delta": seat.guarantee.delta}
                    for seat in assembly.seats(domain.schema.name)
                }
                for domain in domains
            },
            "schemas": {domain.schema.name: _measured(assembly, domain, settings, on_progress) for domain in domains},
            "routing": ordinary_routes(assembly),
        }
        write_json(settings.out / "report.json", report)
    return report


def summary_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """A row a schema: name, reader, LLM, experts on true features, base LLM alone, calibration error, routed."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f} %"

    return [
        [
            name,
            percent(own["reader"]["exact_match"]),
            percent(own["answer_accuracy"]),
            percent(own["expert_accuracy_true_features"]),
            percent(own["base_llm_accuracy"]),
            f"{own['calibration_error']:.3f}",
            percent(own["routing"]["correct_rate"]),
        ]
        for name, own in report["schemas"].items()
    ]


def _domain(name: str, settings: AllDemoSettings) -> Domain:
    schema = load_library_schema(name)
    silos: Mapping[str, Sequence[LabelledRecord]] = (
        load_heart() if name == "heart" else {f"{name}-archive": load_table(name)}
    )
    splits = {silo: split(own, settings.seed) for silo, own in silos.items()}
    most = max(len(own.train) for own in splits.values())
    bound = record_bound(most)
    terms = PrivacyTerms(
        epsilon=settings.epsilon,
        # Of the public bound, not of a silo's own number of records.
        delta=min(1e-4, default_delta(max(bound, _LEAST_BOUND))),
        lifetime_epsilon=_LIFETIME * settings.epsilon,
        record_bound=max(bound, _LEAST_BOUND),
    )
    return (
        Domain(schema, splits, terms)
        if len(splits) > 1
        else Domain(schema, splits, terms, recommended_architecture(schema, terms.record_bound))
    )


def _measured(
    assembly: AssembledLlamdex, domain: Domain, settings: AllDemoSettings, on_progress: Progress
) -> dict[str, Any]:
    name = domain.schema.name
    return evaluate(
        assembly,
        held_out_questions(domain.schema, domain.splits, settings.seed, settings.questions),
        timed=4,
        base_asked=settings.base_questions,
        on_question=lambda done, total: on_progress(f"questions: {name}", done, total),
    )
