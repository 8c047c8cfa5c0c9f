"""Consortia that never were, drawn from a schema alone: what a recipe may be chosen on.

A hidden severity moves a record's features and its label; each feature has an effect of its own, mostly in the
direction in which severity moves it. Sites differ in their patients (severity), in how common the label is beyond
that, in single features and effects, in size, and in what they do not measure. How much the sites of a consortium
differ is drawn too: some are alike, some far apart, and what is chosen here must do for both. Nothing here was fitted
to any data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.schema import Feature, Schema, Value
from simulations.datasets.records import LabelledRecord

__all__ = ["synthetic_silos"]

#: Records of a silo, before any are held out; held-out parts are large enough for steady figures.
_SMALLEST, _LARGEST = 120, 320
_REFERENCE = 4000
#: The largest standard deviation, over the sites of a consortium, of their patients' mean severity and of the label's
#: log-odds beyond that.
_SITE_SEVERITY = 1.6
_SITE_INTERCEPT = 1.6


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cause:
    """How one feature comes about and what it does. ``values`` are effects of categories."""

    feature: Feature
    correlation: float
    effect: float
    thresholds: NDArray[np.float64]
    values: NDArray[np.float64]
    centre: float
    width: float
    saturates: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Site:
    """How one silo differs: one number a feature each, and its patients' mean severity."""

    shifts: NDArray[np.float64]
    effects: NDArray[np.float64]
    missing: NDArray[np.float64]
    severity: float


def synthetic_silos(schema: Schema, seed: int, *, silos: int = 4) -> dict[str, tuple[LabelledRecord, ...]]:
    """Draw a consortium; a binary target and tables only.

    Args:
        schema: what the records mean.
        seed: another consortium for each.
        silos: how many members. The first ones of a larger consortium are those of a smaller one of that seed.

    Raises:
        ValueError: the schema has more than two classes, its records are texts, or there is no silo.
    """
    if silos < 1:
        raise ValueError(f"a consortium has at least one silo, not {silos}")
    if schema.is_text:
        raise ValueError("synthetic consortia hold tables, no texts")
    if len(schema.target.labels) != 2:  # noqa: PLR2004 - two classes
        raise ValueError("synthetic consortia have two classes")
    random = np.random.default_rng([seed, 1])
    causes = [_cause(random, feature) for feature in schema.features]
    none = np.zeros(len(causes))
    _, reference = _draw(random, causes, _Site(shifts=none, effects=none, missing=none, severity=0.0), _REFERENCE)
    scale = random.uniform(1.8, 3.2) / reference.std()
    common = random.normal(0.0, 0.8) - scale * reference.mean()
    severities = random.uniform(0.0, _SITE_SEVERITY)
    intercepts = random.uniform(0.0, _SITE_INTERCEPT)
    drawn = {}
    for number in range(1, silos + 1):
        site = _Site(
            shifts=random.normal(0.0, 0.3, len(causes)),
            effects=random.normal(0.0, 0.15, len(causes)),
            missing=random.choice([0.0, 0.05, 0.3, 1.0], p=[0.7, 0.15, 0.1, 0.05], size=len(causes)),
            severity=random.normal(0.0, severities),
        )
        size = int(np.exp(random.uniform(np.log(_SMALLEST), np.log(_LARGEST))))
        records, scores = _draw(random, causes, site, size)
        log_odds = scale * scores + common + random.normal(0.0, intercepts)
        labels = random.random(size) < 1.0 / (1.0 + np.exp(-log_odds))
        drawn[f"site-{number}"] = tuple(
            LabelledRecord(features=record, label=int(label)) for record, label in zip(records, labels, strict=True)
        )
    return drawn


def _cause(random: np.random.Generator, feature: Feature) -> _Cause:
    correlation = random.uniform(0.2, 0.75) * random.choice([-1.0, 1.0])
    strength = abs(random.normal()) * random.choice([0.2, 1.0, 1.5])
    count = max(len(feature.categories), 2)
    shares = np.cumsum(random.dirichlet(np.full(count, 2.0)))[:-1]
    return _Cause(
        feature=feature,
        correlation=correlation,
        effect=float(strength * np.sign(correlation) * random.choice([1.0, -1.0], p=[0.85, 0.15])),
        thresholds=np.quantile(random.normal(size=_REFERENCE), shares),
        values=random.normal(size=count),
        centre=random.uniform(0.25, 0.6),
        width=random.uniform(0.07, 0.18),
        saturates=bool(random.random() < 1 / 3),
    )


def _draw(
    random: np.random.Generator, causes: Sequence[_Cause], site: _Site, count: int
) -> tuple[list[dict[str, Value]], NDArray[np.float64]]:
    severity = random.normal(site.severity, 1.0, count)
    records: list[dict[str, Value]] = [{} for _ in range(count)]
    scores = np.zeros(count)
    for number, cause in enumerate(causes):
        own = np.sqrt(1.0 - cause.correlation**2) * random.normal(size=count)
        hidden = cause.correlation * severity + own + site.shifts[number]
        codes = np.searchsorted(cause.thresholds, hidden)
        seen = np.tanh(1.5 * hidden) if cause.saturates else hidden
        effect = cause.effect + site.effects[number]
        scores += effect * (cause.values[codes] if cause.feature.is_category else seen)
        present = random.random(count) >= site.missing[number]
        for row in np.flatnonzero(present):
            records[row][cause.feature.name] = _value(cause, float(hidden[row]), int(codes[row]))
    return records, scores


def _value(cause: _Cause, hidden: float, code: int) -> Value:
    if cause.feature.is_category:
        return cause.feature.categories[code]
    low, high = cause.feature.low_high()
    number = low + min(max(cause.centre + cause.width * hidden, 0.0), 1.0) * (high - low)
    return round(number) if cause.feature.kind == "integer" else round(number, 2)
