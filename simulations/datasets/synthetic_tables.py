"""Tables that never were, of schemas that never were: what the recipe for single, larger tables is chosen on.

Each seed draws a schema (how many features, of which kinds, how many classes), how the features hang together, and what
decides the label: smooth and stepped effects of numbers, effects of categories, and effects of pairs. A label is one
of several unordered outcomes, or a grade; it may follow from the features almost surely, or hardly. Nothing here was
fitted to any data.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.schema import Feature, Schema, Target, Value
from simulations.datasets.records import LabelledRecord

__all__ = ["SyntheticTable", "synthetic_rules", "synthetic_table"]

_FACTORS = 3
_MOST_FEATURES = 16
_CHANCE_OF_WIDE = 0.35
#: How much of a table's score comes from pairs of features, at most.
_MOST_OF_PAIRS = 0.6
#: Of a decision rule: that all groups count, and that one category decides alone.
_CHANCE_OF_ALL = 0.6
_CHANCE_OF_VETO = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticTable:
    """A schema, and records that follow it."""

    schema: Schema
    records: tuple[LabelledRecord, ...]


def synthetic_table(seed: int, size: int, *, share_of_numbers: float | None = None) -> SyntheticTable:
    """Draw a schema and a table.

    Args:
        seed: fixes all of it.
        size: number of records.
        share_of_numbers: chance of a feature to be a number; None draws it too (0 for every third schema).
    """
    random = np.random.default_rng([seed, 2])
    if share_of_numbers is None:
        share_of_numbers = random.choice([0.0, random.uniform(0.2, 0.8), 1.0], p=[0.3, 0.5, 0.2])
    classes = int(random.choice([2, 3, 4, 5, 7], p=[0.4, 0.15, 0.2, 0.1, 0.15]))
    features = [
        _feature(random, number, is_number=random.random() < share_of_numbers)
        for number in range(int(random.integers(6, _MOST_FEATURES)))
    ]
    factors = random.normal(size=(size, _FACTORS))
    columns, effects = [], []
    for feature in features:
        hidden, values = _column(random, feature, factors)
        columns.append(values)
        effects.append(_effects(random, feature, hidden, values, classes))
    labels = _labels(random, np.array(effects), classes)
    absent = random.random((size, len(features))) < random.choice([0.0, 0.0, 0.02, 0.2], size=len(features))
    records = tuple(
        LabelledRecord(
            features={
                feature.name: columns[place][row] for place, feature in enumerate(features) if not absent[row, place]
            },
            label=int(labels[row]),
        )
        for row in range(size)
    )
    return SyntheticTable(schema=_schema(tuple(features), classes), records=records)


def synthetic_rules(seed: int, size: int) -> SyntheticTable:
    """Draw a table of categories that a decision rule has labelled, without doubt.

    Each category is worth something; features form groups, of which the best, the worst, the sum or the product
    counts; the groups' worth, or the two best groups', is cut into grades; now and then one category decides alone.

    Args:
        seed: fixes all of it.
        size: number of records.
    """
    random = np.random.default_rng([seed, 9])
    count = int(random.integers(6, 10))
    sizes = [int(each) for each in random.choice([2, 3, 3, 4, 4, 5], count)]
    classes = int(random.choice([2, 3, 4, 5]))
    places_nf = np.stack([random.integers(0, each, size) for each in sizes], axis=1)
    worths = [np.sort(random.uniform(0.0, 1.0, each)) * random.choice([0.5, 1.0, 1.5]) for each in sizes]
    worth_nf = np.stack([worths[place][places_nf[:, place]] for place in range(count)], axis=1)
    groups = []
    for members in np.array_split(random.permutation(count), int(random.integers(2, 5))):
        own = worth_nf[:, members]
        joined = {
            "sum": own.sum(axis=1) / len(members) ** 0.5,
            "best": own.max(axis=1),
            "worst": own.min(axis=1),
            "product": own.prod(axis=1) ** (1.0 / len(members)),
        }
        groups.append(joined[str(random.choice(list(joined)))] * random.uniform(0.5, 1.5))
    groups_ng = np.stack(groups, axis=1)
    totals_n = (
        groups_ng.sum(axis=1) if random.random() < _CHANCE_OF_ALL else np.sort(groups_ng, axis=1)[:, -2:].sum(axis=1)
    )
    cuts = np.cumsum(random.dirichlet(np.full(classes, 2.0)))[:-1]
    labels_n = np.searchsorted(np.quantile(totals_n, cuts), totals_n)
    judge = int(random.integers(count))
    if random.random() < _CHANCE_OF_VETO:
        labels_n = np.where(places_nf[:, judge] == sizes[judge] - 1, classes - 1, labels_n)
    features = tuple(
        Feature(name=f"f{place}", kind="category", description="made up", categories=tuple(map(_category, range(each))))
        for place, each in enumerate(sizes)
    )
    records = tuple(
        LabelledRecord(
            features={feature.name: _category(int(place)) for feature, place in zip(features, row, strict=True)},
            label=int(label),
        )
        for row, label in zip(places_nf, labels_n, strict=True)
    )
    return SyntheticTable(schema=_schema(features, classes), records=records)


def _category(number: int) -> str:
    return f"c{number}"


def _schema(features: tuple[Feature, ...], classes: int) -> Schema:
    words = tuple(f"class {number}" for number in range(classes))
    target = Target(name="target", labels=words, answers=words, sentences=tuple(f"{word}." for word in words))
    return Schema(name="synthetic", title="Made up", question="Which?", features=features, target=target)


def _feature(random: np.random.Generator, number: int, *, is_number: bool) -> Feature:
    name = f"f{number}"
    if not is_number:
        categories = tuple(f"c{each}" for each in range(int(random.choice([2, 2, 3, 3, 4, 5, 8, 12]))))
        return Feature(name=name, kind="category", description="made up", categories=categories)
    high = 5000.0 if random.random() < _CHANCE_OF_WIDE else 100.0
    return Feature(name=name, kind="number", description="made up", bounds=(0.0, high))


def _column(
    random: np.random.Generator, feature: Feature, factors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], list[Value]]:
    loading = random.normal(size=_FACTORS)
    common = random.uniform(0.0, 0.8)
    hidden = common * factors @ loading / np.linalg.norm(loading)
    hidden += np.sqrt(1.0 - common**2) * random.normal(size=len(factors))
    if feature.is_category:
        shares = np.cumsum(random.dirichlet(np.full(len(feature.categories), random.choice([1.0, 3.0, 30.0]))))[:-1]
        codes = np.searchsorted(np.quantile(hidden, shares), hidden)
        order = random.permutation(len(feature.categories))
        return hidden, [feature.categories[order[code]] for code in codes]
    _, high = feature.low_high()
    place = np.clip(random.uniform(0.2, 0.6) + random.uniform(0.05, 0.18) * hidden, 0.0, 1.0)
    numbers = np.expm1(place * np.log1p(high)) if high > 1000.0 else place * high  # noqa: PLR2004 - wide
    return hidden, [round(float(each), 2) for each in numbers]


def _effects(
    random: np.random.Generator, feature: Feature, hidden: NDArray[np.float64], values: list[Value], classes: int
) -> NDArray[np.float64]:
    """[n, C]: what a record's value of this feature adds to each class's score; the last column serves grades."""
    strength = abs(random.normal()) * random.choice([0.1, 0.6, 1.0, 1.5])
    if feature.is_category:
        table = dict(zip(feature.categories, random.normal(size=(len(feature.categories), classes)), strict=True))
        return np.asarray([strength * table[str(value)] for value in values], np.float64)
    slopes, bends, where = random.normal(size=(3, classes))
    shape = random.choice(["line", "step", "hill"], p=[0.5, 0.3, 0.2])
    if shape == "line":
        curves = hidden[:, None] * slopes
    elif shape == "step":
        curves = np.tanh(3.0 * (hidden[:, None] - 0.7 * where)) * slopes
    else:
        curves = 0.5 * hidden[:, None] * slopes - np.exp(-((hidden[:, None] - where) ** 2)) * 2.0 * bends
    return np.asarray(strength * curves, np.float64)


def _labels(random: np.random.Generator, effects_fnC: NDArray[np.float64], classes: int) -> NDArray[np.int64]:
    features = len(effects_fnC)
    scores_nC = effects_fnC.sum(axis=0)
    pairs_nC = np.zeros_like(scores_nC)
    for _ in range(features):
        one, other = random.choice(features, 2, replace=False)
        pairs_nC += random.normal() * effects_fnC[one] * np.roll(effects_fnC[other], 1, axis=1)
    share = random.uniform(0.0, _MOST_OF_PAIRS)
    scores_nC = np.sqrt(1.0 - share) * _unit(scores_nC) + np.sqrt(share) * _unit(pairs_nC)
    sharpness = np.exp(random.uniform(np.log(1.0), np.log(6.0)))
    if classes == 2 or random.random() < 0.5:  # noqa: PLR2004 - a grade: one score, cut
        noise = random.logistic(size=len(scores_nC)) / sharpness
        grade = _unit(scores_nC[:, :1])[:, 0] + noise
        cuts = np.cumsum(random.dirichlet(np.full(classes, 2.0)))[:-1]
        return np.asarray(np.searchsorted(np.quantile(grade, cuts), grade), np.int64)
    bias_C = random.normal(0.0, 0.5, classes)
    return np.asarray(np.argmax(scores_nC + bias_C + random.gumbel(size=scores_nC.shape) / sharpness, axis=1), np.int64)


def _unit(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = scores - scores.mean(axis=0)
    unit: NDArray[np.float64] = centred / max(float(centred.std()), 1e-9)
    return unit
