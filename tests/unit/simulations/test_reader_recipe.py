"""Scoring a reader's recipe: in which wordings, and what counts."""

import random
from functools import partial

import pytest

from llamdex_fl.connectors.questions import QuestionGenerator, load_wording, training_wording
from llamdex_fl.connectors.reader import ReaderRecipe
from llamdex_fl.connectors.texts import TextReaderRecipe
from llamdex_fl.schema import load_library_schema
from simulations.evaluation import DEVELOPMENT_WORDINGS, WORDINGS
from simulations.reader_recipe import score_recipe


def test_a_recipe_is_scored_by_schema_and_wording() -> None:
    steps: list[int] = []
    scores, seconds = score_recipe(
        ReaderRecipe(steps=2, practice=0.0, batch=2, layers=1),
        questions=3,
        on_step=lambda done, _, __: steps.append(done),
    )
    assert steps == [1, 2]
    assert seconds > 0
    assert [(score.schema, score.wording) for score in scores] == [
        (schema, wording) for schema in ("heart", "titanic") for wording in ("training", "development")
    ]
    for score in scores:
        assert set(score.per_feature) == {feature.name for feature in load_library_schema(score.schema).features}
        assert abs(score.exact_match - sum(score.per_feature.values()) / len(score.per_feature)) < 1e-9


def test_three_sets_of_wordings_are_three() -> None:
    for name in ("heart", "titanic"):
        schema = load_library_schema(name)
        texts = [
            {phrase.text for phrase in wording.phrases if len(phrase.text.split()) > 5}
            for wording in (
                training_wording(schema),
                load_wording(schema, DEVELOPMENT_WORDINGS / f"{name}.toml"),
                load_wording(schema, WORDINGS / f"{name}.toml"),
            )
        ]
        assert all(len(own) > 50 for own in texts)
        assert not texts[0] & texts[2]
        assert not texts[1] & texts[2]
        assert QuestionGenerator(load_wording(schema, WORDINGS / f"{name}.toml")).sample(random.Random(0)).text


def test_texts_are_scored_beside_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulations.reader_recipe.TextReaderRecipe", partial(TextReaderRecipe, steps=2, batch=2))
    scores, _ = score_recipe(ReaderRecipe(steps=2, practice=0.0, batch=2, layers=1), questions=2, texts=True)
    own = [score for score in scores if score.schema == "sentiment"]
    assert [score.wording for score in own] == ["training", "development"]
    assert all(score.false_routes is not None and set(score.per_feature) == {"text"} for score in own)
    assert len(scores) == 6
