"""How well a schema joins a reader that was trained without it: by its description, its vocabulary, a short fit.

In training and development wordings alone, as ``reader_recipe``; the held-out wordings judge elsewhere.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llamdex_fl.base_llm.packaged import packaged_encoder
from llamdex_fl.connectors.questions import Wording, generic_wording, ordinary_questions
from llamdex_fl.connectors.reader import ExtensionRecipe, Reader, ReaderRecipe, extend_reader, train_reader
from llamdex_fl.connectors.reader.description import Describer
from llamdex_fl.schema import load_library_schema
from simulations.reader_recipe import RecipeScore, score_reader, wordings_to_compare_by

__all__ = ["JoiningScore", "score_joining"]


@dataclass(frozen=True, kw_only=True, slots=True)
class JoiningScore:
    """What a reader reads after one way of joining.

    Attributes:
        way: "before", "description" (nothing is fitted), "vocabulary", "upper layers"; "generic" before the way where
            the new schema's wording is the one that its schema alone gives.
        seconds: that it took; 0 before.
        new: of the schema that joined, in its development wording; None before.
        known: of the others, in theirs.
    """

    way: str
    seconds: float
    new: RecipeScore | None
    known: list[RecipeScore]


def score_joining(  # noqa: PLR0913 - what is trained and how it is measured
    left_out: str,
    schemas: Sequence[str],
    *,
    recipe: ReaderRecipe | None = None,
    extension: ExtensionRecipe | None = None,
    questions: int = 100,
    on_step: Callable[[int, int, float], None] | None = None,
) -> list[JoiningScore]:
    """Train a reader of some schemas, and let another join it in every way.

    Args:
        left_out: the schema that joins.
        schemas: those that the reader is trained for.
        recipe: how it is trained.
        extension: how the other joins.
        questions: how many are asked by schema.
        on_step: told (steps done, steps in all, loss) after each step of the training.
    """
    parts = {name: wordings_to_compare_by(load_library_schema(name)) for name in (*schemas, left_out)}
    known = [parts[name][0] for name in schemas]
    ordinary = ordinary_questions()
    reader = train_reader(packaged_encoder(), known, ordinary, recipe=recipe, on_step=on_step)

    def score(way: str, seconds: float, joined: Reader) -> JoiningScore:
        by_name = {
            name: score_reader(joined, parts[name][1], "development", questions)
            for name in parts
            if name in joined.schemas
        }
        return JoiningScore(
            way=way, seconds=seconds, new=by_name.get(left_out), known=[by_name[name] for name in schemas]
        )

    def fitted(way: str, wording: Wording, recipe: ExtensionRecipe) -> JoiningScore:
        began = time.perf_counter()
        joined = extend_reader(reader, packaged_encoder(), known, [wording], ordinary, recipe=recipe).reader
        return score(way, time.perf_counter() - began, joined)

    extension = extension or ExtensionRecipe()
    short, long = replace(extension, enough=0.0), replace(extension, enough=1.1)
    described = copy.deepcopy(reader)
    described.describer = Describer(packaged_encoder())
    began = time.perf_counter()
    described.add_schema(parts[left_out][0].schema)
    scores = [score("before", 0.0, reader), score("description", time.perf_counter() - began, described)]
    generic = generic_wording(parts[left_out][0].schema)
    for way, wording in (("", parts[left_out][0]), ("generic ", generic)):
        scores.append(fitted(f"{way}vocabulary", wording, short))
        scores.append(fitted(f"{way}upper layers", wording, long))
    return scores
