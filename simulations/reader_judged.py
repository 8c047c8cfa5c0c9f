"""A reader judged: by the questions that people wrote by hand, and by the held-out wordings.

They decide nothing. Whoever chooses between readers by them needs new ones; what a reader misreads is looked up in the
development questions.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from llamdex_fl.assembly import AskedQuestion
from llamdex_fl.connectors.questions import load_wording
from llamdex_fl.connectors.reader import Reader
from simulations.development import development_questions
from simulations.evaluation import HANDS, WORDINGS, hand_written_questions, held_out_texts
from simulations.reader_recipe import score_reader

__all__ = ["judged", "misread"]

_BATCH = 16


def judged(reader: Reader, *, wordings: int = 0) -> dict[str, Any]:
    """How well a reader reads and routes what other hands wrote.

    Args:
        reader: of tables.
        wordings: questions to draw from each schema's held-out wording, beside those written by hand.

    Returns:
        By schema the exact match over features, by hand, by feature, and the share that was routed rightly; of ordinary
        ones and near misses the share that was routed at all, with their texts.
    """
    schemas = [schema for schema in reader.schemas.values() if not schema.is_text]
    report: dict[str, Any] = {}
    for schema in schemas:
        report[schema.name] = _by_hand(reader, hand_written_questions(schema.name))
        report[schema.name]["hands"] = {
            hand: _by_hand(reader, hand_written_questions(schema.name, hand))["exact_match"] for hand in HANDS
        }
    if wordings:
        for schema in schemas:
            wording = load_wording(schema, WORDINGS / f"{schema.name}.toml")
            report[schema.name]["wording"] = asdict(score_reader(reader, wording, "held out", wordings))
    ordinary = [*(question.question for question in hand_written_questions("ordinary")), *held_out_texts()]
    routed = [text for text, reading in zip(ordinary, _read(reader, ordinary), strict=True) if reading.schema]
    report["ordinary"] = {"asked": len(ordinary), "false_route_rate": len(routed) / len(ordinary), "routed": routed}
    return report


def misread(reader: Reader) -> dict[str, Any]:
    """What a reader misreads of the development questions.

    Args:
        reader: of tables.

    Returns:
        As ``judged``, for the schemas that have development questions and without ordinary questions; each mistake has
        its question's text.
    """
    report: dict[str, Any] = {}
    for schema in reader.schemas.values():
        if not schema.is_text and (asked := development_questions(schema.name)):
            report[schema.name] = _by_hand(reader, asked)
            texts = {question.identity: question.question for question in asked}
            for mistake in report[schema.name]["wrong"]:
                mistake["question"] = texts[mistake["id"]]
    return report


def _by_hand(reader: Reader, asked: Sequence[AskedQuestion]) -> dict[str, Any]:
    texts = [question.question for question in asked]
    routed = sum(
        reading.schema == question.schema for question, reading in zip(asked, _read(reader, texts), strict=True)
    )
    hits: dict[str, list[bool]] = {name: [] for name in asked[0].features}
    wrong = []
    readings = _read(reader, texts, asked[0].schema)
    for question, reading in zip(asked, readings, strict=True):
        for name, value in question.features.items():
            hits[name].append(reading.features[name] == value)
            if reading.features[name] != value:
                wrong.append({"id": question.identity, "feature": name, "is": value, "read": reading.features[name]})
    every = [hit for own in hits.values() for hit in own]
    return {
        "questions": len(asked),
        "exact_match": sum(every) / len(every),
        "per_feature": {name: sum(own) / len(own) for name, own in hits.items()},
        "routed": routed / len(asked),
        "wrong": wrong,
    }


def _read(reader: Reader, texts: Sequence[str], schema: str | None = None) -> list[Any]:
    places = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    readings: dict[int, Any] = {}
    for start in range(0, len(places), _BATCH):
        part = places[start : start + _BATCH]
        readings |= zip(part, reader.read([texts[place] for place in part], schema=schema), strict=True)
    return [readings[place] for place in range(len(texts))]
