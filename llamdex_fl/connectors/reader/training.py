"""Trains a reader on questions made from schemas and wordings: no record, no question of a person is ever seen."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from llamdex_fl.connectors.questions import Question, QuestionGenerator, Wording
from llamdex_fl.connectors.reader.network import said_values
from llamdex_fl.connectors.reader.reader import Batch, Reader

__all__ = ["ReaderRecipe", "train_reader"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderRecipe:
    """How a reader is trained; the defaults were chosen on questions in the training wording alone.

    Attributes:
        steps: optimiser steps.
        batch: questions a step that ask about a record.
        ordinary: questions a step that no schema answers.
        frozen_layers: encoder layers, counted from the embeddings, that stay as they are.
        encoder_rate, decoder_rate: peak learning rates.
        warmup: share of the steps in which the rates rise; they fall to zero by a cosine afterwards.
        seed: of the questions and the initial weights.
    """

    steps: int = 220
    batch: int = 20
    ordinary: int = 4
    frozen_layers: int = 2
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
        reader = Reader.untrained(encoder_path, [wording.schema for wording in wordings])
        generators = {wording.schema.name: QuestionGenerator(wording) for wording in wordings}
        optimiser = _optimiser(reader, recipe)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=[group["lr"] for group in optimiser.param_groups],
            total_steps=recipe.steps,
            pct_start=recipe.warmup,
        )
        for step in range(recipe.steps):
            loss = _loss(reader, generators, ordinary, recipe, rng)
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
    )


def _loss(
    reader: Reader,
    generators: dict[str, QuestionGenerator],
    ordinary: Sequence[str],
    recipe: ReaderRecipe,
    rng: random.Random,
) -> Tensor:
    names = list(generators)
    asked = sorted(rng.choices(range(len(names)), k=recipe.batch))
    questions = [generators[names[index]].sample(rng) for index in asked]
    others = rng.sample(list(ordinary), recipe.ordinary)
    batch = reader.batch([question.text for question in questions] + others)
    encoded = reader.encode(batch)
    routes_BS = reader.network.routes(encoded, names)
    wanted_BS = torch.zeros_like(routes_BS)
    wanted_BS[torch.arange(len(asked)), torch.tensor(asked)] = 1
    loss = torch.nn.functional.binary_cross_entropy_with_logits(routes_BS, wanted_BS)
    for index, name in enumerate(names):
        rows = [row for row, own in enumerate(asked) if own == index]
        if rows:
            logits_BFO = reader.network.read(encoded, name, reader.allowed(batch, reader.schemas[name]))[rows]
            right_BFO = _right(reader, batch, rows, [questions[row] for row in rows], name, logits_BFO)
            chance_BF = logits_BFO.log_softmax(-1).masked_fill(~right_BFO, float("-inf")).logsumexp(-1)
            loss = loss - chance_BF.mean() * len(rows) / len(asked)
    return loss


def _right(
    reader: Reader, batch: Batch, rows: Sequence[int], questions: Sequence[Question], name: str, like_BFO: Tensor
) -> Tensor:
    """(B, F, C + V + 1): every choice that reads the feature rightly."""
    right_BFO = torch.zeros(like_BFO.shape, dtype=torch.bool)
    most = batch.numbers_BCT.shape[1]
    for place, (row, question) in enumerate(zip(rows, questions, strict=True)):
        for index, feature in enumerate(reader.schemas[name].features):
            value = question.features[feature.name]
            if value is None:
                right_BFO[place, index, -1] = True
                continue
            start, end = question.spans.get(feature.name, (0, 0))
            for column, number in enumerate(batch.numbers[row]):
                if number.value == value and number.start < end and start < number.end:
                    right_BFO[place, index, column] = True
            values = said_values(feature)
            if value in values:
                right_BFO[place, index, most + values.index(value)] = True
            if not (right_BFO[place, index] & like_BFO[place, index].isfinite()).any():
                # The tokenizer cut the question before this number.
                right_BFO[place, index, -1] = True
    return right_BFO
