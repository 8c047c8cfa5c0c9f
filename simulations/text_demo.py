"""Four silos of texts, one provider: experts that were trained on texts under DP speak through the shared injector.

As the demo (``simulations.demo``), with texts: real processes, sealed uploads over mTLS, held-out texts that nobody
trained on, questions in the wording that judges. A stage whose result is on disk is not done again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llamdex_fl.assembly import AssembledLlamdex, evaluate
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.experts import MINILM_LORA
from llamdex_fl.schema import load_library_schema
from provider_server.config import load_provider_config
from provider_server.fitting import fit_connectors, fit_injector
from provider_server.live_assembly import open_assembly
from simulations.datasets import Split, sentiment_silos, split
from simulations.demo.background import ReaderInBackground
from simulations.demo.consortium import Domain, claimed, found, write_json
from simulations.demo.rounds import Rounds
from simulations.evaluation import held_out_questions
from simulations.local_consortium import PrivacyTerms

__all__ = ["TextDemoSettings", "report_line", "run_text_demo"]

_SCHEMA = "sentiment"
_RECORD_BOUND = 20_000
_BATCH = 256

#: Told (stage, done, in all); in all 0 while it is not known.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextDemoSettings:
    """What the demo of texts runs with.

    Attributes:
        out: directory of the report and of the consortium.
        seed: fixes which texts are held out and how questions are worded; the noise comes from the system.
        epsilon, delta: guarantee of each silo's release, by record, add or remove one.
        questions: held-out texts that are asked about through the LLM; the silos take turns.
        base_questions: how many of these the base LLM alone gets too.
    """

    out: Path
    seed: int = 0
    epsilon: float = 2.0
    delta: float = 1e-5
    questions: int = 160
    base_questions: int = 40


def run_text_demo(settings: TextDemoSettings, on_progress: Progress) -> dict[str, Any]:
    """Run all stages, write ``report.json``, and return what stands in it.

    Raises:
        LlamdexError: of the stage that failed; the same call goes on from there.
    """
    with claimed(settings.out):
        on_progress("texts", 0, 0)
        terms = PrivacyTerms(
            epsilon=settings.epsilon,
            delta=settings.delta,
            lifetime_epsilon=settings.epsilon,
            record_bound=_RECORD_BOUND,
        )
        splits = {silo: split(own, settings.seed) for silo, own in sentiment_silos().items()}
        domain = Domain(load_library_schema(_SCHEMA), splits, terms, MINILM_LORA)
        founded = found(settings.out, (domain,))
        config = load_provider_config(founded.provider_home)
        with ReaderInBackground(config.home, on_progress) as reader:
            base = load_base_llm(config.base_llm)
            Rounds(settings.out, founded, config, base.digest, on_progress).hold((domain,))
            fit_injector(base, on_progress=on_progress)
            reader.wait()
        fit_connectors(config, base)
        assembly = open_assembly(config, base)
        asked = held_out_questions(domain.schema, splits, settings.seed, settings.questions)
        measured = evaluate(
            assembly,
            asked,
            timed=8,
            base_asked=settings.base_questions,
            on_question=lambda done, total: on_progress("questions", done, total),
        )
        report = {
            "epsilon": settings.epsilon,
            "delta": settings.delta,
            "seed": settings.seed,
            "experts_on_all_held_out_texts": _experts(assembly, splits),
            **measured,
        }
        write_json(settings.out / "report.json", report)
    return report


def report_line(report: Mapping[str, Any]) -> str:
    """The figures in a sentence."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f} %"

    return (
        f"epsilon {report['epsilon']:g} (delta {report['delta']:g}, one record more or less) a silo: the assembled LLM "
        f"is right on {percent(report['answer_accuracy'])} of {len(report['answers'])} held-out texts, its experts on "
        f"the true texts on {percent(report['expert_accuracy_true_features'])}, the LLM alone on "
        f"{percent(report['base_llm_accuracy'])} (made to choose: "
        f"{percent(report['base_llm_forced_choice_accuracy'])}); the text was found in "
        f"{percent(report['reader']['exact_match'])} of the questions"
    )


def _experts(assembly: AssembledLlamdex, splits: Mapping[str, Split]) -> dict[str, Any]:
    """Accuracy on every held-out text, without the LLM: each source's own expert, and all together."""
    alone, together, counts = {}, {}, {}
    for silo, own in splits.items():
        texts = [record.features for record in own.held_out]
        labels_n = np.array([record.label for record in own.held_out])
        expert = next(seat.expert for seat in assembly.seats(_SCHEMA) if seat.silo == silo)
        parts = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        alone_n = np.concatenate([expert.predict_proba(part).argmax(axis=1) for part in parts])
        together_n = np.concatenate(
            [assembly.consult(_SCHEMA, part, asker=silo).argmax(dim=1).numpy() for part in parts]
        )
        alone[silo], together[silo] = float((alone_n == labels_n).mean()), float((together_n == labels_n).mean())
        counts[silo] = len(texts)
    total = sum(counts.values())
    return {
        "texts": counts,
        "own_expert": alone,
        "assembled": together,
        "assembled_mean": sum(together[silo] * counts[silo] for silo in counts) / total,
    }
