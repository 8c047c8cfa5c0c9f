"""Readers in the cache, by what they were made of: a provider with more schemas goes on from one that has some."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llamdex_fl.connectors.reader import Reader
from llamdex_fl.errors import ArtefactError

__all__ = ["MadeOf", "ReaderMadeOf", "largest_part"]

_NAME = "made_of.json"


@dataclass(frozen=True, slots=True)
class MadeOf:
    """What a reader was made of.

    Attributes:
        common: digest of all that is no schema's own: the code, the recipe, the encoder, ordinary questions.
        wordings: digest of each schema's wording, the schema included, by the schema's name.
    """

    common: str
    wordings: Mapping[str, str]

    def is_part_of(self, whole: "MadeOf") -> bool:
        """Whether a reader of this, and of some schema more, is one of ``whole``."""
        return (
            self.common == whole.common
            and 0 < len(self.wordings) < len(whole.wordings)
            and all(whole.wordings.get(name) == digest for name, digest in self.wordings.items())
        )


@dataclass(frozen=True, slots=True)
class ReaderMadeOf:
    """A reader that tells what it was made of when it is saved."""

    reader: Reader
    made_of: MadeOf

    def save(self, folder: Path) -> None:
        """Write the reader, and beside it what it was made of."""
        self.reader.save(folder)
        document = {"common": self.made_of.common, "wordings": dict(self.made_of.wordings)}
        (folder / _NAME).write_text(json.dumps(document, indent=1), encoding="utf-8")


def largest_part(cache: Path, whole: MadeOf) -> tuple[MadeOf, Reader] | None:
    """The reader in a cache that knows most of the schemas, and no other; None if there is none that can be read."""
    parts = [
        (made_of, path.parent)
        for path in sorted(cache.glob(f"reader-*/{_NAME}"))
        if (made_of := _read(path)) is not None and made_of.is_part_of(whole)
    ]
    for made_of, folder in sorted(parts, key=lambda part: -len(part[0].wordings)):
        with suppress(ArtefactError):  # it is damaged, or was taken away meanwhile
            return made_of, Reader.load(folder)
    return None


def _read(path: Path) -> MadeOf | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return MadeOf(str(document["common"]), {str(k): str(v) for k, v in document["wordings"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # another process is writing it, or it is of another version: it is no part of anything
