"""The four sources of opinions: what is kept of them, and that nothing held out was trained on."""

import pytest

from llamdex_fl.schema import load_library_schema
from silo_client.data import read_records
from silo_client.sentiment_sources import SENTIMENT_FILE
from simulations.datasets import sentiment_silos, split, write_silo_csv

pytestmark = pytest.mark.skipif(not SENTIMENT_FILE.is_there(), reason="python -m simulations.datasets fetch")


def test_counts_classes_and_no_sentence_twice() -> None:
    silos = sentiment_silos()
    assert {name: len(records) for name, records in silos.items()} == {
        "movies": 10566,
        "editorials": 4884,
        "tweets": 4136,
        "products": 3600,
    }
    schema = load_library_schema("sentiment")
    for records in silos.values():
        texts = [str(record.features["text"]) for record in records]
        assert len({" ".join(text.casefold().split()) for text in texts}) == len(texts)
        assert all(schema.features[0].contains(text) for text in texts)
        assert 0.3 < sum(record.label for record in records) / len(records) < 0.71


def test_a_silos_file_gives_the_texts_back(tmp_path) -> None:  # noqa: ANN001
    schema = load_library_schema("sentiment")
    apart = split(sentiment_silos()["products"], seed=0)
    held_out = {record.features["text"] for record in apart.held_out}
    assert not held_out & {record.features["text"] for record in apart.train}
    write_silo_csv(tmp_path / "silo.csv", schema, apart.train)
    data = read_records(tmp_path / "silo.csv", schema)
    assert data.records == tuple(record.features for record in apart.train)
    assert data.labels == tuple(record.label for record in apart.train)
