"""Four public sources of English sentences with the ratings of twenty people each (Hutto and Gilbert, ICWSM 2014).

They lie in the source distribution of the package vaderSentiment (MIT), which is downloaded once, checked by its
SHA-256 and kept in the user's cache. The sign of the mean rating is the class; sentences whose mean is exactly 0 are
left out, and so is every repetition of a sentence, letters' case and spaces apart: one of them might be held out.
"""

import io
import tarfile
from collections.abc import Mapping
from types import MappingProxyType

from llamdex_fl.errors import ArtefactError
from silo_client.packaged_files import PackagedFile, fetch

__all__ = ["SENTIMENT_FILE", "SENTIMENT_SOURCES", "load_sentiment"]

SENTIMENT_FILE = PackagedFile(
    requirement="vaderSentiment==3.3.2",
    member="vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",
    sha256="d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa",
    from_source=True,
)
#: Our name of a source, and its file's in the archive.
SENTIMENT_SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "movies": "movieReviewSnippets",
        "editorials": "nytEditorialSnippets",
        "tweets": "tweets",
        "products": "amazonReviewSnippets",
    }
)
_MAX_BYTES = 1 << 22


def load_sentiment(source: str) -> list[tuple[str, int]]:
    """The sentences of a source with their class, 1 for positive, in the file's order; fetched if they are not there.

    Args:
        source: a key of ``SENTIMENT_SOURCES``.

    Raises:
        ArtefactError: the file cannot be had, or is another.
    """
    fetch([SENTIMENT_FILE])
    name = f"hutto_ICWSM_2014/{SENTIMENT_SOURCES[source]}_GroundTruth.txt"
    try:
        with tarfile.open(fileobj=io.BytesIO(SENTIMENT_FILE.read()), mode="r:gz") as files:
            member = files.extractfile(name)
            content = b"" if member is None else member.read(_MAX_BYTES)
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise SENTIMENT_FILE.unusable(f"an archive without {name}") from error
    sentences: dict[str, tuple[str, int]] = {}
    for line in content.decode("utf-8").split("\r\n"):
        if not line:
            continue
        _, rating, text = line.split("\t")
        if float(rating) != 0.0:
            sentences.setdefault(" ".join(text.casefold().split()), (text.strip(), int(float(rating) > 0.0)))
    if not sentences:
        raise ArtefactError(
            f"The source {source} holds no sentence.",
            expected="lines of an id, a rating and a text",
            got="none",
            next_step="delete the file from the cache, so that it is fetched again",
        )
    return list(sentences.values())
