"""Trains a reader on questions made from schemas and wordings: no record, no question of a person is ever seen."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from llamdex_fl.connectors.numbers import values_for
from llamdex_fl.connectors.questions import Question, QuestionGenerator, Wording
from llamdex_fl.connectors.reader.network import said_values
from llamdex_fl.connectors.reader.reader import Batch, Reader

__all__ = ["ReaderRecipe", "train_reader"]

_LOTS_AT_ONCE = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderRecipe:
    """How a reader is trained.

    The defaults were chosen by questions in the development wordings, among ten recipes (docs/adr/0002).

    Attributes:
        steps: optimiser steps.
        batch: questions a step.
        ordinary: share of the questions that no schema answers.
        layers: encoder layers that are kept.
        frozen_layers: encoder layers, counted from the embeddings, that stay as they are.
        encoder_rate, decoder_rate: peak learning rates.
        warmup: share of the steps in which the rates rise; they fall to zero by a cosine afterwards.
        seed: of the questions and the initial weights.
    """

    steps: int = 1000
    batch: int = 6
    ordinary: float = 0.12
    layers: int = 4
    frozen_layers: int = 1
    encoder_rate: float = 2e-4
    decoder_rate: float = 1e-3
    warmup: float = 0.1
    seed: int = 0


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
    rng = random.Random(recipe.seed)  # noqa: S311 - questions, not keys
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        reader = Reader.untrained(encoder_path, [wording.schema for wording in wordings], layers=recipe.layers)
        generators = {wording.schema.name: QuestionGenerator(wording) for wording in wordings}
        optimiser = _optimiser(reader, recipe)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=[group["lr"] for group in optimiser.param_groups],
            total_steps=recipe.steps,
            pct_start=recipe.warmup,
        )
        lots = _lots(generators, ordinary, recipe, rng)
        for step in range(recipe.steps):
            loss = _loss(reader, next(lots))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(reader.network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if on_step is not None:
                on_step(step + 1, recipe.steps, float(loss.detach()))
    reader.network.eval()
    return reader


def _optimiser(reader: Reader, recipe: ReaderRecipe) -> torch.optim.Optimizer:
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


def _lots(
    generators: dict[str, QuestionGenerator], ordinary: Sequence[str], recipe: ReaderRecipe, rng: random.Random
) -> Iterator[list[tuple[str | None, Question]]]:
    """Endless lots of questions with the schema that answers each; a lot holds questions of like length.

    Like length means little padding: a step costs half of what it does with lots made at random.
    """
    names = list(generators)
    while True:
        pool: list[tuple[str | None, Question]] = []
        for _ in range(recipe.batch * _LOTS_AT_ONCE):
            if rng.random() < recipe.ordinary:
                pool.append((None, Question(rng.choice(ordinary), {}, {})))
            else:
                name = rng.choice(names)
                pool.append((name, generators[name].sample(rng)))
        pool.sort(key=lambda asked: len(asked[1].text))
        lots = [pool[start : start + recipe.batch] for start in range(0, len(pool), recipe.batch)]
        rng.shuffle(lots)
        yield from lots


def _loss(reader: Reader, lot: Sequence[tuple[str | None, Question]]) -> Tensor:
    names = list(reader.schemas)
    batch = reader.batch([question.text for _, question in lot])
    encoded = reader.encode(batch)
    wanted_BS = torch.tensor([[float(own == name) for name in names] for own, _ in lot])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(reader.network.routes(encoded, names), wanted_BS)
    for name in names:
        rows = [row for row, (own, _) in enumerate(lot) if own == name]
        if rows:
            logits_BFO = reader.network.read(encoded, name, reader.allowed(batch, reader.schemas[name]))[rows]
            right_BFO = _right(reader, batch, rows, [lot[row][1] for row in rows], name, logits_BFO)
            chance_BF = logits_BFO.log_softmax(-1).masked_fill(~right_BFO, float("-inf")).logsumexp(-1)
            loss = loss - chance_BF.mean() * len(rows) / len(lot)
    return loss


def _right(  # noqa: PLR0913, PLR0917 - questions and their tensors
    reader: Reader, batch: Batch, rows: Sequence[int], questions: Sequence[Question], name: str, like_BFO: Tensor
) -> Tensor:
    """(B, F, O): every choice that reads the feature rightly, at the place that says it."""
    right_BFO = torch.zeros(like_BFO.shape, dtype=torch.bool)
    most = batch.numbers_BCT.shape[1]
    tokens = batch.offsets_BT2.shape[1]
    width = (like_BFO.shape[-1] - most - 1) // tokens
    for place, (row, question) in enumerate(zip(rows, questions, strict=True)):
        for index, feature in enumerate(reader.schemas[name].features):
            value = question.features[feature.name]
            right_O = right_BFO[place, index]
            spans = question.spans.get(feature.name, ())
            numbers = batch.numbers[row]
            for column, (number, said) in enumerate(zip(numbers, values_for(numbers, feature), strict=True)):
                right_O[column] = (
                    value is not None
                    and said == value
                    and any(number.start < end and start < number.end for start, end in spans)
                )
            values = said_values(feature)
            if value in values:
                here_T = _inside(batch.offsets_BT2[row], spans)
                right_O[most:-1].view(tokens, width)[:, values.index(value)] = here_T
            # An absent feature, and one that stands after the last token that the encoder takes.
            right_O[-1] = not (right_O & like_BFO[place, index].isfinite()).any()
    return right_BFO


def _inside(offsets_T2: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """(T): which tokens lie in one of the spans."""
    starts, ends = offsets_T2[:, 0], offsets_T2[:, 1]
    inside = torch.zeros(len(offsets_T2), dtype=torch.bool)
    for start, end in spans:
        inside |= (starts < end) & (ends > start) & (ends > starts)
    return inside
