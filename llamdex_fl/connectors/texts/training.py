"""Teaches one reader tables and texts, on questions that were made up; no record, no real text is ever seen.

Steps for tables are the plain reader's own, as many as without texts; steps for texts come between them. In both the
encoder and the routing are the same, so a step of each kind also says what is not its own.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from llamdex_fl.connectors.questions import Question, QuestionGenerator, Wording
from llamdex_fl.connectors.reader import ReaderRecipe
from llamdex_fl.connectors.reader.training import (
    Lessons,
    learn,
    loss_of,
    lots_of,
    optimiser_of,
    practising,
    route_loss,
    schedule_of,
)
from llamdex_fl.connectors.texts.generator import TextQuestionGenerator
from llamdex_fl.connectors.texts.network import spans, words
from llamdex_fl.connectors.texts.reader import TextReader
from llamdex_fl.connectors.texts.wording import TextWording

__all__ = ["TextReaderRecipe", "train_text_reader"]

_LOTS_AT_ONCE = 12
_Lot = Sequence[tuple[str | None, Question]]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextReaderRecipe:
    """How a reader is trained where a schema of texts is served.

    Attributes:
        tabular: of the steps for tables, and of what is common: layers, rates, seed.
        steps: optimiser steps for texts, beyond those for tables.
        batch: questions of such a step.
        other: share of its questions that ask something else of a text, or are near misses in another way.
        foreign: share of questions of tables, and of ordinary ones, each.
    """

    tabular: ReaderRecipe = field(default_factory=ReaderRecipe)
    steps: int = 600
    batch: int = 6
    other: float = 0.2
    foreign: float = 0.1


def train_text_reader(  # noqa: PLR0913 - as train_reader, and the wordings of texts
    encoder_path: Path,
    wordings: Sequence[Wording],
    text_wordings: Sequence[TextWording],
    ordinary: Sequence[str],
    *,
    recipe: TextReaderRecipe | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> TextReader:
    """Train one reader for schemas of tables and of texts.

    Args:
        encoder_path: a local directory with a pretrained bidirectional encoder.
        wordings: one a schema of tables; may be empty.
        text_wordings: one a schema of texts; at least one.
        ordinary: questions that no schema answers.
        recipe: how to train.
        on_step: told (steps done, steps in all, loss) after each step.
    """
    recipe = recipe or TextReaderRecipe()
    tabular = recipe.tabular
    schemas = [*(wording.schema for wording in wordings), *(wording.schema for wording in text_wordings)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tabular.seed)
        reader = TextReader.untrained(encoder_path, schemas, layers=tabular.layers)
        turns = _turns(tabular.steps_for(len(wordings)) if wordings else 0, recipe.steps)
        with practising(reader, replace(tabular, practice=tabular.practice if wordings else 0.0)) as practice:
            lessons = Lessons(wordings, ordinary, practice)
            tables = lots_of(lessons, tabular, random.Random(tabular.seed))  # noqa: S311 - questions
            texts = _lots(lessons.generators, text_wordings, ordinary, recipe)
            only_tables = reader.tabular
            optimiser = optimiser_of(reader, tabular)
            schedule = schedule_of(optimiser, tabular, len(turns))
            for step, of_texts in enumerate(turns):
                loss = _loss(reader, next(texts)) if of_texts else loss_of(only_tables, next(tables))
                learn(reader, loss, optimiser, schedule)
                if on_step is not None:
                    on_step(step + 1, len(turns), float(loss.detach()))
    reader.network.eval()
    return reader


def _turns(tabular: int, texts: int) -> list[bool]:
    """Whether each step is one for texts; the fewer are spread evenly among the others."""
    total = tabular + texts
    return [(step + 1) * texts // total > step * texts // total for step in range(total)]


def _lots(
    generators: dict[str, QuestionGenerator],
    wordings: Sequence[TextWording],
    ordinary: Sequence[str],
    recipe: TextReaderRecipe,
) -> Iterator[_Lot]:
    """Endless lots of questions with the schema that answers each; a lot holds questions of like length."""
    rng = random.Random(recipe.tabular.seed + 1)  # noqa: S311 - questions, not keys
    tables, texts = list(generators.values()), [TextQuestionGenerator(wording) for wording in wordings]
    names = [wording.schema.name for wording in wordings]
    while True:
        pool: list[tuple[str | None, Question]] = []
        for _ in range(recipe.batch * _LOTS_AT_ONCE):
            chance = rng.random()
            if chance < recipe.other and (near := rng.choice(texts).other(rng)):
                pool.append((None, Question(near, {}, {})))
            elif chance < recipe.other + recipe.foreign:
                pool.append((None, Question(rng.choice(ordinary), {}, {})))
            elif tables and chance < recipe.other + 2 * recipe.foreign:
                place = rng.randrange(len(tables))
                pool.append((list(generators)[place], tables[place].sample(rng)))
            else:
                place = rng.randrange(len(texts))
                pool.append((names[place], texts[place].sample(rng)))
        pool.sort(key=lambda asked: len(asked[1].text))
        lots = [pool[start : start + recipe.batch] for start in range(0, len(pool), recipe.batch)]
        rng.shuffle(lots)
        yield from lots


def _loss(reader: TextReader, lot: _Lot) -> Tensor:
    names = list(reader.schemas)
    batch = reader.batch([question.text for _, question in lot])
    encoded = reader.encode(batch)
    loss = route_loss(reader, encoded, [own for own, _ in lot])
    words_BT = words(batch.offsets_BT2)
    for name in (name for name in names if reader.schemas[name].is_text):
        rows = [row for row, (own, _) in enumerate(lot) if own == name]
        if rows:
            log_BTT = spans(*reader.network.point(encoded, name, words_BT))
            loss = loss - sum(_said(log_BTT[row], batch.offsets_BT2[row], lot[row][1]) for row in rows) / len(lot)
    return loss


def _said(log_TT: Tensor, offsets_T2: Tensor, question: Question) -> Tensor:
    """The log-probability of the span that is the text, as far as it was tokenised."""
    ((start, end),) = next(iter(question.spans.values()))
    inside_T = (offsets_T2[:, 0] < end) & (offsets_T2[:, 1] > start) & (offsets_T2[:, 1] > offsets_T2[:, 0])
    places = inside_T.nonzero().flatten()
    if not len(places):  # the text begins beyond the last token that is read
        return log_TT.new_zeros(())
    return log_TT[places[0], places[-1]]
