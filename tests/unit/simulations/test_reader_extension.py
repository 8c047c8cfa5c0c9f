"""Scoring how a schema joins a reader; the encoder is real, everything else is small."""

from llamdex_fl.connectors.reader import ExtensionRecipe, ReaderRecipe
from llamdex_fl.schema import load_library_schema
from simulations.reader_extension import score_joining
from simulations.reader_recipe import wordings_to_compare_by

RECIPE = ReaderRecipe(steps=1, practice=0.0, batch=2, layers=1)


def test_a_schema_joins_in_every_way() -> None:
    scores = score_joining(
        "wine",
        ["titanic"],
        recipe=RECIPE,
        extension=ExtensionRecipe(questions=2, others=2, rounds=1, checked=1, fit=RECIPE),
        questions=2,
    )
    ways = ["before", "description", "vocabulary", "upper layers", "generic vocabulary", "generic upper layers"]
    assert [score.way for score in scores] == ways
    assert [score.new is None for score in scores] == [True] + 5 * [False]
    before = scores[0].known[0].per_feature
    for score in scores:
        assert [own.schema for own in score.known] == ["titanic"]
        if not score.way.endswith("upper layers"):
            assert score.known[0].per_feature == before, "what was known is read as before"


def test_an_author_stands_for_other_hands_where_none_wrote_a_development_wording() -> None:
    training, development = wordings_to_compare_by(load_library_schema("wine"))
    learnt = {phrase.text for phrase in training.phrases}
    asked = {phrase.text for phrase in development.phrases if len(phrase.text.split()) > 5}
    assert len(asked) > 50
    assert len(asked & learnt) < 0.1 * len(asked)
