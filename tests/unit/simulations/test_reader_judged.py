"""What is reported of a reader that is judged; that it reads well is not a test's matter."""

from pathlib import Path

import pytest

from llamdex_fl.connectors.reader import Reader
from llamdex_fl.schema import load_library_schema
from simulations.development import DEVELOPMENT_QUESTIONS, development_questions
from simulations.evaluation import HANDS, hand_written_questions
from simulations.reader_judged import judged, misread


def test_a_report_has_every_schema_feature_and_mistake(tiny_encoder: Path) -> None:
    reader = Reader.untrained(tiny_encoder, [load_library_schema("titanic"), load_library_schema("wine")], layers=1)
    report = judged(reader, wordings=2)
    assert set(report) == {"titanic", "wine", "ordinary"}
    for name in ("titanic", "wine"):
        own, features = report[name], load_library_schema(name).features
        questions = len(hand_written_questions(name))
        assert own["questions"] == questions
        assert set(own["hands"]) == set(HANDS)
        assert set(own["per_feature"]) == {feature.name for feature in features}
        assert len(own["wrong"]) == round((1 - own["exact_match"]) * questions * len(features))
        assert own["wording"]["schema"] == name
    assert report["ordinary"]["asked"] > 200
    assert len(report["ordinary"]["routed"]) == round(
        report["ordinary"]["false_route_rate"] * report["ordinary"]["asked"]
    )


@pytest.mark.parametrize("schema", sorted(path.stem for path in DEVELOPMENT_QUESTIONS.glob("*.jsonl")))
def test_development_questions_have_every_feature_and_a_value_it_can_take(schema: str) -> None:
    features, asked = load_library_schema(schema).features, development_questions(schema)
    assert (
        len({question.identity for question in asked}) == len({question.question for question in asked}) == len(asked)
    )
    for question in asked:
        assert set(question.features) == {feature.name for feature in features}
        for feature in features:
            value = question.features[feature.name]
            assert value is None or feature.contains(value), (question.identity, feature.name)


def test_what_is_misread_is_told_with_its_question(tiny_encoder: Path) -> None:
    reader = Reader.untrained(tiny_encoder, [load_library_schema("heart"), load_library_schema("wine")], layers=1)
    report = misread(reader)
    assert set(report) == {"heart"}  # nobody has written any on wine
    texts = {question.identity: question.question for question in development_questions("heart")}
    assert report["heart"]["questions"] == len(texts)
    assert report["heart"]["wrong"]
    assert all(mistake["question"] == texts[mistake["id"]] for mistake in report["heart"]["wrong"])
