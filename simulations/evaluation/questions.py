"""Questions about held-out records, in the wordings that nothing was trained on or chosen by."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from llamdex_fl.assembly import AskedQuestion, AssembledLlamdex
from llamdex_fl.connectors.questions import QuestionGenerator, load_wording
from llamdex_fl.connectors.texts import TextQuestionGenerator, load_text_wording
from llamdex_fl.schema import Schema, Value
from simulations.datasets import Split
from simulations.evaluation.wordings import WORDINGS

__all__ = ["held_out_questions", "held_out_texts", "ordinary_routes"]


def held_out_questions(
    schema: Schema, splits: Mapping[str, Split], seed: int, count: int | None = None
) -> list[AskedQuestion]:
    """Questions about the silos' held-out records; the silos take turns.

    Args:
        schema: of the records.
        splits: each silo's records.
        seed: of the wording.
        count: how many, at most; None: one a record.
    """
    say = _sayer(schema)
    rng = random.Random(seed)  # noqa: S311 - wording, not keys
    by_silo = [[(silo, number, record) for number, record in enumerate(own.held_out)] for silo, own in splits.items()]
    turns = [row for place in range(max(map(len, by_silo))) for rows in by_silo for row in rows[place : place + 1]]
    asked = []
    for silo, number, record in turns[:count]:
        features = {feature.name: record.features.get(feature.name) for feature in schema.features}
        asked.append(
            AskedQuestion(
                identity=f"{silo}-{number}",
                schema=schema.name,
                question=say(features, rng),
                features=features,
                label=schema.target.labels[record.label],
                asker=silo,
            )
        )
    return asked


def _sayer(schema: Schema) -> Callable[[Mapping[str, Value], random.Random], str]:
    """What puts a record of this schema into a question."""
    path = WORDINGS / f"{schema.name}.toml"
    if schema.is_text:
        about = TextQuestionGenerator(load_text_wording(schema, path))
        return lambda features, rng: about.ask(str(features[schema.features[0].name]), rng).text
    generator = QuestionGenerator(load_wording(schema, path))
    return lambda features, rng: generator.ask(features, rng).text


def held_out_texts() -> list[str]:
    """Ordinary questions that no schema answers."""
    lines = (WORDINGS / "ordinary.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]


def ordinary_routes(assembly: AssembledLlamdex) -> dict[str, Any]:
    """Which of the ordinary questions an assembly takes for questions about records."""
    texts = held_out_texts()
    routed = [text for text, reading in zip(texts, assembly.read(texts), strict=True) if reading.schema]
    return {"asked": len(texts), "false_route_rate": len(routed) / len(texts), "routed": routed}
