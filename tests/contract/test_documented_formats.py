"""The examples in docs/schema.md and docs/wording.md are real."""

import json
import random
import re
import tomllib
from pathlib import Path

import pytest

from llamdex_fl.connectors.questions import QuestionGenerator, load_wording
from llamdex_fl.connectors.questions.wording import _FEATURE_KEYS, _PERSON_SLOTS, _PRONOUNS, FORMS
from llamdex_fl.connectors.reader.network import said_values
from llamdex_fl.connectors.texts import TextQuestionGenerator, load_text_wording
from llamdex_fl.connectors.texts.wording import ASK_SLOTS
from llamdex_fl.schema import Schema, load_library_schema, parse_schema

_DOCS = Path(__file__).parents[2] / "docs"


def _blocks(name: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", (_DOCS / name).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.fixture(scope="module")
def schema() -> Schema:
    (example,) = _blocks("schema.md", "json")
    return parse_schema(example)


def test_the_schema_example_uses_every_key(schema: Schema) -> None:
    document = schema.as_dict()
    assert {feature.kind for feature in schema.features} == {"category", "integer", "number"}
    assert schema.silo_column
    told = (_DOCS / "schema.md").read_text(encoding="utf-8")
    keys = {*document, *document["target"], *(key for feature in document["features"] for key in feature)}
    assert all(f"| `{key}`" in told or f"`{key}`, `" in told or f", `{key}` |" in told for key in keys)


def test_the_wording_example_says_every_record_of_the_schema_example(schema: Schema, tmp_path: Path) -> None:
    example = _blocks("wording.md", "toml")[0]
    (tmp_path / "fruit.toml").write_text(example, encoding="utf-8")
    generator = QuestionGenerator(load_wording(schema, tmp_path))
    rng = random.Random(0)
    texts = [generator.sample(rng).text for _ in range(300)]
    assert any("no sugar in" in text for text in texts)
    assert any("weighed nor tasted" in text.lower() for text in texts)
    document = tomllib.loads(example)
    assert set(document) == {"schema", "subject", "feature", "joint", "ask", "chatter"}
    assert {key for subject in document["subject"] for key in subject} == {
        "noun", "relation", "short", "pronoun", "states", "when",
    }  # fmt: skip


def test_the_counted_example_works_with_the_project_s_schema(tmp_path: Path) -> None:
    rest = """
schema = "titanic"
[[subject]]
noun = ["passenger"]
pronoun = "they"
[ask]
sentence = ["Did {he} survive?"]
short = ["Survived?"]
[chatter]
aside = ["it rained"]
"""
    (tmp_path / "one.toml").write_text(rest + _blocks("wording.md", "toml")[1], encoding="utf-8")
    generator = QuestionGenerator(load_wording(load_library_schema("titanic"), tmp_path))
    rng = random.Random(0)
    record = dict.fromkeys(f.name for f in load_library_schema("titanic").features) | {"siblings_spouses": 3.0}
    texts = [generator.ask(record, rng).text for _ in range(40)]
    assert any("sisters" in text or "brothers" in text for text in texts)


def test_the_wording_example_for_texts_asks_about_texts(tmp_path: Path) -> None:
    example = _blocks("wording.md", "toml")[2]
    (tmp_path / "one.toml").write_text(example, encoding="utf-8")
    wording = load_text_wording(load_library_schema("sentiment"), tmp_path)
    generator, rng = TextQuestionGenerator(wording), random.Random(0)
    texts = [generator.sample(rng).text for _ in range(100)]
    assert any("comedy is a joy" in text for text in texts)
    told = (_DOCS / "wording.md").read_text(encoding="utf-8")
    assert all(f"`{{{slot}}}`" in told for slot in ASK_SLOTS)
    assert all(all(forms.values()) for forms in (wording.ask, wording.chatter, wording.other)), "every key is used"


def test_the_documented_words_are_those_of_the_code(schema: Schema) -> None:
    told = (_DOCS / "wording.md").read_text(encoding="utf-8")
    assert all(f"`{form}`" in told for form in FORMS)
    assert all(f"`{{{slot}}}`" in told for slot in (*_PERSON_SLOTS, "v", "n", "name", "counted"))
    assert all(key in told for key in _FEATURE_KEYS)
    assert ", ".join(_PRONOUNS[:-1]) + f" or {_PRONOUNS[-1]}" in told
    assert {feature.name: said_values(feature) for feature in schema.features} == {
        "colour": ("red", "green"),
        "weight": (),
        "sugar": (0.0,),
    }


def test_the_schema_example_gives_its_digest_whatever_the_layout(schema: Schema) -> None:
    assert parse_schema(json.dumps(schema.as_dict(), sort_keys=True)).digest() == schema.digest()
