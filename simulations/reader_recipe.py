"""Trains a reader by a recipe and scores it where recipes may be chosen: in training and development wordings.

The held-out wordings that judge are not touched here.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from llamdex_fl.base_llm.packaged import packaged_encoder
from llamdex_fl.connectors.questions import (
    Question,
    QuestionGenerator,
    Wording,
    load_wording,
    ordinary_questions,
    training_wording,
)
from llamdex_fl.connectors.reader import Reader, ReaderRecipe, train_reader
from llamdex_fl.connectors.texts import (
    TextQuestionGenerator,
    TextReaderRecipe,
    load_text_wording,
    same_text,
    train_text_reader,
    training_text_wording,
)
from llamdex_fl.schema import Schema, load_library_schema
from simulations.evaluation import DEVELOPMENT_WORDINGS

__all__ = ["SCHEMAS", "TEXT_SCHEMA", "RecipeScore", "score_reader", "score_recipe", "wordings_to_compare_by"]

#: The schemas that the demo's reader learns together.
SCHEMAS = ("heart", "titanic")
#: The schema whose texts it may learn beside them.
TEXT_SCHEMA = "sentiment"
#: The author who stands for other hands where no development wording was written.
_LEFT_OUT = "forum"
_BATCH = 20
#: Questions to score by are drawn from another seed than any recipe's questions to learn from.
_SEED = 90_000


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeScore:
    """Exact match of one schema's features, absent counted as a value; of a text, what stands around it does not count.

    Attributes:
        wording: "training" (drawn anew) or "development".
        exact_match: over all (question, feature) pairs, each question read for its own schema.
        per_feature: by feature.
        routed: share of the questions that were routed to their schema.
        false_routes: share of near misses that were routed; None where the wording has none.
    """

    schema: str
    wording: str
    exact_match: float
    per_feature: dict[str, float]
    routed: float
    false_routes: float | None = None


def score_recipe(
    recipe: ReaderRecipe,
    *,
    schemas: Sequence[str] = SCHEMAS,
    questions: int = 300,
    texts: bool = False,
    on_step: Callable[[int, int, float], None] | None = None,
) -> tuple[list[RecipeScore], float]:
    """Train by a recipe, and score.

    Args:
        recipe: how the reader is trained.
        schemas: names of the schemas that it learns.
        questions: how many are asked by schema and wording.
        texts: whether the reader learns texts beside the tables, and is scored on both.
        on_step: told (steps done, steps in all, loss) after each step.

    Returns:
        The scores, and the seconds that training took.
    """
    parts = [wordings_to_compare_by(load_library_schema(name)) for name in schemas]
    wordings = [training for training, _ in parts]
    began = time.perf_counter()
    if texts:
        about = [training_text_wording(load_library_schema(TEXT_SCHEMA))]
        both = TextReaderRecipe(tabular=recipe)
        reader: Reader = train_text_reader(
            packaged_encoder(), wordings, about, ordinary_questions(), recipe=both, on_step=on_step
        )
    else:
        reader = train_reader(packaged_encoder(), wordings, ordinary_questions(), recipe=recipe, on_step=on_step)
    seconds = time.perf_counter() - began
    scores = []
    for training, development in parts:
        for name, wording in (("training", training), ("development", development)):
            scores.append(score_reader(reader, wording, name, questions))
    return scores + (_text_scores(reader, questions) if texts else []), seconds


def wordings_to_compare_by(schema: Schema) -> tuple[Wording, Wording]:
    """The wording that a reader learns a schema from, and the development wording that it is compared in.

    Where no development wording was written, one of the training authors is left out and takes its place.
    """
    path = DEVELOPMENT_WORDINGS / f"{schema.name}.toml"
    if path.is_file():
        return training_wording(schema), load_wording(schema, path)
    left_out = files("llamdex_fl.connectors.questions") / "wording" / schema.name / f"{_LEFT_OUT}.toml"
    return training_wording(schema, without=_LEFT_OUT), load_wording(schema, Path(str(left_out)))


def score_reader(reader: Reader, wording: Wording, name: str, questions: int) -> RecipeScore:
    """Score a reader on questions of a wording; ``name`` is the wording's in the score."""
    generator = QuestionGenerator(wording)
    asked = [generator.sample(random.Random(_SEED + number)) for number in range(questions)]  # noqa: S311 - questions
    return _score(reader, wording.schema, name, asked)


def _text_scores(reader: Reader, questions: int) -> list[RecipeScore]:
    schema = load_library_schema(TEXT_SCHEMA)
    development = load_text_wording(schema, DEVELOPMENT_WORDINGS / f"{schema.name}.toml")
    scores = []
    for name, wording in (("training", training_text_wording(schema)), ("development", development)):
        generator = TextQuestionGenerator(wording)
        seeds = [_SEED + number for number in range(questions)]
        asked = [generator.sample(random.Random(seed)) for seed in seeds]  # noqa: S311 - questions
        others = [generator.other(random.Random(seed)) for seed in seeds]  # noqa: S311
        routed = [reading.schema is not None for other in others for reading in reader.read([other])]
        scores.append(replace(_score(reader, schema, name, asked), false_routes=sum(routed) / len(routed)))
    return scores


def _score(reader: Reader, schema: Schema, wording: str, asked: Sequence[Question]) -> RecipeScore:
    hits: dict[str, list[bool]] = {feature.name: [] for feature in schema.features}
    routed = 0
    asked = sorted(asked, key=lambda question: len(question.text))
    for start in range(0, len(asked), _BATCH):
        part = asked[start : start + _BATCH]
        routed += sum(reading.schema == schema.name for reading in reader.read([question.text for question in part]))
        readings = reader.read([question.text for question in part], schema=schema.name)
        for question, reading in zip(part, readings, strict=True):
            for name, value in question.features.items():
                read = reading.features[name]
                hits[name].append(read == value or same_text(read, value))
    every = [hit for own in hits.values() for hit in own]
    return RecipeScore(
        schema=schema.name,
        wording=wording,
        exact_match=sum(every) / len(every),
        per_feature={name: sum(own) / len(own) for name, own in hits.items()},
        routed=routed / len(asked),
    )
