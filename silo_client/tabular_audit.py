"""The tabular expert under audit: canaries of a schema, the very trainer, and an attacker of the released weights.

The adversary is the one that the guarantee speaks of and the worst that it allows: it knows the schema, the recipe,
every record and every canary, and sees the release. It does not know the coins and the randomness of the training. It
does not see single steps, which nobody outside a silo does; the weights it sees are a mean of them, and keep most of
what all steps together tell.

Released weights are close to linear in what was present: w = -k (sum of the canaries' clipped gradients) + noise, where
the gain k and the noise's deviation follow from the recipe, the noisy counts and the guarantee. The attacker inverts
that as the linear estimate of least mean squared error, so that a canary is not taken for another that resembles it. It
does not believe the claim: how much louder the canaries are, or softer the noise, it fits to the release by likelihood,
and so sees noise that is missing. Legend: m canaries, C classes, D codes and the constant, p = C D weights.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import InputError
from llamdex_fl.experts import THERMOMETER_LINEAR, encode
from llamdex_fl.privacy import Ledger, SampledGaussian
from llamdex_fl.release import Offer, Release
from llamdex_fl.schema import Feature, Schema, Value
from silo_client.data import SiloData
from silo_client.noise import NoiseSource, SecureNoise
from silo_client.policy import DEFAULT_PURPOSE, Policy, authorise
from silo_client.training import Recipe, train

__all__ = ["TabularTrainer"]

#: How often a feature of a drawn record is absent: absence has a code of its own, and so makes canaries less alike.
_ABSENT = 0.25
#: What the attacker holds possible: canaries this much louder, noise this much softer (in deviations) than claimed.
_LOUDER = 2.0 ** np.arange(0, 7)
_SOFTER = 2.0 ** -np.arange(0, 15)
_NOBODY = "audit"


class TabularTrainer:
    """``silo_client.training.train`` on drawn records; a ``silo_client.audit.AuditedTrainer``."""

    def __init__(  # noqa: PLR0913 - the last two are for tests
        self,
        schema: Schema,
        *,
        epsilon: float,
        delta: float,
        canaries: int,
        records: int = 0,
        recipe: Recipe | None = None,
        noise: NoiseSource | None = None,
    ) -> None:
        """Draw the canaries and the other records.

        Args:
            schema: what records mean.
            epsilon: that a release may cost, as an offer names it.
            delta: likewise.
            canaries: m.
            records: others, that are present in every training. They say nothing (each feature is absent, each label
                as common as the others) and make an audit sharper: where records are few the recipe's steps are long,
                and its noise drives the weights to where canaries are softer.
            recipe: as of ``train``.
            noise: as of ``train``; also what records are drawn with.

        Raises:
            InputError: epsilon or delta is out of range.
        """
        if not (0.0 < epsilon < math.inf and 0.0 < delta < 1.0):
            raise InputError(
                "This guarantee cannot be audited.",
                expected="an epsilon above 0, and a delta above 0 and below 1",
                got=f"{epsilon:g} and {delta:g}",
                next_step="give what an offer would name",
            )
        self._schema = schema
        self._recipe = Recipe() if recipe is None else recipe
        self._noise = noise
        source = SecureNoise() if noise is None else noise
        classes = len(schema.target.labels)
        self._others = _Drawn.of(schema, [_blank(schema)] * records, [n % classes for n in range(records)])
        labels = (source.uniforms(canaries) * classes).astype(int)
        self._canaries = _Drawn.of(schema, [_draw(schema, source) for _ in range(canaries)], labels.tolist())
        offer = Offer(
            provider=_NOBODY,
            purpose=DEFAULT_PURPOSE,
            schema_digest=schema.digest(),
            architecture=THERMOMETER_LINEAR,
            base_model_digest="0" * 64,
            epsilon=epsilon,
            delta=delta,
            challenge="0" * 64,
        )
        policy = Policy(
            data_set="canaries",
            schemas=(offer.schema_digest,),
            providers=(offer.provider,),
            purposes=(offer.purpose,),
            architectures=(offer.architecture,),
            record_bound=max(1, canaries + records),
            release_epsilon=epsilon,
            lifetime_epsilon=epsilon,
            delta=delta,
        )
        self._authorisation = authorise(offer, policy, schema)

    @property
    def canaries(self) -> int:
        """How many canaries there are."""
        return len(self._canaries.labels)

    def train(self, present_m: NDArray[np.bool_]) -> Release:
        """Train on the other records and the canaries that are present; the ledger is thrown away afterwards.

        Raises:
            InputError: epsilon and delta cannot be met by the recipe.
        """
        places = np.flatnonzero(present_m)
        data = SiloData(
            records=(*self._others.records, *(self._canaries.records[n] for n in places)),
            labels=(*self._others.labels, *(self._canaries.labels[n] for n in places)),
            digest=hashlib.sha256(present_m.tobytes()).hexdigest(),
        )
        with TemporaryDirectory(prefix="llamdex-audit-") as folder:
            ledger = Ledger(Path(folder) / "ledger.sqlite")
            return train(self._schema, data, self._authorisation, ledger, recipe=self._recipe, noise=self._noise)

    def scores(self, release: Release) -> NDArray[np.float64]:
        """Each canary's log-odds of having been present, from the release alone, [m]."""
        counts_C = release.tensors["class_counts"].astype(np.float64)
        prior_C = counts_C / counts_C.sum()
        constant = self._recipe.constant
        bias_C = (release.tensors["bias"].astype(np.float64) - np.log(prior_C)) / constant
        weights_p = np.column_stack([release.tensors["weight"].astype(np.float64), bias_C]).ravel()
        mechanism = next(m for m in release.guarantee.mechanisms if isinstance(m, SampledGaussian))
        passage = _passage(self._recipe, mechanism, float(counts_C.sum()))
        canaries_mp = self._canaries.gradients(prior_C, constant, mechanism.max_grad_norm)
        others_np = self._others.gradients(prior_C, constant, mechanism.max_grad_norm)
        return _log_odds(-passage.gain * canaries_mp, -passage.gain * others_np, weights_p, passage)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Records that were drawn from a schema, and their codes, [n, D - 1]."""

    records: list[dict[str, Value]]
    labels: list[int]
    codes: NDArray[np.float64]

    @classmethod
    def of(cls, schema: Schema, records: list[dict[str, Value]], labels: list[int]) -> "_Drawn":
        return cls(records, labels, encode(schema, records).astype(np.float64))

    def gradients(self, prior_C: NDArray[np.float64], constant: float, norm: float) -> NDArray[np.float64]:
        """Clipped gradients of the first step, [n, p]."""
        errors_nC = prior_C - np.eye(len(prior_C))[self.labels]
        codes_nD = np.column_stack([self.codes, np.full(len(self.codes), constant)])
        gradients_np = (errors_nC[:, :, None] * codes_nD[:, None, :]).reshape(
            len(codes_nD), errors_nC.shape[1] * codes_nD.shape[1]
        )
        lengths_n = np.linalg.norm(gradients_np, axis=1, keepdims=True)
        clipped: NDArray[np.float64] = gradients_np * np.minimum(1.0, norm / np.maximum(lengths_n, 1e-12))
        return clipped


def _blank(schema: Schema) -> dict[str, Value]:
    return {feature.name: None for feature in schema.features}


def _draw(schema: Schema, source: NoiseSource) -> dict[str, Value]:
    record: dict[str, Value] = {}
    for feature in schema.features:
        absent, place = source.uniforms(2)
        record[feature.name] = None if absent < _ABSENT else _value(feature, float(place))
    return record


def _value(feature: Feature, place: float) -> Value:
    """A value of a feature from a number between 0 and 1."""
    if feature.is_category:
        return feature.categories[int(place * len(feature.categories))]
    low, high = feature.low_high()
    if feature.kind == "integer":
        return math.ceil(low) + int(place * (math.floor(high) - math.ceil(low) + 1))
    return low + place * (high - low)


@dataclass(frozen=True, slots=True)
class _Passage:
    """How gradients come to stand in released weights.

    Attributes:
        gain: k, what becomes of one gradient that is in every batch as often as sampling has it in the mean.
        deviation: of each weight's noise.
        sampling: variance of what becomes of a gradient, by the batches it happens to be in; relative to gain squared.
    """

    gain: float
    deviation: float
    sampling: float


def _passage(recipe: Recipe, mechanism: SampledGaussian, counted: float) -> _Passage:
    """From the trainer's recursion.

    In step t the weights shrink by a factor and take up the noisy sum; the mean counts step t with t.
    """
    records = max(counted, recipe.least_records)
    kept = 1.0 - recipe.learning_rate * recipe.l2_records / records
    steps = mechanism.steps
    # What is taken up in step t weighs in the mean: t + (t + 1) kept + (t + 2) kept^2 + ... up to the last step.
    weights_t = np.zeros(steps)
    later = 0.0
    for step in range(steps, 0, -1):
        later = step + kept * later
        weights_t[step - 1] = later
    weights_t *= recipe.learning_rate / records / (steps * (steps + 1) / 2)
    gain, length = float(weights_t.sum()), float(np.linalg.norm(weights_t))
    rate = mechanism.sampling_rate
    return _Passage(
        gain=gain,
        deviation=mechanism.noise_multiplier * mechanism.max_grad_norm / rate * length,
        sampling=(1.0 - rate) / rate * (length / gain) ** 2,
    )


def _log_odds(
    canaries_mp: NDArray[np.float64],
    others_np: NDArray[np.float64],
    weights_p: NDArray[np.float64],
    passage: _Passage,
) -> NDArray[np.float64]:
    """Log-odds of presence in w = canaries that are present + others + noise, as if all of it were Gaussian."""
    # How far the others drift is not linear, so the few directions in which they pull are all but left out.
    spread_pp = (0.25 + 0.5 * passage.sampling) * canaries_mp.T @ canaries_mp + others_np.T @ others_np
    powers_k, axes_pk = np.linalg.eigh(spread_pp)
    powers_k = np.maximum(powers_k, 0.0)
    canaries_mk, seen_k = canaries_mp @ axes_pk, weights_p @ axes_pk
    mean_k = 0.5 * canaries_mk.sum(axis=0) + others_np.sum(axis=0) @ axes_pk
    best, likeliest = -math.inf, (1.0, 1.0)
    for louder in _LOUDER:
        for softer in _SOFTER:
            variance_k = louder**2 * powers_k + (softer * passage.deviation) ** 2
            likelihood = -float((np.log(variance_k) + (seen_k - louder * mean_k) ** 2 / variance_k).sum())
            if likelihood > best:
                best, likeliest = likelihood, (float(louder), float(softer))
    louder, softer = likeliest
    inverse_k = 1.0 / (louder**2 * powers_k + (softer * passage.deviation) ** 2)
    estimate_m = 0.25 * louder * (canaries_mk * inverse_k) @ (seen_k - louder * mean_k)
    known_m = 0.25 * louder**2 * (canaries_mk**2 * inverse_k).sum(axis=1)
    log_odds_m: NDArray[np.float64] = 4.0 * estimate_m / np.maximum(1.0 - known_m, 1e-9)
    return log_odds_m
