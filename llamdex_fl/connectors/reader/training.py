"""Trains a reader on questions made from schemas and wordings: no record, no question of a person is ever seen."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from llamdex_fl.connectors.questions import NearMisses, Question, QuestionGenerator, Wording
from llamdex_fl.connectors.questions.practice import practice_wordings
from llamdex_fl.connectors.reader.network import EncodedQuestions, said_values
from llamdex_fl.connectors.reader.reader import Batch, Reader
from llamdex_fl.connectors.thresholds import said_by
from llamdex_fl.connectors.units import Number

__all__ = ["ReaderRecipe", "train_reader"]

_LOTS_AT_ONCE = 24
#: 4,000 for five schemas, 1,600 for the two of the demo.
_LEAST_STEPS, _STEPS_A_SCHEMA = 1000, 800
#: Questions about a schema grow with what there is to learn of it, but slowly: each feature is in every question.
_SHARE_POWER = 0.25
#: A question, and the schema that answers it.
Asked = tuple[str | None, Question]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderRecipe:
    """How a reader is trained.

    The defaults were chosen by questions in the development wordings, among ten recipes (docs/adr/0002).

    Attributes:
        steps: optimiser steps; without it as many as ``steps_for`` says.
        batch: questions a step.
        ordinary: share of the questions that no schema answers.
        practice: share of the questions about made-up domains, which teach it to go by descriptions.
        layers: encoder layers that are kept.
        frozen_layers: encoder layers, counted from the embeddings, that stay as they are.
        encoder_rate, decoder_rate: peak learning rates.
        warmup: share of the steps in which the rates rise; they fall to zero by a cosine afterwards.
        seed: of the questions and the initial weights.
    """

    steps: int | None = None
    batch: int = 6
    ordinary: float = 0.12
    practice: float = 0.08
    layers: int = 4
    frozen_layers: int = 1
    encoder_rate: float = 2e-4
    decoder_rate: float = 1e-3
    warmup: float = 0.1
    seed: int = 0

    def steps_for(self, schemas: int) -> int:
        """Optimiser steps for so many schemas: each makes the others easier."""
        return max(_LEAST_STEPS, schemas * _STEPS_A_SCHEMA) if self.steps is None else self.steps


def train_reader(
    encoder_path: Path,
    wordings: Sequence[Wording],
    ordinary: Sequence[str],
    *,
    recipe: ReaderRecipe | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Reader:
    """Train one reader for the schemas of some wordings.

    Args:
        encoder_path: a local directory with a pretrained bidirectional encoder.
        wordings: one a schema.
        ordinary: questions that no schema answers.
        recipe: how to train.
        on_step: told (steps done, steps in all, loss) after each step.
    """
    recipe = recipe or ReaderRecipe()
    steps = recipe.steps_for(len(wordings))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        reader = Reader.untrained(encoder_path, [wording.schema for wording in wordings], layers=recipe.layers)
        with practising(reader, recipe) as practice:
            lots = lots_of(Lessons(wordings, ordinary, practice), recipe, random.Random(recipe.seed))  # noqa: S311
            optimiser = optimiser_of(reader, recipe)
            schedule = schedule_of(optimiser, recipe, steps)
            for step in range(steps):
                loss = loss_of(reader, next(lots))
                learn(reader, loss, optimiser, schedule)
                if on_step is not None:
                    on_step(step + 1, steps, float(loss.detach()))
    reader.network.eval()
    return reader


@contextmanager
def practising(reader: Reader, recipe: ReaderRecipe) -> Iterator[list[Wording]]:
    """A context in which a reader also knows the made-up domains; gives their wordings."""
    practice = practice_wordings() if recipe.practice else []
    for wording in practice:
        reader.add_schema(wording.schema)
    try:
        yield practice
    finally:
        for wording in practice:
            reader.forget(wording.schema.name)


def learn(
    reader: Reader, loss: Tensor, optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler
) -> None:
    """One step against a loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(reader.network.parameters(), 1.0)
    optimiser.step()
    schedule.step()


def schedule_of(
    optimiser: torch.optim.Optimizer, recipe: ReaderRecipe, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rates' way up and down."""
    rates = [group["lr"] for group in optimiser.param_groups]
    return torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rates, total_steps=steps, pct_start=recipe.warmup)


def optimiser_of(reader: Reader, recipe: ReaderRecipe) -> torch.optim.Optimizer:
    """The optimiser of all that is trained; the lowest layers stay as they are."""
    encoder = reader.network.encoder
    for module in (encoder.embeddings, *encoder.encoder.layer[: recipe.frozen_layers]):
        module.requires_grad_(requires_grad=False)
    reader.network.train()
    inner = {id(parameter) for parameter in encoder.parameters()}
    outer = [parameter for parameter in reader.network.parameters() if id(parameter) not in inner]
    return torch.optim.AdamW(
        [
            {"params": [p for p in encoder.parameters() if p.requires_grad], "lr": recipe.encoder_rate},
            {"params": outer, "lr": recipe.decoder_rate},
        ],
        weight_decay=0.01,
        fused=True,
    )


class Lessons:
    """What a reader learns from: each schema's questions, ordinary ones, near misses, the made-up domains."""

    def __init__(self, wordings: Sequence[Wording], ordinary: Sequence[str], practice: Sequence[Wording] = ()) -> None:
        """Take the wordings of the schemas that are served, ordinary questions, wordings of made-up domains."""
        self.generators = {wording.schema.name: QuestionGenerator(wording) for wording in wordings}
        self._shares = [_to_learn(wording) ** _SHARE_POWER for wording in wordings]
        self._practice = {wording.schema.name: QuestionGenerator(wording) for wording in practice}
        self._ordinary = ordinary
        self._near_misses = NearMisses(wordings)

    def sample(self, recipe: ReaderRecipe, rng: random.Random) -> Asked:
        """A question, and the schema that answers it."""
        chance = rng.random()
        if chance < recipe.ordinary:
            # Made-up near misses are many and alike, those that people wrote are few and apart.
            made_up = rng.random() < 0.4  # noqa: PLR2004
            return None, Question(self._near_misses.sample(rng) if made_up else rng.choice(self._ordinary), {}, {})
        if chance < recipe.ordinary + recipe.practice and self._practice:
            name = rng.choice(list(self._practice))
            return name, self._practice[name].sample(rng)
        (name,) = rng.choices(list(self.generators), self._shares)
        return name, self.generators[name].sample(rng)


def _to_learn(wording: Wording) -> int:
    """How much there is to learn of a schema: its features, and the categories that words say."""
    return sum(1 + len(feature.categories) for feature in wording.schema.features)


def lots_of(lessons: Lessons, recipe: ReaderRecipe, rng: random.Random) -> Iterator[list[Asked]]:
    """Endless lots of questions with the schema that answers each; a lot holds questions of like length.

    Like length means little padding: a step costs half of what it does with lots made at random.
    """
    while True:
        pool = [lessons.sample(recipe, rng) for _ in range(recipe.batch * _LOTS_AT_ONCE)]
        pool.sort(key=lambda asked: len(asked[1].text))
        lots = [pool[start : start + recipe.batch] for start in range(0, len(pool), recipe.batch)]
        rng.shuffle(lots)
        yield from lots


def loss_of(reader: Reader, lot: Sequence[Asked]) -> Tensor:
    """What routing and pointing cost on a lot."""
    names = list(reader.schemas)
    batch = reader.batch([question.text for _, question in lot])
    encoded = reader.encode(batch)
    loss = route_loss(reader, encoded, [own for own, _ in lot])
    for name in names:
        rows = [row for row, (own, _) in enumerate(lot) if own == name]
        if rows:
            own = batch.rows(rows)
            logits_BFO = reader.network.read(encoded.rows(rows), name, reader.allowed(own, reader.schemas[name]))
            asked = [lot[row][1] for row in rows]
            right_BFO = choices_of(reader, own, asked, name, logits_BFO)
            chance_BF = logits_BFO.log_softmax(-1).masked_fill(~right_BFO, float("-inf")).logsumexp(-1)
            loss = loss - chance_BF.mean() * len(rows) / len(lot)
    return loss


def route_loss(reader: Reader, encoded: EncodedQuestions, answered_by: Sequence[str | None]) -> Tensor:
    """What routing costs: for each question the sum over the schemas, for all but one are told apart easily."""
    names = list(reader.schemas)
    wanted_BS = torch.tensor([[float(own == name) for name in names] for own in answered_by])
    logits_BS = reader.network.routes(encoded, names)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits_BS, wanted_BS, reduction="none").sum(-1).mean()


def choices_of(reader: Reader, batch: Batch, questions: Sequence[Question], schema: str, like_BFO: Tensor) -> Tensor:
    """(B, F, O): every choice that reads a question's features rightly, at the place that says it."""
    return _right(reader, batch, range(len(questions)), questions, schema, like_BFO)


def _right(  # noqa: PLR0913, PLR0917 - questions and their tensors
    reader: Reader, batch: Batch, rows: Sequence[int], questions: Sequence[Question], name: str, like_BFO: Tensor
) -> Tensor:
    """(B, F, O): every choice that reads the feature rightly, at the place that says it."""
    right_BFO = torch.zeros(like_BFO.shape, dtype=torch.bool)
    most = batch.numbers_BCT.shape[1]
    tokens = batch.offsets_BT2.shape[1]
    width = (like_BFO.shape[-1] - most - 1) // tokens
    for place, (row, question) in enumerate(zip(rows, questions, strict=True)):
        measured = [
            span
            for feature in reader.schemas[name].features
            if not feature.is_category
            for span in question.spans.get(feature.name, ())
        ]
        for index, feature in enumerate(reader.schemas[name].features):
            value = question.features[feature.name]
            right_O = right_BFO[place, index]
            spans = question.spans.get(feature.name, ())
            numbers = batch.numbers[row]
            for column, (number, said) in enumerate(zip(numbers, said_by(numbers, feature), strict=True)):
                right_O[column] = (
                    value is not None
                    and said == value
                    and _meets(number, spans)
                    and not (feature.is_category and _meets(number, measured))
                )
            values = said_values(feature)
            # Where a category's level is written, only the number tells it: words of "FBS 104" tell nothing.
            if value in values and not (feature.is_category and right_O.any()):
                here_T = _inside(batch.offsets_BT2[row], spans)
                right_O[most:-1].view(tokens, width)[:, values.index(value)] = here_T
            # An absent feature, and one that stands after the last token that the encoder takes.
            right_O[-1] = not (right_O & like_BFO[place, index].isfinite()).any()
    return right_BFO


def _meets(number: Number, spans: Sequence[tuple[int, int]]) -> bool:
    return any(number.start < end and start < number.end for start, end in spans)


def _inside(offsets_T2: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """(T): which tokens lie in one of the spans."""
    starts, ends = offsets_T2[:, 0], offsets_T2[:, 1]
    inside = torch.zeros(len(offsets_T2), dtype=torch.bool)
    for start, end in spans:
        inside |= (starts < end) & (ends > start) & (ends > starts)
    return inside
