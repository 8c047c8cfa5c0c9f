"""The text expert under audit: made-up texts as canaries, the very trainer, and an attacker of the released softmax.

The adversary knows the schema, the base, the recipe, every canary and every other record, and sees the release, as in
``silo_client.tabular_audit``; the attack is ``silo_client.linear_attack`` on the softmax's weights, whose gradient at
the first step is known to it: low-rank parameters start with a gradient of 0 or near it and so say less of a record.
Canaries are words drawn at random, with a label drawn at random: nothing but their presence explains their trace.
Legend: m canaries, n others, C classes, F features and the constant, p = C F weights.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from llamdex_fl.experts import TEXT_ARCHITECTURES
from llamdex_fl.experts.text_base import ReadText, load_text_base, padded
from llamdex_fl.privacy import SampledGaussian
from llamdex_fl.release import Release
from llamdex_fl.schema import Schema, Value
from silo_client.audit import authorise_audit, throwaway_ledger
from silo_client.data import SiloData
from silo_client.linear_attack import log_odds, passage
from silo_client.noise import NoiseSource, SecureNoise
from silo_client.text_training import TextRecipe
from silo_client.training import train

__all__ = ["TextTrainer"]

#: Words of different worlds, so that drawn texts are unlike each other.
_WORDS = """
anchor apple april arrow autumn bakery bamboo barrel basket battery beard bicycle bishop blanket bottle bridge
butter cabin camel candle carpet castle cellar chalk cherry chimney circus clock coal compass copper cotton
cradle crystal desert diamond doctor dragon drum eagle elbow engine feather ferry fiddle flute forest fossil
fountain garlic giant ginger glacier glove goose granite guitar hammer harbour helmet honey horizon iceberg
island jacket jungle kettle ladder lantern lemon library lighthouse lion magnet marble meadow mirror monkey
mountain museum needle night ocean olive orchard oyster palace parrot pepper piano pilot pirate planet pocket
potato prairie puzzle rabbit railway ribbon river rocket saddle sailor salmon scissors shadow silver spider
squirrel station storm sugar summer tailor temple thunder ticket tiger tobacco tower tractor tunnel turtle
umbrella valley velvet violin volcano walnut whale wheel whistle window winter wolf yellow zebra
""".split()  # noqa: SIM905 - a list of words is read more easily without quotes
_LENGTH = 8


class TextTrainer:
    """``silo_client.training.train`` on drawn texts; a ``silo_client.audit.AuditedTrainer``."""

    def __init__(  # noqa: PLR0913 - the last two are for tests
        self,
        schema: Schema,
        architecture: str,
        *,
        epsilon: float,
        delta: float,
        canaries: int,
        records: int = 0,
        recipe: TextRecipe | None = None,
        noise: NoiseSource | None = None,
    ) -> None:
        """Draw the canaries.

        Args:
            schema: of texts.
            architecture: of text experts.
            epsilon: that a release may cost, as an offer names it.
            delta: likewise.
            canaries: m.
            records: others, present in every training; without a text, so that they are counted and teach nothing.
            recipe: as of ``train``.
            noise: as of ``train``; also what texts are drawn with.

        Raises:
            InputError: epsilon or delta is out of range, or the architecture does not read this schema's records.
            ArtefactError: the base is not installed.
        """
        self._schema, self._architecture = schema, architecture
        self._recipe = TextRecipe() if recipe is None else recipe
        self._noise = noise
        source = SecureNoise() if noise is None else noise
        classes = len(schema.target.labels)
        (feature,) = schema.features
        self._authorisation = authorise_audit(
            schema, architecture, epsilon=epsilon, delta=delta, records=canaries + records
        )
        self._others = [n % classes for n in range(records)]
        self._labels = (source.uniforms(canaries) * classes).astype(int).tolist()
        self._records: list[dict[str, Value]] = [{feature.name: _draw(source)} for _ in range(canaries)]
        texts = [str(record[feature.name]) for record in self._records]
        self._features_mF = _features(architecture, load_text_base(architecture).read(texts), self._recipe.constant)

    @property
    def canaries(self) -> int:
        """How many canaries there are."""
        return len(self._labels)

    def train(self, present_m: NDArray[np.bool_]) -> Release:
        """Train on the other records and the canaries that are present; the ledger is thrown away afterwards.

        Raises:
            InputError: epsilon and delta cannot be met by the recipe.
        """
        places = np.flatnonzero(present_m).tolist()
        blank: dict[str, Value] = {self._schema.features[0].name: None}
        data = SiloData(
            records=(*(blank for _ in self._others), *(self._records[n] for n in places)),
            labels=(*self._others, *(self._labels[n] for n in places)),
            digest=hashlib.sha256(present_m.tobytes()).hexdigest(),
        )
        with throwaway_ledger() as ledger:
            return train(self._schema, data, self._authorisation, ledger, recipe=self._recipe, noise=self._noise)

    def scores(self, release: Release) -> NDArray[np.float64]:
        """Each canary's log-odds of having been present, from the release alone, [m]."""
        counts_C = release.tensors["class_counts"].astype(np.float64)
        prior_C = counts_C / counts_C.sum()
        bias_C = (release.tensors["head.bias"].astype(np.float64) - np.log(prior_C)) / self._recipe.constant
        weights_CF = np.column_stack([release.tensors["head.weight"].astype(np.float64), bias_C])
        mechanism = next(m for m in release.guarantee.mechanisms if isinstance(m, SampledGaussian))
        records = max(float(counts_C.sum()), self._recipe.least_records)
        way = passage(
            mechanism,
            records,
            learning_rate=self._recipe.learning_rate(records, mechanism),
            penalty=self._recipe.l2_records / records,
        )
        canaries_mp = self._gradients(prior_C, mechanism.max_grad_norm)
        # Weights in the canaries' span and a few beside it: the rest is noise alone, which tells how loud noise is.
        axes_pk = _span(canaries_mp, weights_CF.size)
        nobody_0k = np.zeros((0, axes_pk.shape[1]))
        return log_odds(-way.gain * canaries_mp @ axes_pk, nobody_0k, weights_CF.ravel() @ axes_pk, way)

    def _gradients(self, prior_C: NDArray[np.float64], norm: float) -> NDArray[np.float64]:
        """Clipped gradients of the softmax's weights at the first step, [m, p]."""
        errors_mC = prior_C - np.eye(len(prior_C))[self._labels]
        gradients_mp = (errors_mC[:, :, None] * self._features_mF[:, None, :]).reshape(len(errors_mC), -1)
        lengths_m1 = np.linalg.norm(gradients_mp, axis=1, keepdims=True)
        clipped: NDArray[np.float64] = gradients_mp * np.minimum(1.0, norm / np.maximum(lengths_m1, 1e-12))
        return clipped


def _span(gradients_mp: NDArray[np.float64], weights: int, beside: int = 60) -> NDArray[np.float64]:
    """Orthonormal directions [p, k]: the gradients', and some that no canary moves."""
    random_pb = np.random.default_rng(0).normal(size=(weights, beside))
    axes_pk: NDArray[np.float64] = np.linalg.qr(np.column_stack([gradients_mp.T, random_pb]))[0]
    return axes_pk


def _features(architecture: str, read: list[ReadText], constant: float) -> NDArray[np.float64]:
    """What the softmax reads of each text before any training, [m, F]."""
    with torch.inference_mode():
        features = load_text_base(architecture).top()(*padded(read)).double().numpy() if read else None
    if features is None:
        return np.zeros((0, 2 * TEXT_ARCHITECTURES[architecture].width + 1))
    return np.column_stack([features, np.full(len(features), constant)])


def _draw(source: NoiseSource) -> str:
    return " ".join(_WORDS[int(place * len(_WORDS))] for place in source.uniforms(_LENGTH))
