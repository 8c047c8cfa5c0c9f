"""Publishers that never were, of texts put together from the project's own wording: what a recipe may be chosen on.

A hidden opinion decides how many of a text's parts are the wording's positive ones, and, with chance, its label: the
same text may be either. Publishers differ in their sorts of texts, in how favourable their writers are, in how often
the label is positive beyond that, and in size; how much they differ, and how clear texts are, is drawn for each
consortium. Nothing here was fitted to any data.
"""

import random
from dataclasses import replace

import numpy as np

from llamdex_fl.connectors.texts import TextQuestionGenerator, training_text_wording
from llamdex_fl.schema import Schema
from simulations.datasets.records import LabelledRecord

__all__ = ["synthetic_publishers"]

#: Texts of a silo, before any are held out.
_SMALLEST, _LARGEST = 400, 1600
#: The largest standard deviations over the publishers of a consortium, as of ``simulations.datasets.synthetic``.
_SITE_OPINION = 1.0
_SITE_INTERCEPT = 1.6
_MOST_PARTS = 2
_MOST_REGISTERS = 3


def synthetic_publishers(schema: Schema, seed: int, *, silos: int = 4) -> dict[str, tuple[LabelledRecord, ...]]:
    """Draw a consortium of publishers; a binary target whose wording comes with the project.

    Args:
        schema: of texts.
        seed: another consortium for each.
        silos: how many publishers.

    Raises:
        SchemaError: no wording comes with the project for this schema.
        ValueError: the schema has more than two classes, its records are tables, or there is no silo.
    """
    if not schema.is_text or len(schema.target.labels) != 2 or silos < 1:  # noqa: PLR2004 - two classes
        raise ValueError("synthetic publishers are at least one, of texts of two classes")
    wording = training_text_wording(schema)
    drawn, words = np.random.default_rng([seed, 3]), random.Random(seed)  # noqa: S311 - made-up texts
    clarity, strength = drawn.uniform(0.8, 2.5), drawn.uniform(1.8, 3.2)
    opinions, intercepts = drawn.uniform(0.0, _SITE_OPINION), drawn.uniform(0.0, _SITE_INTERCEPT)
    (name,) = (feature.name for feature in schema.features)
    publishers = {}
    for number in range(1, silos + 1):
        registers = words.sample(wording.registers, words.randint(1, _MOST_REGISTERS))
        generator = TextQuestionGenerator(replace(wording, registers=tuple(registers)))
        favour, intercept = drawn.normal(0.0, opinions), drawn.normal(0.0, intercepts)
        size = int(np.exp(drawn.uniform(np.log(_SMALLEST), np.log(_LARGEST))))
        records = []
        for opinion in drawn.normal(favour, 1.0, size):
            parts = drawn.random(drawn.integers(1, _MOST_PARTS + 1)) < _chance(clarity * opinion)
            said = [generator.text(words, label=schema.target.labels[int(part)]) for part in parts]
            label = int(drawn.random() < _chance(strength * opinion + intercept))
            records.append(LabelledRecord(features={name: " ".join(said)}, label=label))
        publishers[f"publisher-{number}"] = tuple(records)
    return publishers


def _chance(log_odds: float) -> float:
    return float(1.0 / (1.0 + np.exp(-log_odds)))
