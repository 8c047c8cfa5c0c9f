"""The wording that a schema alone gives: any schema can be asked about, and by its own words."""

import json
import random
from dataclasses import replace

import pytest

from llamdex_fl.connectors.numbers import find_numbers, values_for
from llamdex_fl.connectors.questions import NearMisses, QuestionGenerator, Wording, generic_wording, training_wording
from llamdex_fl.connectors.questions.generic import nouns_of
from llamdex_fl.connectors.questions.practice import practice_wordings
from llamdex_fl.connectors.reader.network import said_values
from llamdex_fl.schema import Feature, Schema, Value, library_names, load_library_schema, parse_schema

TABLES = [name for name in library_names() if not load_library_schema(name).is_text]


def _values(feature: Feature) -> list[Value]:
    if feature.is_category:
        return list(feature.categories)
    low, high = feature.low_high()
    return sorted({low, high, *said_values(feature)})


@pytest.mark.parametrize("name", TABLES)
def test_every_value_of_every_schema_can_be_said_and_found_again(name: str) -> None:
    schema = load_library_schema(name)
    generator = QuestionGenerator(generic_wording(schema), noise=0.0)
    rng = random.Random(0)
    nothing: dict[str, Value] = dict.fromkeys(feature.name for feature in schema.features)
    for feature in schema.features:
        for value in _values(feature):
            question = generator.ask(nothing | {feature.name: value}, rng)
            spans = question.spans[feature.name]
            assert spans, (feature.name, value)
            if value not in said_values(feature):
                read = find_numbers(question.text)
                assert value in values_for(read, feature), question.text


def test_a_schema_that_nobody_wrote_a_wording_for_is_spoken_of_by_its_own_words(toy_schema: Schema) -> None:
    wording = training_wording(toy_schema)
    assert wording == generic_wording(toy_schema)
    texts = {phrase.text for phrase in wording.phrases}
    assert "{his} weight is {weight} g" in texts or any("{weight}" in text for text in texts)
    assert all(wording.words["colour", value] == (value,) for value in ("red", "green"))


def test_the_generic_wording_stands_beside_the_authors() -> None:
    schema = load_library_schema("bank")
    whole, own = training_wording(schema), generic_wording(schema)
    assert {phrase.text for phrase in own.phrases} < {phrase.text for phrase in whole.phrases}
    assert "days_since_previous" in whole.labels["days_since_previous"]


def test_more_names_and_words_may_be_given(toy_schema: Schema) -> None:
    wording = generic_wording(
        toy_schema, said={"weight": ["heft"]}, words={("colour", "red"): ["crimson"]}, nouns=["plum"]
    )
    assert wording.labels["weight"][0] == "heft"
    assert wording.words["colour", "red"] == ("crimson", "red")
    assert "plum" in {subject.text for subject in wording.subjects}


def test_what_a_record_is_about_is_taken_from_the_question() -> None:
    assert nouns_of(load_library_schema("bank"))[0] == "client"
    assert nouns_of(load_library_schema("nursery"))[0] == "nursery application"


def test_a_feature_of_which_unknown_is_a_category_is_never_said_to_be_absent() -> None:
    wording = generic_wording(load_library_schema("bank"))
    absent = {name for phrase in wording.phrases for name in phrase.absent}
    assert "education" not in absent
    assert "marital" in absent


def test_braces_in_a_description_are_no_slots(toy_schema: Schema) -> None:
    document = toy_schema.as_dict()
    document["features"][1]["description"] = "weight {in grams}"
    document["question"] = "Is this {fruit} ripe?"
    wording = generic_wording(parse_schema(json.dumps(document)))
    assert QuestionGenerator(wording).sample(random.Random(0)).text


def test_made_up_domains_have_other_names_than_any_schema_of_the_project() -> None:
    practice = practice_wordings()
    names = [wording.schema.name for wording in practice]
    assert len(set(names)) == len(names) >= 10
    assert not set(names) & set(library_names())
    assert sum(len(wording.schema.features) for wording in practice) > 80
    for wording in practice:
        assert QuestionGenerator(wording).sample(random.Random(0)).spans


def test_a_near_miss_holds_a_record_and_asks_for_something_else(toy_wording: Wording) -> None:
    rng = random.Random(0)
    near = NearMisses([replace(toy_wording, ask={**toy_wording.ask, "sentence": ("Is {he} ripe?",)})])
    texts = [near.sample(rng) for _ in range(60)]
    asking_only = [text for text in texts if "ipe?" not in text]
    assert len(asking_only) > 20, "most do not ask the schema's question at all"
    assert len(set(texts)) > 50
    assert not any("{" in text for text in texts)
