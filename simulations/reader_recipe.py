"""Trains a reader by a recipe and scores it where recipes may be chosen: in training and development wordings.

The held-out wordings that judge are not touched here.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llamdex_fl.base_llm.packaged import packaged_encoder
from llamdex_fl.connectors.questions import (
    Question,
    QuestionGenerator,
    load_wording,
    ordinary_questions,
    training_wording,
)
from llamdex_fl.connectors.reader import Reader, ReaderRecipe, train_reader
from llamdex_fl.schema import Schema, load_library_schema
from simulations.evaluation import DEVELOPMENT_WORDINGS

__all__ = ["SCHEMAS", "RecipeScore", "score_recipe"]

#: The schemas that the demo's reader learns together.
SCHEMAS = ("heart", "titanic")
_BATCH = 20
#: Questions to score by are drawn from another seed than any recipe's questions to learn from.
_SEED = 90_000


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeScore:
    """Exact match of one schema's features, absent counted as a value.

    Attributes:
        wording: "training" (drawn anew) or "development".
        exact_match: over all (question, feature) pairs.
        per_feature: by feature.
    """

    schema: str
    wording: str
    exact_match: float
    per_feature: dict[str, float]


def score_recipe(
    recipe: ReaderRecipe, *, questions: int = 300, on_step: Callable[[int, int, float], None] | None = None
) -> tuple[list[RecipeScore], float]:
    """Train by a recipe, and score.

    Args:
        recipe: how the reader is trained.
        questions: how many are asked by schema and wording.
        on_step: told (steps done, steps in all, loss) after each step.

    Returns:
        The scores, and the seconds that training took.
    """
    schemas = [load_library_schema(name) for name in SCHEMAS]
    wordings = [training_wording(schema) for schema in schemas]
    began = time.perf_counter()
    reader = train_reader(packaged_encoder(), wordings, ordinary_questions(), recipe=recipe, on_step=on_step)
    seconds = time.perf_counter() - began
    scores = []
    for schema, training in zip(schemas, wordings, strict=True):
        development = load_wording(schema, DEVELOPMENT_WORDINGS / f"{schema.name}.toml")
        for name, wording in (("training", training), ("development", development)):
            generator = QuestionGenerator(wording)
            asked = [generator.sample(random.Random(_SEED + number)) for number in range(questions)]  # noqa: S311 - questions
            scores.append(_score(reader, schema, name, asked))
    return scores, seconds


def _score(reader: Reader, schema: Schema, wording: str, asked: Sequence[Question]) -> RecipeScore:
    hits: dict[str, list[bool]] = {feature.name: [] for feature in schema.features}
    asked = sorted(asked, key=lambda question: len(question.text))
    for start in range(0, len(asked), _BATCH):
        part = asked[start : start + _BATCH]
        readings = reader.read([question.text for question in part], schema=schema.name)
        for question, reading in zip(part, readings, strict=True):
            for name, value in question.features.items():
                hits[name].append(reading.features[name] == value)
    every = [hit for own in hits.values() for hit in own]
    return RecipeScore(
        schema=schema.name,
        wording=wording,
        exact_match=sum(every) / len(every),
        per_feature={name: sum(own) / len(own) for name, own in hits.items()},
    )
