"""The tabular expert under audit: canaries of a schema, the very trainer, and an attacker of the released weights.

The adversary is the one that the guarantee speaks of and the worst that it allows: it knows the schema, the recipe,
every record and every canary, and sees the release. It does not know the coins and the randomness of the training. It
does not see single steps, which nobody outside a silo does; the weights it sees are a mean of them, and keep most of
what all steps together tell.

The attack is ``silo_client.linear_attack``. Legend: m canaries, C classes, D codes and the constant, p = C D weights.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.experts import THERMOMETER_LINEAR, code_records
from llamdex_fl.privacy import SampledGaussian
from llamdex_fl.release import Release
from llamdex_fl.schema import Feature, Schema, Value
from silo_client.audit import authorise_audit, throwaway_ledger
from silo_client.data import SiloData
from silo_client.linear_attack import log_odds, passage
from silo_client.noise import NoiseSource, SecureNoise
from silo_client.recipe import Recipe, recipe_for
from silo_client.training import train

__all__ = ["TabularTrainer"]

#: How often a feature of a drawn record is absent: absence has a code of its own, and so makes canaries less alike.
_ABSENT = 0.25


class TabularTrainer:
    """``silo_client.training.train`` on drawn records; a ``silo_client.audit.AuditedTrainer``."""

    def __init__(  # noqa: PLR0913 - the last two are for tests
        self,
        schema: Schema,
        architecture: str = THERMOMETER_LINEAR,
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
            architecture: of the expert, one for tables.
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
        self._schema = schema
        self._recipe = recipe_for(architecture, schema, canaries + records) if recipe is None else recipe
        self._noise = noise
        source = SecureNoise() if noise is None else noise
        classes = len(schema.target.labels)
        self._others = _Drawn.of(
            schema, architecture, [_blank(schema)] * records, [n % classes for n in range(records)]
        )
        labels = (source.uniforms(canaries) * classes).astype(int)
        drawn = [_draw(schema, source) for _ in range(canaries)]
        self._canaries = _Drawn.of(schema, architecture, drawn, labels.tolist())
        self._authorisation = authorise_audit(
            schema, architecture, epsilon=epsilon, delta=delta, records=canaries + records
        )

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
        with throwaway_ledger() as ledger:
            return train(self._schema, data, self._authorisation, ledger, recipe=self._recipe, noise=self._noise)

    def scores(self, release: Release) -> NDArray[np.float64]:
        """Each canary's log-odds of having been present, from the release alone, [m]."""
        counts_C = release.tensors["class_counts"].astype(np.float64)
        prior_C = counts_C / counts_C.sum()
        constant = self._recipe.constant
        bias_C = (release.tensors["bias"].astype(np.float64) - np.log(prior_C)) / constant
        weights_p = np.column_stack([release.tensors["weight"].astype(np.float64), bias_C]).ravel()
        mechanism = next(m for m in release.guarantee.mechanisms if isinstance(m, SampledGaussian))
        records = max(float(counts_C.sum()), self._recipe.least_records)
        pace = self._recipe.pace(records, mechanism)
        way = passage(
            mechanism,
            records,
            learning_rate=pace.learning_rate,
            penalty=pace.penalty,
            momentum=pace.momentum,
        )
        canaries_mp = self._canaries.gradients(prior_C, constant, mechanism.max_grad_norm)
        others_np = self._others.gradients(prior_C, constant, mechanism.max_grad_norm)
        return log_odds(-way.gain * canaries_mp, -way.gain * others_np, weights_p, way)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Records that were drawn from a schema, and their codes, [n, D - 1]."""

    records: list[dict[str, Value]]
    labels: list[int]
    codes: NDArray[np.float64]

    @classmethod
    def of(cls, schema: Schema, architecture: str, records: list[dict[str, Value]], labels: list[int]) -> "_Drawn":
        return cls(records, labels, code_records(architecture, schema, records).astype(np.float64))

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
