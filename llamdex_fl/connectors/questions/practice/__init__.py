"""Made-up domains that the reader learns beside the served ones, so that it can read a schema by its descriptions."""

import json
import math
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from llamdex_fl.connectors.questions.generic import generic_wording
from llamdex_fl.connectors.questions.wording import Wording
from llamdex_fl.schema import parse_schema

__all__ = ["practice_wordings"]


def practice_wordings() -> list[Wording]:
    """The wordings of the made-up domains, in the file's order."""
    text = (files(__name__) / "everyday.toml").read_text(encoding="utf-8")
    return [_wording(entry) for entry in tomllib.loads(text)["schema"]]


def _wording(entry: Mapping[str, Any]) -> Wording:
    features: list[dict[str, Any]] = []
    said: dict[str, list[str]] = {}
    words: dict[tuple[str, str], list[str]] = {}
    for name, own in entry["features"].items():
        described: dict[str, Any] = {"name": name, "description": own["description"]}
        if "values" in own:
            described |= {"kind": "category", "categories": list(own["values"])}
            words |= {(name, value): texts for value, texts in own["values"].items()}
        else:
            low, high = own["range"]
            described |= {"kind": own.get("kind", "number"), "range": [math.floor(low), math.ceil(high)]}
            described |= {"unit": own["unit"]} if "unit" in own else {}
        features.append(described)
        said[name] = own.get("said", [])
    document = {
        "name": entry["name"],
        "title": entry["title"],
        "question": entry["question"],
        "features": features,
        "target": {"name": "outcome", "labels": ["no", "yes"], "answers": ["No", "Yes"]},
    }
    schema = parse_schema(json.dumps(document), source=entry["name"])
    return generic_wording(schema, said=said, words=words, nouns=entry["noun"])
