"""Schemas: strict in, exact out, and a digest that depends on the meaning alone."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamdex_fl.errors import SchemaError
from llamdex_fl.schema import (
    MOST_TEXT_CHARACTERS,
    Feature,
    library_names,
    load_library_schema,
    load_schema,
    parse_schema,
)

_TEXT = st.text(st.characters(codec="utf-8"), max_size=12).map(str.strip).filter(bool)
_NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
_NUMBER = st.floats(-1e300, 1e300) | st.integers(-(2**70), 2**70) | st.integers(-1000, 1000)


def _texts(least: int, most: int = 4) -> st.SearchStrategy[list[str]]:
    return st.lists(_TEXT, min_size=least, max_size=most, unique=True)


@st.composite
def _features(draw: st.DrawFn) -> list[dict[str, Any]]:
    features = []
    for name in draw(_texts(1)):
        kind = draw(st.sampled_from(["category", "integer", "number"]))
        feature: dict[str, Any] = {"name": name, "kind": kind, "description": draw(_TEXT)}
        if kind == "category":
            feature["categories"] = draw(_texts(2))
        elif kind == "number":
            feature["range"] = sorted(draw(st.tuples(_NUMBER, _NUMBER).filter(lambda n: float(n[0]) != float(n[1]))))
        else:
            low = draw(st.integers(-(2**70), 2**70))
            feature["range"] = [low, low + draw(st.integers(2**20, 2**71))]
        if draw(st.booleans()):
            feature["unit"] = draw(_TEXT)
        features.append(feature)
    return features


@st.composite
def schema_documents(draw: st.DrawFn) -> dict[str, Any]:
    labels = draw(_texts(2))
    features = draw(_features())
    free = _TEXT.filter(lambda text: text not in {feature["name"] for feature in features})
    own, silo_column = draw(st.lists(free, min_size=2, max_size=2, unique=True))
    several = st.lists(_TEXT, min_size=len(labels), max_size=len(labels), unique=True)
    target: dict[str, Any] = {"name": own, "labels": labels, "answers": draw(several)}
    if draw(st.booleans()):
        target["sentences"] = draw(several)
    if draw(st.booleans()) and "text" not in {own, silo_column}:
        features = [_text()]
    document = {
        "name": draw(_NAME),
        "title": draw(_TEXT),
        "question": draw(_TEXT),
        "features": features,
        "target": target,
    }
    return document | ({"silo_column": silo_column} if draw(st.booleans()) else {})


def _shuffled(value: Any, rng: random.Random) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {key: _shuffled(value[key], rng) for key in rng.sample(list(value), len(value))}
    return [_shuffled(item, rng) for item in value] if isinstance(value, list) else value


@given(document=schema_documents(), seed=st.integers(0, 2**32))
def test_a_schema_comes_back_as_it_was_and_key_order_is_no_meaning(document: dict[str, Any], seed: int) -> None:
    schema = parse_schema(json.dumps(document))
    again = parse_schema(json.dumps(schema.as_dict()))
    assert again == schema
    assert again.digest() == schema.digest()
    reordered = parse_schema(json.dumps(_shuffled(document, random.Random(seed)), indent=3))
    assert reordered.digest() == schema.digest()


def test_digests_that_silos_have_agreed_on_stay() -> None:
    # From a separate JSON Canonicalization Scheme by hand: sorted keys, no spaces, integers without a point.
    import hashlib  # noqa: PLC0415 - the oracle's own

    for name in library_names():
        schema = load_library_schema(name)
        plain = json.dumps(schema.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert schema.digest() == hashlib.sha256(plain.encode()).hexdigest()


def _document() -> dict[str, Any]:
    return {
        "name": "fruit",
        "title": "Fruit",
        "question": "Ripe?",
        "features": [
            {"name": "colour", "kind": "category", "description": "its colour", "categories": ["red", "green"]},
            {"name": "weight", "kind": "integer", "description": "its weight", "range": [20, 400], "unit": "g"},
        ],
        "target": {"name": "ripe", "labels": ["1", "0"], "answers": ["yes", "no"]},
    }


def _text(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"name": "text", "kind": "text", "description": "what somebody wrote", **more}


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:  # noqa: ANN401 - JSON
    def change(document: Any) -> None:  # noqa: ANN401
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = to

    return change


_WRONG = {
    "unknown key": _set("colour", to="red"),
    "unknown key in a feature": _set("features", 0, "colours", to=[]),
    "unknown key in the target": _set("target", "question", to="?"),
    "no feature": _set("features", to=[]),
    "features no list": _set("features", to={}),
    "a feature no object": _set("features", 0, to="colour"),
    "two features of one name": _set("features", 0, "name", to="weight"),
    "an unknown kind": _set("features", 0, "kind", to="image"),
    "a text beside another feature": _set("features", 0, to={"name": "a", "kind": "text", "description": "a text"}),
    "a text with categories": _set("features", to=[_text(categories=["a", "b"])]),
    "a text with a range": _set("features", to=[_text(range=[0, 1])]),
    "a text with a unit": _set("features", to=[_text(unit="words")]),
    "a text without a description": _set("features", to=[{"name": "a", "kind": "text"}]),
    "two texts": _set("features", to=[_text(), _text() | {"name": "b"}]),
    "a kind that is a list": _set("features", 0, "kind", to=["category"]),
    "a category with a range": _set("features", 0, "range", to=[0, 1]),
    "a number with categories": _set("features", 1, "categories", to=["a", "b"]),
    "one category": _set("features", 0, "categories", to=["red"]),
    "the same category twice": _set("features", 0, "categories", to=["red", "red"]),
    "a category that is a number": _set("features", 0, "categories", to=["red", 1]),
    "bounds the wrong way round": _set("features", 1, "range", to=[400, 20]),
    "equal bounds": _set("features", 1, "range", to=[20, 20]),
    "NaN": _set("features", 1, "range", to=[float("nan"), 400]),
    "infinity": _set("features", 1, "range", to=[0, float("inf")]),
    "an integer beyond every float": _set("features", 1, "range", to=[0, 10**400]),
    "true for a number": _set("features", 1, "range", to=[False, True]),
    "text for a number": _set("features", 1, "range", to=["0", "1"]),
    "one bound": _set("features", 1, "range", to=[0]),
    "an integer range without an integer": _set("features", 1, "range", to=[0.2, 0.8]),
    "a target with a feature's name": _set("target", "name", to="weight"),
    "a silo column with a feature's name": _set("silo_column", to="weight"),
    "a category with a blank before it": _set("features", 0, "categories", to=[" red", "green"]),
    "a blank title": _set("title", to="  "),
    "a title that has no UTF-8 form": _set("title", to="\ud800"),
    "a name that is a path": _set("name", to="../fruit"),
    "a name with a dot": _set("name", to="fruit.v2"),
    "one label": _set("target", "labels", to=["1"]),
    "more answers than labels": _set("target", "answers", to=["yes", "no", "perhaps"]),
    "more sentences than labels": _set("target", "sentences", to=["Yes.", "No.", "Perhaps."]),
}


@pytest.mark.parametrize("change", _WRONG.values(), ids=_WRONG)
def test_what_is_no_schema_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    document = _document()
    parse_schema(json.dumps(document))
    change(document)
    with pytest.raises(SchemaError) as refusal:
        parse_schema(json.dumps(document), source="fruit.json")
    assert "fruit.json" in refusal.value.problem


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"name": "a", "name": "b"}', "1" * 5000, '{"name": NaN}']
)
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(SchemaError):
        parse_schema(text)


def test_a_key_that_occurs_twice_is_refused_at_any_depth() -> None:
    text = json.dumps(_document()).replace('"unit": "g"', '"unit": "g", "unit": "kg"')
    with pytest.raises(SchemaError, match="occurs twice"):
        parse_schema(text)


def test_sentences_default_to_the_answers() -> None:
    assert parse_schema(json.dumps(_document())).target.sentences == ("yes.", "no.")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b" " * (1 << 20) + b"{}"])
def test_a_file_that_is_no_schema_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "fruit.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SchemaError, match=r"fruit\.json"):
        load_schema(path)


def test_a_schema_that_does_not_come_with_the_project_is_refused() -> None:
    with pytest.raises(SchemaError) as refusal:
        load_library_schema("weather")
    assert refusal.value.expected == "one of " + ", ".join(library_names())


def test_a_feature_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(SchemaError, match="colour, weight"):
        parse_schema(json.dumps(_document())).feature("size")


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        (None, True),
        (20, True),
        (400.0, True),
        (19, False),
        (400.5, False),
        (21.5, False),
        (True, False),
        ("21", False),
        ([21], False),
        ({}, False),
        (float("nan"), False),
        (float("inf"), False),
        (10**400, False),
    ],
)
def test_an_integer_holds_whole_numbers_within_its_bounds(value: Any, allowed: bool) -> None:  # noqa: ANN401, FBT001
    feature = Feature(name="weight", kind="integer", description="w", bounds=(20.0, 400.0))
    assert feature.contains(value) is allowed


@pytest.mark.parametrize(("value", "allowed"), [(None, True), ("red", True), ("Red", False), (1, False), ([], False)])
def test_a_category_holds_its_categories(value: Any, allowed: bool) -> None:  # noqa: ANN401, FBT001
    feature = Feature(name="colour", kind="category", description="c", categories=("red", "green"))
    assert feature.contains(value) is allowed


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        (None, True),
        ("good", True),
        ("g" * MOST_TEXT_CHARACTERS, True),
        ("g" * (MOST_TEXT_CHARACTERS + 1), False),
        ("", False),
        (" \n", False),
        ("\ud800", False),
        (1, False),
        (["good"], False),
    ],
)
def test_a_text_is_what_a_person_wrote_and_not_too_long(value: Any, allowed: bool) -> None:  # noqa: ANN401, FBT001
    feature = Feature(name="text", kind="text", description="what somebody wrote")
    assert feature.contains(value) is allowed
    assert feature.expected() == "a text of at most 2000 characters"
    assert feature.is_text
    assert not feature.is_category
    with pytest.raises(AssertionError, match="its kind is text"):
        feature.low_high()


def test_a_schema_of_texts_comes_back_and_has_no_codes() -> None:
    schema = parse_schema(json.dumps(_document() | {"features": [_text()]}))
    assert schema.is_text
    assert schema.as_dict()["features"] == [_text()]
    assert parse_schema(json.dumps(schema.as_dict())) == schema
    assert not parse_schema(json.dumps(_document())).is_text
