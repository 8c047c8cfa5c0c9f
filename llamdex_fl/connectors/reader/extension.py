"""A schema joins a trained reader: at once by its description, in seconds by its vocabulary, in minutes by a short fit.

1. The new schema is described; what the reader learnt about descriptions already reads a part of its questions.
2. Its vocabulary is fitted, and nothing else: the questions are encoded once, and what is fitted are the schema's own
   corrections. What the reader makes of the schemas it knew is the same bit for bit, but for a question that is now
   routed to the new one.
3. If questions drawn anew are still not read well enough, the upper layers learn too, with questions of the known
   schemas among those of the new one, so that these are not forgotten.
"""

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from llamdex_fl.connectors.questions import Question, QuestionGenerator, Wording
from llamdex_fl.connectors.reader.description import Describer
from llamdex_fl.connectors.reader.network import EncodedQuestions
from llamdex_fl.connectors.reader.reader import Reader
from llamdex_fl.connectors.reader.training import (
    Asked,
    Lessons,
    ReaderRecipe,
    choices_of,
    learn,
    loss_of,
    lots_of,
    optimiser_of,
    route_loss,
    schedule_of,
)

__all__ = ["Extension", "ExtensionRecipe", "exact_match", "extend_reader"]

#: Told (steps done, steps in all, loss).
_OnStep = Callable[[int, int, float], None]
_AT_ONCE = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtensionRecipe:
    """How a schema joins a reader.

    Attributes:
        questions: about records of each new schema, that its vocabulary is fitted to.
        others: other questions, for the routing: of known schemas, ordinary ones, near misses.
        rounds: how often the vocabulary's fit goes through the questions.
        vocabulary_rate: its learning rate.
        enough: the exact match on questions drawn anew, of each new schema, that makes the longer fit needless.
        checked: how many are drawn for that.
        fit: the longer fit; its steps are in all, and its share ``practice`` is of questions of known schemas.
        seed: of the questions.
    """

    questions: int = 150
    others: int = 90
    rounds: int = 12
    vocabulary_rate: float = 0.1
    enough: float = 0.97
    checked: int = 24
    fit: ReaderRecipe = ReaderRecipe(  # noqa: RUF009 - frozen
        steps=300, practice=0.35, frozen_layers=2, encoder_rate=1.5e-4, decoder_rate=1e-3
    )
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Extension:
    """A reader with more schemas, and how they were learnt.

    Attributes:
        reader: knows the old schemas and the new ones.
        by_vocabulary: exact match of each new schema after its vocabulary was fitted, on questions drawn anew.
        refitted: whether the longer fit was needed.
    """

    reader: Reader
    by_vocabulary: dict[str, float]
    refitted: bool


def extend_reader(  # noqa: PLR0913 - a reader, and what it learns from
    reader: Reader,
    encoder_path: Path,
    known: Sequence[Wording],
    new: Sequence[Wording],
    ordinary: Sequence[str],
    *,
    recipe: ExtensionRecipe | None = None,
    on_step: _OnStep | None = None,
) -> Extension:
    """Let schemas join a trained reader of tables.

    Args:
        reader: it stays as it is; a copy learns.
        encoder_path: the pretrained encoder that the reader was made from, which describes the new schemas.
        known: wordings of the reader's schemas.
        new: wordings of the schemas that join.
        ordinary: questions that no schema answers.
        recipe: how to fit.
        on_step: told (steps done, steps in all, loss) after each step.
    """
    recipe = recipe or ExtensionRecipe()
    joined = copy.deepcopy(reader)
    joined.describer = Describer(encoder_path)
    for wording in new:
        joined.add_schema(wording.schema)
    _fit_vocabulary(joined, known, new, ordinary, recipe, on_step)
    reached = {wording.schema.name: exact_match(joined, wording, recipe.checked, recipe.seed + 1) for wording in new}
    refit = min(reached.values()) < recipe.enough and recipe.fit.steps_for(len(new)) > 0
    if refit:
        _fit_upper_layers(joined, known, new, ordinary, recipe, on_step)
    joined.describer = None
    joined.network.eval()
    return Extension(joined, reached, refit)


def exact_match(reader: Reader, wording: Wording, questions: int, seed: int) -> float:
    """The share of features that are read exactly, absent counted as a value, in questions of a wording."""
    generator = QuestionGenerator(wording)
    rng = random.Random(f"exact match {seed}")  # noqa: S311 - questions
    asked = sorted((generator.sample(rng) for _ in range(questions)), key=lambda question: len(question.text))
    hits: list[bool] = []
    for start in range(0, questions, _AT_ONCE):
        part = asked[start : start + _AT_ONCE]
        for question, reading in zip(
            part, reader.read([one.text for one in part], schema=wording.schema.name), strict=True
        ):
            hits += [reading.features[name] == value for name, value in question.features.items()]
    return sum(hits) / max(1, len(hits))


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A lot of questions after the encoder, with what is right in it, by schema: rows, allowed numbers, choices."""

    answered_by: list[str | None]
    states: EncodedQuestions
    own: list[tuple[str, list[int], Tensor, Tensor]]


def _fit_vocabulary(  # noqa: PLR0913, PLR0917 - as extend_reader
    reader: Reader,
    known: Sequence[Wording],
    new: Sequence[Wording],
    ordinary: Sequence[str],
    recipe: ExtensionRecipe,
    on_step: _OnStep | None,
) -> None:
    rng = random.Random(recipe.seed)  # noqa: S311 - questions
    asked: list[Asked] = []
    for wording in new:
        generator = QuestionGenerator(wording)
        asked += [(wording.schema.name, generator.sample(rng)) for _ in range(recipe.questions)]
    others = Lessons([*known, *new], ordinary)
    mixed = ReaderRecipe(ordinary=0.7, practice=0.0)
    drawn = [others.sample(mixed, rng) for _ in range(recipe.others)]
    names = {wording.schema.name for wording in new}
    asked += [one for one in drawn if one[0] not in names]
    asked.sort(key=lambda one: len(one[1].text))
    lots = [_encoded(reader, asked[start : start + _AT_ONCE], names) for start in range(0, len(asked), _AT_ONCE)]
    parameters = [parameter for name in names for parameter in reader.network.vocabulary(name).parameters()]
    reader.network.requires_grad_(requires_grad=False)
    for parameter in parameters:
        parameter.requires_grad_()
    steps = recipe.rounds * len(lots)
    if not steps:
        return
    optimiser = torch.optim.AdamW(parameters, lr=recipe.vocabulary_rate, weight_decay=0.01)
    schedule = schedule_of(optimiser, recipe.fit, steps)
    for step in range(steps):
        if step % len(lots) == 0:
            rng.shuffle(lots)
        loss = _loss(reader, lots[step % len(lots)])
        learn(reader, loss, optimiser, schedule)
        if on_step is not None:
            on_step(step + 1, steps, float(loss.detach()))


@torch.no_grad()
def _encoded(reader: Reader, lot: Sequence[Asked], names: set[str]) -> _Encoded:
    batch = reader.batch([question.text for _, question in lot])
    states = reader.encode(batch)
    own = []
    for name in sorted(names):
        rows = [row for row, (answering, _) in enumerate(lot) if answering == name]
        if rows:
            part = batch.rows(rows)
            allowed_BFC = reader.allowed(part, reader.schemas[name])
            like_BFO = reader.network.read(states.rows(rows), name, allowed_BFC)
            questions: list[Question] = [lot[row][1] for row in rows]
            own.append((name, rows, allowed_BFC, choices_of(reader, part, questions, name, like_BFO)))
    return _Encoded([answering for answering, _ in lot], states, own)


def _loss(reader: Reader, lot: _Encoded) -> Tensor:
    loss = route_loss(reader, lot.states, lot.answered_by)
    for name, rows, allowed_BFC, right_BFO in lot.own:
        logits_BFO = reader.network.read(lot.states.rows(rows), name, allowed_BFC)
        chance_BF = logits_BFO.log_softmax(-1).masked_fill(~right_BFO, float("-inf")).logsumexp(-1)
        loss = loss - chance_BF.mean() * len(rows) / len(lot.answered_by)
    return loss


def _fit_upper_layers(  # noqa: PLR0913, PLR0917 - as extend_reader
    reader: Reader,
    known: Sequence[Wording],
    new: Sequence[Wording],
    ordinary: Sequence[str],
    recipe: ExtensionRecipe,
    on_step: _OnStep | None,
) -> None:
    reader.network.requires_grad_(requires_grad=True)
    # Known schemas take the place that made-up domains have in a first training.
    lots = lots_of(
        Lessons(new, ordinary, known),
        recipe.fit,
        random.Random(recipe.seed + 2),  # noqa: S311 - questions
    )
    optimiser = optimiser_of(reader, recipe.fit)
    steps = recipe.fit.steps_for(len(new))
    schedule = schedule_of(optimiser, recipe.fit, steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        for step in range(steps):
            loss = loss_of(reader, next(lots))
            learn(reader, loss, optimiser, schedule)
            if on_step is not None:
                on_step(step + 1, steps, float(loss.detach()))
