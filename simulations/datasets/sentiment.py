"""Opinions from four places, each the natural data of one silo: reviews of films, editorials, tweets, products."""

from silo_client.sentiment_sources import SENTIMENT_SOURCES, load_sentiment
from simulations.datasets.records import LabelledRecord

__all__ = ["sentiment_silos"]


def sentiment_silos() -> dict[str, tuple[LabelledRecord, ...]]:
    """All records by source, of the library schema ``sentiment``; ``split`` keeps a part of each apart.

    Raises:
        ArtefactError: the file cannot be had, or is another.
    """
    return {
        source: tuple(LabelledRecord(features={"text": text}, label=label) for text, label in load_sentiment(source))
        for source in SENTIMENT_SOURCES
    }
