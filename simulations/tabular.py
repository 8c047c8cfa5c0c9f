"""One owner's table: what a differentially private expert reaches on it, beside models that see the table in the clear.

The real path of a silo is taken, from the CSV file to the release: strict reading, policy, ledger, Opacus, PLD. A seed
fixes which records are held out, and the noise, so that the figures can be made again. Held-out records make the
figures and nothing else. Legend: n records, C classes, D codes.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from llamdex_fl.experts import THERMOMETER_LARGE, Expert, code_records, one_against_rest, recommended_architecture
from llamdex_fl.privacy import Budget, Guarantee, Ledger
from llamdex_fl.release import Offer, Release
from llamdex_fl.schema import Schema
from silo_client.data import read_records
from silo_client.policy import DEFAULT_PURPOSE, Policy, authorise
from silo_client.training import train
from simulations.datasets import TABLES, LabelledRecord, load_table, split, write_silo_csv
from simulations.seeded_noise import SeededNoise

__all__ = [
    "HELD_OUT",
    "Score",
    "TableResult",
    "boosting",
    "default_delta",
    "measure_table",
    "record_bound",
    "regression",
    "train_on",
]

HELD_OUT = 0.2
_ZEROS = "0" * 64
#: L2 penalty of the regression in the clear, divided by the number of records.
_PENALTY = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Share of right answers and area under the ROC curve (each class against the rest) on the held-out records."""

    accuracy: float
    auc: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TableResult:
    """One data set and one seed.

    Attributes:
        records: in all; four fifths of them are trained on.
        majority: share of the commonest class among the held-out records.
        guarantee: of the expert.
        expert: under differential privacy.
        regression: logistic regression on the same codes, in the clear.
        boosting: gradient boosting in the clear; None where scikit-learn is not installed.
    """

    data_set: str
    seed: int
    records: int
    majority: float
    architecture: str
    guarantee: Guarantee
    expert: Score
    regression: Score
    boosting: Score | None


def default_delta(records: int) -> float:
    """records^-1.1, as the literature has it, for a training table of so many records."""
    return float(records**-1.1)


def measure_table(
    data_set: str,
    seed: int,
    *,
    epsilon: float = 1.0,
    delta: float | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> TableResult:
    """Hold a fifth of a table out, train on the rest, and score.

    Args:
        data_set: a key of ``simulations.datasets.TABLES``.
        seed: fixes the held-out records and the noise.
        epsilon: of the release; adding or removing one record is what it speaks of.
        delta: None for ``default_delta``.
        on_step: told (done, planned) while the expert is trained.

    Raises:
        ArtefactError: the data cannot be had.
    """
    schema, records = TABLES[data_set].schema(), load_table(data_set)
    parts = split(records, seed, HELD_OUT)
    architecture = recommended_architecture(schema, record_bound(len(parts.train)))
    budget = Budget(epsilon=epsilon, delta=delta or default_delta(len(parts.train)))
    release = train_on(schema, parts.train, architecture, budget, seed, on_step)
    labels_n = np.array([record.label for record in parts.held_out])
    asked = [record.features for record in parts.held_out]
    expert = Expert.from_tensors(schema, release.tensors, architecture)
    return TableResult(
        data_set=data_set,
        seed=seed,
        records=len(records),
        majority=float(np.bincount(labels_n).max() / len(labels_n)),
        architecture=architecture,
        guarantee=release.guarantee,
        expert=_score(expert.predict_proba(asked), labels_n),
        regression=_score(regression(schema, parts.train, parts.held_out), labels_n),
        boosting=_boosting(schema, parts.train, parts.held_out),
    )


def train_on(  # noqa: PLR0913, PLR0917 - what a release needs
    schema: Schema,
    records: Sequence[LabelledRecord],
    architecture: str,
    budget: Budget,
    seed: int,
    on_step: Callable[[int, int], None] | None = None,
) -> Release:
    """Let a silo that owns these records make one release.

    The policy bounds the number of records by ``record_bound``.
    """
    offer = Offer(
        provider="provider",
        purpose=DEFAULT_PURPOSE,
        schema_digest=schema.digest(),
        architecture=architecture,
        base_model_digest=_ZEROS,
        epsilon=budget.epsilon,
        delta=budget.delta,
        challenge=_ZEROS,
    )
    policy = Policy(
        data_set="records",
        schemas=(offer.schema_digest,),
        providers=(offer.provider,),
        purposes=(offer.purpose,),
        architectures=(architecture,),
        record_bound=record_bound(len(records)),
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
            noise=SeededNoise(seed),
            progress=on_step,
        )


def record_bound(records: int) -> int:
    """The next power of two: the size of the order is public, the number is not."""
    return 1 << (records - 1).bit_length()


def _score(probabilities_nC: NDArray[np.float64], labels_n: NDArray[np.int64]) -> Score:
    return Score(
        accuracy=float((probabilities_nC.argmax(axis=1) == labels_n).mean()),
        auc=one_against_rest(probabilities_nC, labels_n),
    )


def regression(schema: Schema, known: Sequence[LabelledRecord], asked: Sequence[LabelledRecord]) -> NDArray[np.float64]:
    """Probabilities of softmax regression on features' own codes, without noise and without clipping, [n, C]."""
    codes_nD, asked_mD = (
        torch.from_numpy(code_records(THERMOMETER_LARGE, schema, [record.features for record in some])).double()
        for some in (known, asked)
    )
    labels_n = torch.tensor([record.label for record in known])
    classes = len(schema.target.labels)
    weight_DC = torch.zeros(codes_nD.shape[1], classes, dtype=torch.float64, requires_grad=True)
    bias_C = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight_DC, bias_C], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        error = torch.nn.functional.cross_entropy(codes_nD @ weight_DC + bias_C, labels_n)
        total = error + _PENALTY / len(known) * (weight_DC**2).sum()
        total.backward()  # type: ignore[no-untyped-call] # torch's own
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call] # torch's own
    with torch.no_grad():
        found: NDArray[np.float64] = torch.softmax(asked_mD @ weight_DC + bias_C, dim=1).numpy()
    return found


def boosting(
    schema: Schema, known: Sequence[LabelledRecord], asked: Sequence[LabelledRecord]
) -> NDArray[np.float64] | None:
    """Probabilities of gradient boosting as scikit-learn comes, on the plain columns, [n, C]; None without it."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - it may not be installed
    except ImportError:
        return None
    columns = [feature.is_category for feature in schema.features]
    model = HistGradientBoostingClassifier(categorical_features=columns, random_state=0)
    labels_n = np.array([record.label for record in known])
    probabilities_mC = np.zeros((len(asked), len(schema.target.labels)))
    if len(np.unique(labels_n)) == 1:  # it refuses a table of one class, which noise can make
        probabilities_mC[:, labels_n[0]] = 1.0
        return probabilities_mC
    model.fit(_plain(schema, known), labels_n)
    # A class of which no record was seen has no column of its own there.
    probabilities_mC[:, model.classes_] = model.predict_proba(_plain(schema, asked))
    return probabilities_mC


def _boosting(schema: Schema, known: Sequence[LabelledRecord], asked: Sequence[LabelledRecord]) -> Score | None:
    probabilities_mC = boosting(schema, known, asked)
    return None if probabilities_mC is None else _score(probabilities_mC, np.array([own.label for own in asked]))


def _plain(schema: Schema, records: Sequence[LabelledRecord]) -> NDArray[np.float64]:
    """Numbers as they are, categories by their place, absent ones not a number."""
    table = np.full((len(records), len(schema.features)), np.nan)
    for column, feature in enumerate(schema.features):
        place = {category: index for index, category in enumerate(feature.categories)}
        for row, record in enumerate(records):
            value = record.features.get(feature.name)
            if isinstance(value, str):
                table[row, column] = place[value]
            elif value is not None:
                table[row, column] = value
    return table
