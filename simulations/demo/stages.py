"""The stages of the demo, in order: data, founding, rounds, connectors, questions.

A stage whose result is on disk is not done again. Training again would cost the hospitals more of their privacy
budget, so experts that the provider has already are kept; a round that was interrupted goes on under its old name.
"""

import hashlib
import json
import platform
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from llamdex_fl.assembly import AskedQuestion, AssembledLlamdex, evaluate
from llamdex_fl.base_llm.base import BaseLLM, base_llm_digest, load_base_llm
from llamdex_fl.connectors.injector import InjectorRecipe
from llamdex_fl.connectors.questions import QuestionGenerator, load_wording
from llamdex_fl.connectors.reader import ReaderRecipe
from llamdex_fl.errors import ProcessError
from llamdex_fl.experts import THERMOMETER_LINEAR, one_against_rest
from llamdex_fl.release import Offer
from llamdex_fl.schema import Schema, load_library_schema
from provider_server.config import ProviderConfig, load_provider_config
from provider_server.fitting import fit_connectors, open_assembly
from provider_server.registry import Registry
from provider_server.round_report import RoundReport, report_path
from provider_server.rounds import RoundSpec
from silo_client.policy import DEFAULT_PURPOSE
from simulations.datasets import LabelledRecord, Split, load_heart, load_titanic, split, write_silo_csv
from simulations.evaluation import WORDINGS
from simulations.local_consortium import Founded, LocalConsortium, add_silo, found_consortium

__all__ = ["DemoSettings", "run_demo"]

_ARCHIVE = "titanic-archive"
_STATE = "demo.json"
_PACKAGES = ("llamdex-fl", "flwr", "torch", "transformers", "opacus", "grpcio", "cryptography", "dp-accounting")


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
        reader, injector: how the connectors are trained.
    """

    out: Path
    seed: int = 0
    epsilon: float = 1.0
    delta: float = 1e-4
    questions: int | None = None
    archive_questions: int = 30
    base_questions: int = 64
    reader: ReaderRecipe = field(default_factory=ReaderRecipe)
    injector: InjectorRecipe = field(default_factory=InjectorRecipe)


#: Told (stage, done, in all); in all 0 while it is not known.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class _Domain:
    schema: Schema
    splits: Mapping[str, Split]


def run_demo(settings: DemoSettings, on_progress: Progress) -> dict[str, Any]:
    """Run all stages and return the report.

    Raises:
        LlamdexError: of the stage that failed; the same call goes on from there.
    """
    clock = _Clock()
    settings.out.mkdir(parents=True, exist_ok=True)
    with clock("data"):
        on_progress("data", 0, 0)
        heart = _Domain(
            load_library_schema("heart"), {silo: split(own, settings.seed) for silo, own in load_heart().items()}
        )
        titanic = _Domain(load_library_schema("titanic"), {_ARCHIVE: split(load_titanic(), settings.seed)})
        files = _write_data(settings, (heart, titanic))
        on_progress("data", 1, 1)
    with clock("founding"):
        on_progress("founding", 0, 0)
        founded = _found(settings, heart, titanic, files)
        config = load_provider_config(founded.provider_home)
        on_progress("founding", 1, 1)
    with clock("base_llm"):
        on_progress("base LLM", 0, 0)
        base_digest = base_llm_digest(config.base_llm)
        on_progress("base LLM", 1, 1)
    with clock("rounds"):
        reports = _hold_rounds(settings, founded, config, (heart, titanic), base_digest, on_progress)
    with clock("connectors"):
        base = load_base_llm(config.base_llm)
        trained = fit_connectors(
            config,
            base,
            reader_recipe=settings.reader,
            injector_recipe=settings.injector,
            on_progress=on_progress,
        )
    with clock("questions"):
        assembly = open_assembly(config, base)
        asked = _questions(heart, settings.seed, settings.questions)
        patients = evaluate(
            assembly,
            asked,
            base_asked=settings.base_questions,
            on_question=lambda done, total: on_progress("patients' questions", done, total),
        )
        passengers = evaluate(
            assembly,
            _questions(titanic, settings.seed, settings.archive_questions),
            timed=0,
            base_asked=settings.archive_questions,
            on_question=lambda done, total: on_progress("passengers' questions", done, total),
        )
        ordinary = _ordinary(assembly)
    return _report(settings, clock, base, assembly, heart, reports, patients, passengers, ordinary, trained=trained)


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


def _write_data(settings: DemoSettings, domains: Sequence[_Domain]) -> dict[str, Path]:
    files = {}
    for domain in domains:
        for silo, own in domain.splits.items():
            files[silo] = settings.out / "data" / f"{silo}.csv"
            write_silo_csv(files[silo], domain.schema, own.train)
    return files


def _found(settings: DemoSettings, heart: _Domain, titanic: _Domain, files: Mapping[str, Path]) -> Founded:
    """The consortium of an earlier run with the same data, or a new one."""
    key = hashlib.sha256(b"".join(path.read_bytes() for path in files.values())).hexdigest()
    state = settings.out / _STATE
    try:
        kept = json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = {}
    if kept.get("key") == key:
        return Founded(
            provider_home=Path(kept["provider_home"]),
            silo_homes={silo: Path(home) for silo, home in kept["silo_homes"].items()},
            provider=kept["provider"],
            root_fingerprint=kept["root_fingerprint"],
        )
    # Other data, or a founding that was interrupted: nothing was released from it that this run could use.
    for name in ("provider", "silos", "work"):
        shutil.rmtree(settings.out / name, ignore_errors=True)
    founded = found_consortium(settings.out, heart.schema, {silo: files[silo] for silo in heart.splits})
    founded = add_silo(founded, settings.out, titanic.schema, _ARCHIVE, files[_ARCHIVE])
    document = {
        "key": key,
        "provider_home": str(founded.provider_home),
        "silo_homes": {silo: str(home) for silo, home in founded.silo_homes.items()},
        "provider": founded.provider,
        "root_fingerprint": founded.root_fingerprint,
    }
    beside = state.with_suffix(".part")
    beside.write_text(json.dumps(document, indent=1), encoding="utf-8")
    beside.replace(state)
    return founded


def _hold_rounds(
    settings: DemoSettings,
    founded: Founded,
    config: ProviderConfig,
    domains: Sequence[_Domain],
    base_digest: str,
    on_progress: Progress,
) -> list[RoundReport]:
    """Hold a round for each schema in which a silo's expert is missing; the processes run only if there is one."""
    missing = {domain.schema.name: _missing(config, domain, base_digest) for domain in domains}
    wanted = [(domain, missing[domain.schema.name]) for domain in domains if missing[domain.schema.name]]
    if not wanted:
        on_progress("rounds (experts kept)", 1, 1)
        return []
    on_progress("processes", 0, 0)
    reports = []
    with LocalConsortium(
        work_dir=settings.out / "work",
        provider_home=founded.provider_home,
        silo_homes=list(founded.silo_homes.values()),
    ) as consortium:
        on_progress("processes", 1, 1)
        for domain, silos in wanted:
            offer = Offer(
                provider=founded.provider,
                purpose=DEFAULT_PURPOSE,
                schema_digest=domain.schema.digest(),
                architecture=THERMOMETER_LINEAR,
                base_model_digest=base_digest,
                epsilon=settings.epsilon,
                delta=settings.delta,
                challenge="0" * 64,
            )
            spec = RoundSpec(offer=offer, silos=tuple(silos), quorum=len(silos), answer_timeout_s=420.0)
            what = f"round {domain.schema.name}"
            reports.append(
                consortium.run_round(
                    _round_id(config, domain.schema.name),
                    spec,
                    lambda report, what=what: on_progress(what, len(report.accepted), len(report.silos)),
                )
            )
    for domain, _ in wanted:
        if left := _missing(config, domain, base_digest):
            outcomes = {silo.silo: silo.outcome for report in reports for silo in report.silos if silo.silo in left}
            raise ProcessError(
                f"Not every silo delivered an expert for {domain.schema.name}.",
                expected="a receipt from each",
                got=", ".join(f"{silo}: {outcome}" for silo, outcome in outcomes.items()),
                next_step=f"read the logs in {settings.out / 'work'} and run the demo again: it goes on from here",
            )
    return reports


def _missing(config: ProviderConfig, domain: _Domain, base_digest: str) -> list[str]:
    with Registry(config.registry) as registry:
        there = {
            record.silo
            for record in registry.releases(domain.schema.digest(), status="active")
            if record.base_model_digest == base_digest
        }
    return [silo for silo in domain.splits if silo not in there]


def _round_id(config: ProviderConfig, schema: str) -> str:
    """The name of a round that was interrupted, or the next free one."""
    number = 1
    while (path := report_path(config.home, f"{schema}-{number}")).exists() and RoundReport.load(path).finished:
        number += 1
    return f"{schema}-{number}"


def _questions(domain: _Domain, seed: int, count: int | None) -> list[AskedQuestion]:
    """Held-out records, said in a wording that the reader was not trained on; the silos take turns."""
    generator = QuestionGenerator(load_wording(domain.schema, WORDINGS / f"{domain.schema.name}.toml"))
    rng = random.Random(seed)  # noqa: S311 - wording, not keys
    by_silo = [[(silo, number, record) for number, record in enumerate(own.held_out)] for silo, own in domain.splits.items()]
    turns = [row for place in range(max(map(len, by_silo))) for rows in by_silo for row in rows[place : place + 1]]
    asked = []
    for silo, number, record in turns[:count]:
        features = {feature.name: record.features.get(feature.name) for feature in domain.schema.features}
        asked.append(
            AskedQuestion(
                identity=f"{silo}-{number}",
                schema=domain.schema.name,
                question=generator.ask(features, rng).text,
                features=features,
                label=domain.schema.target.labels[record.label],
                asker=silo,
            )
        )
    return asked


def _ordinary(assembly: AssembledLlamdex) -> dict[str, Any]:
    lines = (WORDINGS / "ordinary.txt").read_text(encoding="utf-8").splitlines()
    texts = [line.strip() for line in lines if line.strip()]
    routed = [text for text, reading in zip(texts, assembly.read(texts), strict=True) if reading.schema]
    return {"asked": len(texts), "false_route_rate": len(routed) / len(texts), "routed": routed}


def _report(
    settings: DemoSettings,
    clock: _Clock,
    base: BaseLLM,
    assembly: AssembledLlamdex,
    heart: _Domain,
    reports: Sequence[RoundReport],
    patients: Mapping[str, Any],
    passengers: Mapping[str, Any],
    ordinary: Mapping[str, Any],
    *,
    trained: bool,
) -> dict[str, Any]:
    held_out = [(silo, record) for silo, own in heart.splits.items() for record in own.held_out]
    truth_n = np.array([record.label for _, record in held_out])
    return {
        "silos": _silos(assembly, heart, held_out, truth_n, settings.out),
        "assembled": {
            "questions": patients["questions"],
            "accuracy": patients["answer_accuracy"],
            "auc": patients["answer_auc"],
            "expert_accuracy_true_features": patients["expert_accuracy_true_features"],
            "expert_auc_true_features": patients["expert_auc_true_features"],
            "all_held_out": _all_held_out(assembly, held_out, truth_n),
        },
        "base_llm": {"name": base.name, "digest": base.digest, "accuracy": patients["base_llm_accuracy"]},
        "majority_rate": float(np.bincount(truth_n).max() / len(truth_n)),
        "reader": patients["reader"],
        "injector": {"gap": patients["injection_gap"], "calibration_error": patients["calibration_error"]},
        "routing": {**patients["routing"], "ordinary": dict(ordinary)},
        "inference": patients["latency"],
        "second_domain": {
            "schema": "titanic",
            "silo": _ARCHIVE,
            **{key: value for key, value in passengers.items() if key not in {"answers", "latency"}},
        },
        "answers": patients["answers"],
        "rounds": [report.as_dict() for report in reports],
        "timings": {**{f"{stage}_s": seconds for stage, seconds in clock.seconds.items()}, "total_s": clock.total()},
        "reused": {"experts": not reports, "connectors": not trained},
        "seed": settings.seed,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def _silos(
    assembly: AssembledLlamdex,
    heart: _Domain,
    held_out: Sequence[tuple[str, LabelledRecord]],
    truth_n: np.ndarray[Any, Any],
    out: Path,
) -> list[dict[str, Any]]:
    config = load_provider_config(out / "provider")
    with Registry(config.registry) as registry:
        receipts = {record.silo: record for record in registry.releases(heart.schema.digest(), status="active")}
    rows = []
    for seat in assembly.seats("heart"):
        chances_nC = seat.expert.predict_proba([record.features for _, record in held_out])
        gaussian = next(m for m in seat.guarantee.mechanisms if m.kind == "sampled_gaussian")
        rows.append(
            {
                "id": seat.silo,
                # The demo cut the table itself, so it may count: a real provider learns the noisy counts only.
                "records": len(heart.splits[seat.silo].train),
                "held_out": len(heart.splits[seat.silo].held_out),
                "epsilon": seat.guarantee.epsilon,
                "delta": seat.guarantee.delta,
                "accountant": seat.guarantee.accountant,
                "accountant_version": seat.guarantee.accountant_version,
                "adjacency": seat.guarantee.adjacency,
                "unit": seat.guarantee.unit,
                "noise_multiplier": gaussian.noise_multiplier,
                "alone_accuracy": float((chances_nC.argmax(1) == truth_n).mean()),
                "alone_auc": one_against_rest(chances_nC, truth_n),
                "receipt": receipts[seat.silo].receipt_id,
                "artefact": receipts[seat.silo].artefact_digest,
            }
        )
    return rows


def _all_held_out(
    assembly: AssembledLlamdex, held_out: Sequence[tuple[str, LabelledRecord]], truth_n: np.ndarray[Any, Any]
) -> dict[str, dict[str, float]]:
    """Experts together on every held-out patient's true features, the asking hospital known or not."""
    known_nC = np.array([assembly.consult("heart", [record.features], asker=silo)[0].numpy() for silo, record in held_out])
    unknown_nC = assembly.consult("heart", [record.features for _, record in held_out]).numpy()
    return {
        name: {"accuracy": float((chances.argmax(1) == truth_n).mean()), "auc": one_against_rest(chances, truth_n)}
        for name, chances in (("asker_known", known_nC), ("asker_unknown", unknown_nC))
    }
