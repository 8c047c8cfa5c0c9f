"""The stages of the demo, in order: data, founding, rounds, connectors, questions.

A stage whose result is on disk is not done again. Training again would cost the hospitals more of their privacy
budget, so experts that the provider has already are kept; a round that was interrupted goes on under its old name.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamdex_fl.assembly import evaluate, evaluate_base
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.schema import load_library_schema
from provider_server.config import load_provider_config
from provider_server.fitting import fit_connectors, fit_injector
from provider_server.live_assembly import open_assembly
from silo_client.dp_optimizer import one_thread
from simulations.datasets import load_heart, load_titanic, split
from simulations.demo.background import ReaderInBackground
from simulations.demo.consortium import Domain, claimed, found
from simulations.demo.figures import Measured, figures
from simulations.demo.rounds import Rounds
from simulations.evaluation import held_out_questions, ordinary_routes
from simulations.local_consortium import PrivacyTerms

__all__ = ["DemoSettings", "run_demo"]

_ARCHIVE = "titanic-archive"


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
    terms = PrivacyTerms(epsilon=settings.epsilon, delta=settings.delta)
    with clock("data"):
        heart = Domain(
            load_library_schema("heart"), {silo: split(own, settings.seed) for silo, own in load_heart().items()}, terms
        )
        titanic = Domain(load_library_schema("titanic"), {_ARCHIVE: split(load_titanic(), settings.seed)}, terms)
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
            rounds = Rounds(settings.out, founded, config, base.digest, on_progress)
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
            ordinary=ordinary_routes(assembly),
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
