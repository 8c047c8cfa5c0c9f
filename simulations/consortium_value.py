"""What a consortium is worth: each silo's expert alone, all experts assembled, the pooled table, and the LLM's word.

The real path of a silo is taken, from the CSV file to the release: strict reading, policy, ledger, Opacus, PLD.
Only the noise comes from a seed, so that the figures can be made again. A seed fixes the held-out records and the
noise; held-out records are used for the figures and for nothing else.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.assembly import AskedQuestion, AssembledLlamdex, Seat, evaluate
from llamdex_fl.experts import MINILM_LORA, THERMOMETER_LINEAR, Expert, Panel, one_against_rest
from llamdex_fl.privacy import Budget, Guarantee, Ledger
from llamdex_fl.release import Offer, Release
from llamdex_fl.schema import Schema, load_library_schema
from silo_client.data import read_records
from silo_client.policy import DEFAULT_PURPOSE, Policy, authorise
from silo_client.training import train
from simulations.datasets import (
    LabelledRecord,
    Split,
    load_heart,
    split,
    synthetic_publishers,
    synthetic_silos,
    titanic_silos,
    write_silo_csv,
)
from simulations.evaluation import held_out_questions
from simulations.seeded_noise import SeededNoise

__all__ = [
    "DOMAINS",
    "Domain",
    "Figures",
    "FiguresOfLLM",
    "SeedResult",
    "TrainedConsortium",
    "run_seed",
    "train_consortium",
    "train_records",
    "train_silos",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """Where a consortium's records come from: a library schema, and each silo's records for a seed."""

    schema: str
    silos: Callable[[int], Mapping[str, Sequence[LabelledRecord]]]


#: ``synthetic`` is another consortium for each seed, drawn from the heart schema, ``synthetic-texts`` one of made-up
#: texts: recipes are chosen there.
DOMAINS: Mapping[str, Domain] = {
    "heart": Domain(schema="heart", silos=lambda _seed: load_heart()),
    "titanic": Domain(schema="titanic", silos=titanic_silos),
    "synthetic": Domain(schema="heart", silos=lambda seed: synthetic_silos(load_library_schema("heart"), seed)),
    "synthetic-texts": Domain(
        schema="sentiment", silos=lambda seed: synthetic_publishers(load_library_schema("sentiment"), seed)
    ),
}
_RECORD_BOUND, _TEXT_BOUND = 1000, 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Share of right answers, and the area under the ROC curve, on the held-out records of all silos."""

    accuracy: float
    auc: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FiguresOfLLM(Figures):
    """What the assembled LLM says to questions about the held-out records, in held-out wordings.

    Attributes:
        expert_accuracy, expert_auc: of the same experts on the true features of the same questions.
        reader_exact_match: share of the features that were read as they are.
        sentence_rate: share of the answers that are an outcome's whole sentence.
        questions: how many were asked.
    """

    expert_accuracy: float
    expert_auc: float
    reader_exact_match: float
    sentence_rate: float
    questions: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedResult:
    """One seed's figures.

    Attributes:
        alone: each silo's expert by itself, as it would answer without a consortium.
        assembled: all experts, the asker's silo known.
        assembled_unknown: all experts, the asker's silo unknown.
        pooled: one expert trained on all silos' records, under the same guarantee.
        majority_rate: share of the commonest class.
        llm: what the LLM says with all experts behind it, the asker's silo known; None where no LLM was asked.
    """

    seed: int
    epsilon: float
    alone: Mapping[str, Figures]
    assembled: Figures
    assembled_unknown: Figures
    pooled: Figures
    majority_rate: float
    llm: FiguresOfLLM | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedConsortium:
    """Every silo's expert, and the records that none of them has seen.

    Attributes:
        splits: by silo, what was trained on and what was held out.
        experts, guarantees: of the silos, in the same order.
    """

    schema: Schema
    splits: Mapping[str, Split]
    experts: Sequence[Expert]
    guarantees: Sequence[Guarantee]

    @property
    def held_out(self) -> list[LabelledRecord]:
        """The held-out records of all silos, n of them, silo after silo."""
        return [record for part in self.splits.values() for record in part.held_out]

    @property
    def priors_nC(self) -> NDArray[np.float64]:  # noqa: N802 - shape suffix
        """Of each held-out record, the shares of the classes at its own silo as its expert has them."""
        priors_iC = np.array([expert.prior for expert in self.experts])
        return priors_iC.repeat([len(part.held_out) for part in self.splits.values()], axis=0)


def train_consortium(domain: str, seed: int, budget: Budget) -> TrainedConsortium:
    """Train the expert of each silo of a consortium.

    Args:
        domain: a key of ``DOMAINS``.
        seed: fixes the held-out records and the noise.
        budget: what each silo's release may cost.

    Raises:
        ArtefactError: the data is not there.
    """
    return train_silos(load_library_schema(DOMAINS[domain].schema), DOMAINS[domain].silos(seed), seed, budget)


def train_silos(
    schema: Schema, silos: Mapping[str, Sequence[LabelledRecord]], seed: int, budget: Budget
) -> TrainedConsortium:
    """The same for any silos' records.

    Args:
        schema: what the records mean.
        silos: each silo's records, held-out ones included.
        seed: fixes the held-out records and the noise.
        budget: what each silo's release may cost.
    """
    splits = {silo: split(records, seed) for silo, records in silos.items()}
    releases = [
        train_records(schema, part.train, budget, (seed, number)) for number, part in enumerate(splits.values())
    ]
    return TrainedConsortium(
        schema=schema,
        splits=splits,
        experts=[Expert.from_tensors(schema, release.tensors, release.architecture) for release in releases],
        guarantees=[release.guarantee for release in releases],
    )


def run_seed(  # noqa: PLR0913 - the last two are the LLM's
    domain: str,
    seed: int,
    *,
    epsilon: float = 1.0,
    delta: float = 1e-4,
    assembly: AssembledLlamdex | None = None,
    on_question: Callable[[int, int], None] | None = None,
) -> SeedResult:
    """Train and score a whole consortium.

    Args:
        domain: a key of ``DOMAINS``.
        seed: fixes the held-out records and the noise.
        epsilon: what each silo's release may cost.
        delta: of each guarantee.
        assembly: asked about every held-out record, the experts in its seats; None asks no LLM.
        on_question: told (asked, in all) while the LLM is asked.

    Raises:
        ArtefactError: the data is not there.
        InputError: the assembly's connectors do not know the domain's schema.
    """
    budget = Budget(epsilon=epsilon, delta=delta)
    trained = train_consortium(domain, seed, budget)
    schema, splits, experts, guarantees = trained.schema, trained.splits, trained.experts, trained.guarantees
    records = [record.features for record in trained.held_out]
    labels_n = np.array([record.label for record in trained.held_out])
    everything = [record for part in splits.values() for record in part.train]
    pooled = train_records(schema, everything, budget, (seed, len(splits)))
    together = Panel.of(experts, guarantees).evidence(records)
    llm = None
    if assembly is not None:
        for silo, expert, guarantee in zip(splits, experts, guarantees, strict=True):
            assembly.seat(schema.name, Seat(silo, expert, guarantee))
        llm = _ask(assembly, held_out_questions(schema, splits, seed), on_question)
    return SeedResult(
        seed=seed,
        epsilon=max(guarantee.epsilon for guarantee in guarantees),
        alone={
            silo: _figures(expert.predict_proba(records), labels_n)
            for silo, expert in zip(splits, experts, strict=True)
        },
        assembled=_figures(together.combined(trained.priors_nC), labels_n),
        assembled_unknown=_figures(together.combined(), labels_n),
        pooled=_figures(Expert.from_tensors(schema, pooled.tensors).predict_proba(records), labels_n),
        majority_rate=float(np.bincount(labels_n).max() / len(labels_n)),
        llm=llm,
    )


def _ask(
    assembly: AssembledLlamdex, questions: Sequence[AskedQuestion], on_question: Callable[[int, int], None] | None
) -> FiguresOfLLM:
    found = evaluate(assembly, questions, timed=0, base_asked=0, on_question=on_question)
    return FiguresOfLLM(
        accuracy=found["answer_accuracy"],
        auc=found["answer_auc"],
        expert_accuracy=found["expert_accuracy_true_features"],
        expert_auc=found["expert_auc_true_features"],
        reader_exact_match=found["reader"]["exact_match"],
        sentence_rate=found["answer_sentence_rate"],
        questions=found["questions"],
    )


def _figures(probabilities_nC: NDArray[np.float64], labels_n: NDArray[np.int64]) -> Figures:
    return Figures(
        accuracy=float((probabilities_nC.argmax(axis=1) == labels_n).mean()),
        auc=one_against_rest(probabilities_nC, labels_n),
    )


def train_records(schema: Schema, records: Sequence[LabelledRecord], budget: Budget, seed: tuple[int, ...]) -> Release:
    """One silo's release, by the real path; ``seed`` fixes the noise."""
    offer = Offer(
        provider="provider",
        purpose=DEFAULT_PURPOSE,
        schema_digest=schema.digest(),
        architecture=MINILM_LORA if schema.is_text else THERMOMETER_LINEAR,
        base_model_digest="0" * 64,
        epsilon=budget.epsilon,
        delta=budget.delta,
        challenge="0" * 64,
    )
    policy = Policy(
        data_set="records",
        schemas=(offer.schema_digest,),
        providers=(offer.provider,),
        purposes=(offer.purpose,),
        architectures=(offer.architecture,),
        record_bound=_TEXT_BOUND if schema.is_text else _RECORD_BOUND,
        release_epsilon=budget.epsilon,
        lifetime_epsilon=budget.epsilon,
        delta=budget.delta,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.csv"
        write_silo_csv(path, schema, records)
        return train(
            schema,
            read_records(path, schema),
            authorise(offer, policy, schema),
            Ledger(Path(folder) / "ledger.sqlite"),
            noise=SeededNoise(np.random.SeedSequence(seed).generate_state(1)[0]),
        )
