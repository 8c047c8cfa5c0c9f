"""What a seed's consortium is worth: each expert alone and all that may speak assembled, on the same held-out records.

Also the reference against which damage is measured: the same silos, records, budgets and noise without any fault, each
expert trained in a plain loop. Experts that the provider has from honest silos are the reference's own, bit for bit.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.experts import Expert, Panel, one_against_rest
from llamdex_fl.privacy import Guarantee, Ledger
from llamdex_fl.release import Offer, Release
from llamdex_fl.schema import Value
from provider_server.config import ProviderConfig
from provider_server.registry import Registry, ReleaseRecord
from provider_server.speaking import speaking_releases
from silo_client.data import read_records
from silo_client.policy import DEFAULT_PURPOSE, Policy, authorise
from silo_client.training import train
from simulations.datasets import LabelledRecord, write_silo_csv
from simulations.harness.population import Population
from simulations.harness.seams import noise_of
from simulations.local_consortium import PrivacyTerms

__all__ = ["Score", "Spoken", "assembled", "majority", "reference", "score_alone", "speakers", "train_plainly"]

_ZEROS = "0" * 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Share of right answers, and area under the ROC curve (each class against the rest)."""

    accuracy: float
    auc: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """An expert that may speak, or could: of the provider's registry, or of the reference."""

    silo: str
    expert: Expert
    guarantee: Guarantee


def speakers(config: ProviderConfig, population: Population) -> list[Spoken]:
    """The newest expert of each silo that may speak now, in the population's order."""
    newest: dict[str, ReleaseRecord] = {}
    with Registry(config.registry) as registry:
        for record in speaking_releases(config, registry, population.schema.digest()):
            newest[record.silo] = record
        releases = {silo: registry.load_release(record.release_id)[0] for silo, record in newest.items()}
    return [_spoken(population, silo, releases[silo]) for silo in population.silos if silo in releases]


def assembled(population: Population, spoken: Sequence[Spoken]) -> Score | None:
    """All of these together, the asker's silo known where it has an expert; None if nobody speaks."""
    if not spoken:
        return None
    records, labels_n = _asked(population)
    panel = Panel.of([one.expert for one in spoken], [one.guarantee for one in spoken])
    priors = {one.silo: one.expert.prior for one in spoken}
    pooled_C = panel.weighed.pooled_C
    priors_nC = np.array([priors.get(silo, pooled_C) for silo, _ in population.asked])
    return _score(panel.combined(records, priors_nC), labels_n)


def score_alone(population: Population, spoken: Sequence[Spoken]) -> dict[str, Score]:
    """Each expert by itself, by silo."""
    records, labels_n = _asked(population)
    return {one.silo: _score(one.expert.predict_proba(records), labels_n) for one in spoken}


def majority(population: Population) -> float:
    """Share of the commonest class among the records that are asked about."""
    _, labels_n = _asked(population)
    return float(np.bincount(labels_n).max() / len(labels_n))


def train_plainly(  # noqa: PLR0913, PLR0917 - what a release needs
    population: Population, silo: str, terms: PrivacyTerms, epsilon: float, seed: int, records: Sequence[LabelledRecord]
) -> Spoken:
    """Train one silo's expert in a plain loop, with the noise of its first round, from its CSV file to the release."""
    schema = population.schema
    offer = Offer(
        provider="provider",
        purpose=DEFAULT_PURPOSE,
        schema_digest=schema.digest(),
        architecture=population.architecture,
        base_model_digest=_ZEROS,
        epsilon=epsilon,
        delta=terms.delta,
        challenge=_ZEROS,
    )
    policy = Policy(
        data_set=f"records of {silo}",
        schemas=(offer.schema_digest,),
        providers=(offer.provider,),
        purposes=(offer.purpose,),
        architectures=(offer.architecture,),
        record_bound=terms.record_bound,
        release_epsilon=epsilon,
        lifetime_epsilon=epsilon,
        delta=terms.delta,
    )
    with tempfile.TemporaryDirectory(prefix="llamdex-sim-") as folder:
        path = Path(folder) / "records.csv"
        write_silo_csv(path, schema, records)
        release = train(
            schema,
            read_records(path, schema),
            authorise(offer, policy, schema),
            Ledger(Path(folder) / "ledger.sqlite"),
            noise=noise_of(seed, population.silos.index(silo), 1),
        )
    return _spoken(population, silo, release)


def reference(
    population: Population, honest: Mapping[str, Spoken], missing: Mapping[str, PrivacyTerms], epsilon: float, seed: int
) -> Score | None:
    """The assembly of a consortium without faults: the honest experts, and the missing ones trained plainly."""
    made = {
        silo: train_plainly(population, silo, terms, epsilon, seed, population.splits[silo].train)
        for silo, terms in missing.items()
    }
    everybody = [{**honest, **made}[silo] for silo in population.silos if silo in honest or silo in made]
    return assembled(population, everybody)


def _spoken(population: Population, silo: str, release: Release) -> Spoken:
    expert = Expert.from_tensors(population.schema, release.tensors, population.architecture)
    return Spoken(silo=silo, expert=expert, guarantee=release.guarantee)


def _asked(population: Population) -> tuple[list[dict[str, Value]], NDArray[np.int64]]:
    asked = [record for _, record in population.asked]
    return [record.features for record in asked], np.array([record.label for record in asked])


def _score(probabilities_nC: NDArray[np.float64], labels_n: NDArray[np.int64]) -> Score:
    return Score(
        accuracy=float((probabilities_nC.argmax(axis=1) == labels_n).mean()),
        auc=one_against_rest(probabilities_nC, labels_n),
    )
