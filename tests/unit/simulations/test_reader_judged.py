"""What is reported of a reader that is judged; that it reads well is not a test's matter."""

from pathlib import Path

from llamdex_fl.connectors.reader import Reader
from llamdex_fl.schema import load_library_schema
from simulations.reader_judged import judged


def test_a_report_has_every_schema_feature_and_mistake(tiny_encoder: Path) -> None:
    reader = Reader.untrained(tiny_encoder, [load_library_schema("titanic"), load_library_schema("wine")], layers=1)
    report = judged(reader, wordings=2)
    assert set(report) == {"titanic", "wine", "ordinary"}
    for name in ("titanic", "wine"):
        own, features = report[name], load_library_schema(name).features
        assert own["questions"] == 40
        assert set(own["per_feature"]) == {feature.name for feature in features}
        assert len(own["wrong"]) == round((1 - own["exact_match"]) * 40 * len(features))
        assert own["wording"]["schema"] == name
    assert report["ordinary"]["asked"] > 200
    assert len(report["ordinary"]["routed"]) == round(
        report["ordinary"]["false_route_rate"] * report["ordinary"]["asked"]
    )
