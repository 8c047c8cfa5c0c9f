"""The base LLM asked about held-out records: as everybody has it, told by the experts in the prompt or ours, and tuned.

Questions are in the held-out wordings, which nothing was trained on; tuning uses the training wordings, as our reader
does. An answer is the outcome whose sentence the LLM finds likeliest at the start of its turn: it cannot fail to name
one, which is kinder than reading what it says (``said_accuracy`` tells that, where texts are generated).
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from llamdex_fl.assembly import Answer, AskedQuestion, AssembledLlamdex, Seat
from llamdex_fl.assembly.base_alone import answer_alone, said_answer
from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.connectors.questions import QuestionGenerator, training_wording
from llamdex_fl.errors import ConfigError, SchemaError
from llamdex_fl.privacy import Budget
from llamdex_fl.schema import Schema
from simulations.alternatives.experts import train_silos
from simulations.alternatives.lora import LoraSettings, tuned
from simulations.alternatives.outcome import Alternative, Cohort, Outcome, Spent
from simulations.alternatives.synthesis import SynthesisSettings, synthetic_cohort
from simulations.datasets import LabelledRecord
from simulations.evaluation import held_out_questions

__all__ = ["LLMSettings", "assembled_llm", "expert_api", "llm_on_synthetic", "plain_llm", "sentence_chances", "worded"]

_BATCH = 8
_TOKENS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class LLMSettings:
    """How an LLM is asked.

    Attributes:
        load: gives the base LLM.
        questions: held-out records that are asked about, the silos taking turns; None for all.
        said: generate texts too, and report how many of them name the right outcome.
    """

    load: Callable[[], BaseLLM] = load_base_llm
    questions: int | None = 40
    said: bool = True


def plain_llm(settings: LLMSettings | None = None) -> Alternative:
    """The base LLM alone."""
    settings = settings or LLMSettings()

    def answer(cohort: Cohort, _budget: Budget, seed: int) -> list[Outcome]:
        started = time.process_time()
        asked = held_out_questions(cohort.schema, cohort.splits, seed, settings.questions)
        texts = [own.question for own in asked]
        return [_outcome("plain_llm", settings, settings.load(), cohort, asked, texts, None, started, 0)]

    return answer


def expert_api(settings: LLMSettings | None = None) -> Alternative:
    """What all experts together say of the true features is put into the prompt, in words and as a probability."""
    settings = settings or LLMSettings()

    def answer(cohort: Cohort, budget: Budget, seed: int) -> list[Outcome]:
        started = time.process_time()
        trained = train_silos(cohort, budget, seed)
        chances_nC = trained.assembled(cohort)
        asked = held_out_questions(cohort.schema, cohort.splits, seed, settings.questions)
        told_mC = chances_nC[_rows(cohort, asked)]
        texts = [
            f"{own.question}\n\nA specialist model that was asked about this case answered: "
            f"{cohort.schema.target.sentences[int(chances_C.argmax())]} (probability {chances_C.max():.0%})"
            for own, chances_C in zip(asked, told_mC, strict=True)
        ]
        base = settings.load()
        return [
            _outcome("expert_api", settings, base, cohort, asked, texts, trained.spent, started, trained.bytes_sent)
        ]

    return answer


def assembled_llm(
    settings: LLMSettings | None = None, connectors: Callable[[], AssembledLlamdex] | None = None
) -> Alternative:
    """What the assembled LLM says to a question: it reads the record in the text, and its experts speak through it.

    Args:
        settings: None for the defaults.
        connectors: gives a provider's assembly without experts.
    """
    settings = settings or LLMSettings()

    def answer(cohort: Cohort, budget: Budget, seed: int) -> list[Outcome]:
        if connectors is None:
            raise ConfigError(
                "The assembled LLM needs a provider's reader and injector.",
                expected="the home of a provider that has connectors",
                got="none",
                next_step="make demo-all, then --provider out/demo-all/provider; or leave assembled_llm out",
            )
        started, schema = time.process_time(), cohort.schema
        trained, assembly = train_silos(cohort, budget, seed), connectors()
        for silo, expert, release in zip(cohort.splits, trained.experts, trained.releases, strict=True):
            assembly.seat(schema.name, Seat(silo, expert, release.guarantee))
        asked = held_out_questions(schema, cohort.splits, seed, settings.questions)
        try:
            answers = assembly.answer_all([own.question for own in asked], askers=[own.asker for own in asked])
        finally:
            for silo in cohort.splits:
                assembly.unseat(schema.name, silo)
        rows = _rows(cohort, asked)
        order = np.argsort(rows)
        chances_mC = np.array([_said(schema, own, heard) for own, heard in zip(asked, answers, strict=True)])
        return [
            Outcome(
                method="assembled_llm",
                probabilities_mC=chances_mC[order],
                rows_m=rows[order],
                spent=trained.spent,
                seconds=time.process_time() - started,
                bytes_sent=trained.bytes_sent,
                told={"routed": float(np.mean([heard.schema == schema.name for heard in answers]))},
            )
        ]

    return answer


def _said(schema: Schema, asked: AskedQuestion, heard: Answer) -> list[float]:
    """The classes' probabilities where the LLM says what it holds likeliest; else all on what it says.

    An answer that says no outcome is wrong, so all is on a class that is not the record's.
    """
    labels = schema.target.labels
    said = said_answer(heard.text, schema)
    if heard.schema == schema.name:
        chances = list(heard.probabilities.values())
        if said == labels[int(np.argmax(chances))]:
            return chances
    if said is None:
        said = next(label for label in labels if label != asked.label)
    return [float(label == said) for label in labels]


def llm_on_synthetic(
    method: str,
    settings: LLMSettings | None = None,
    lora: LoraSettings | None = None,
    synthesis: SynthesisSettings | None = None,
) -> Alternative:
    """The base LLM tuned on questions about the silos' synthetic records, with their synthetic outcomes.

    Args:
        method: of the synthesis.
        settings: None for the defaults.
        lora: None for the defaults.
        synthesis: None for the defaults.
    """
    settings, lora = settings or LLMSettings(), lora or LoraSettings()

    def answer(cohort: Cohort, budget: Budget, seed: int) -> list[Outcome]:
        started = time.process_time()
        drawn, tables = synthetic_cohort(cohort, method, budget, seed, synthesis)
        taught = worded(cohort.schema, drawn, seed, lora.steps * lora.batch)
        base = settings.load()
        asked = held_out_questions(cohort.schema, cohort.splits, seed, settings.questions)
        texts = [own.question for own in asked]
        sent = sum(table.bytes_sent for table in tables)
        name = f"llm_on_synthetic_{method}"
        with tuned(base, taught, lora, seed) as own:
            outcome = _outcome(name, settings, own, cohort, asked, texts, tables[0].spent, started, sent)
        return [outcome]

    return answer


def worded(schema: Schema, records: Sequence[LabelledRecord], seed: int, count: int) -> list[tuple[str, str]]:
    """Questions about records in the training wording, each with its outcome's sentence.

    Records are taken in a random order, all of them before any again, until there are ``count``.
    """
    generator = QuestionGenerator(training_wording(schema))
    names = {feature.name for feature in schema.features}
    rng = random.Random(seed)  # noqa: S311 - wording, not keys
    pairs: list[tuple[str, str]] = []
    order: list[int] = []
    refused = 0
    while len(pairs) < count and refused <= len(records):
        if not order:
            order = rng.sample(range(len(records)), len(records))
        record = records[order.pop()]
        features = {name: record.features.get(name) for name in names}
        try:
            question = generator.ask(features, rng).text
        except SchemaError:  # the wording cannot say this record: another one
            refused += 1
            continue
        pairs.append((question, schema.target.sentences[record.label]))
    return pairs


@torch.inference_mode()
def sentence_chances(base: BaseLLM, questions: Sequence[str], sentences: Sequence[str]) -> NDArray[np.float64]:
    """How likely the LLM finds each outcome's sentence as its answer, normalised over the outcomes, [n, C].

    The prompt goes through the LLM once, whatever C is: every sentence goes on from what the LLM kept of it.
    """
    end = int(base.tokenizer.eos_token_id)
    answers = [base.answer_ids(sentence) for sentence in sentences]
    longest = max(map(len, answers))
    # Padding stands behind what is scored, so a causal LLM needs no mask.
    answers_CT = torch.tensor([own + [end] * (longest - len(own)) for own in answers]).to(base.model.device)
    counts_CT = torch.tensor([[place < len(own) for place in range(longest)] for own in answers])
    chances = []
    for question in questions:
        read = base.model(input_ids=base.prompt_ids(question), use_cache=True, logits_to_keep=1)
        kept = read.past_key_values
        kept.batch_repeat_interleave(len(answers))
        said_CTV = base.model(input_ids=answers_CT[:, :-1], past_key_values=kept).logits if longest > 1 else None
        first_CTV = read.logits.expand(len(answers), 1, -1)
        logits_CTV = first_CTV if said_CTV is None else torch.cat([first_CTV, said_CTV], dim=1)
        logs_CTV = torch.log_softmax(logits_CTV.float(), dim=-1)
        logs_CT = logs_CTV.gather(2, answers_CT[:, :, None])[:, :, 0].cpu()
        scores_C = (logs_CT * counts_CT).sum(dim=1, dtype=torch.float64)
        chances.append(torch.softmax(scores_C, 0).numpy())
    return np.array(chances)


def _outcome(  # noqa: PLR0913, PLR0917 - an outcome's parts
    method: str,
    settings: LLMSettings,
    base: BaseLLM,
    cohort: Cohort,
    asked: Sequence[AskedQuestion],
    texts: Sequence[str],
    spent: Spent | None,
    started: float,
    bytes_sent: int,
) -> Outcome:
    rows = _rows(cohort, asked)
    order = np.argsort(rows)
    chances_mC = sentence_chances(base, texts, cohort.schema.target.sentences)[order]
    told = {}
    if settings.said:
        said = []
        for start in range(0, len(texts), _BATCH):
            for own, heard in zip(
                asked[start : start + _BATCH],
                answer_alone(base, texts[start : start + _BATCH], max_new_tokens=_TOKENS),
                strict=True,
            ):
                said.append(said_answer(heard.text, cohort.schema) == own.label)
        told["said_accuracy"] = float(np.mean(said))
    return Outcome(
        method=method,
        probabilities_mC=chances_mC,
        rows_m=rows[order],
        spent=spent,
        seconds=time.process_time() - started,
        bytes_sent=bytes_sent,
        told=told,
    )


def _rows(cohort: Cohort, asked: Sequence[AskedQuestion]) -> NDArray[np.int64]:
    """The place of each question's record among the held-out ones."""
    places, place = {}, 0
    for silo, part in cohort.splits.items():
        for number in range(len(part.held_out)):
            places[f"{silo}-{number}"] = place
            place += 1
    return np.array([places[own.identity] for own in asked], np.int64)
