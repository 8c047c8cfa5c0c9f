"""Records as software gives them out: a row of values with or without a header."""

import random
from collections.abc import Mapping

from llamdex_fl.connectors.questions.question import CLOSE, OPEN
from llamdex_fl.connectors.questions.wording import Wording
from llamdex_fl.schema import Feature, Value

__all__ = ["row"]

_GAPS = (", ", ",", " / ", " | ", "; ", ";", "\t", "/")
_HOLES = ("", "NA", ".", "")


def row(wording: Wording, record: Mapping[str, Value], rng: random.Random) -> str:
    """All values in the schema's order between separators, marked; absent ones as one sort of hole."""
    gap, hole, header = rng.choice(_GAPS), rng.choice(_HOLES), rng.random() < 0.35  # noqa: PLR2004 - some rows
    raw = rng.random() < 0.5  # noqa: PLR2004 - as data files have it
    cells = []
    for place, feature in enumerate(wording.schema.features):
        value = record[feature.name]
        said = hole if value is None else _cell(wording, feature, value, gap, rng, raw=raw)
        cells.append(said if value is None else chr(OPEN + place) + said + CLOSE)
    body = gap.join(cells)
    if not header:
        return body
    labels = [_free(wording.labels[feature.name], gap, rng) or feature.name for feature in wording.schema.features]
    names = [feature.name for feature in wording.schema.features] if raw else labels
    return f"{gap.join(names)}\n{body}"


def _cell(wording: Wording, feature: Feature, value: Value, gap: str, rng: random.Random, *, raw: bool) -> str:  # noqa: PLR0913
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    words = () if raw else wording.words.get((feature.name, str(value)), ())
    return _free([word for word in words if any(letter.isalnum() for letter in word)], gap, rng) or str(value)


def _free(texts: "list[str] | tuple[str, ...]", gap: str, rng: random.Random) -> str | None:
    """One of these that the separator does not cut."""
    whole = [text for text in texts if gap.strip() not in text] if gap.strip() else list(texts)
    return rng.choice(whole) if whole else None
