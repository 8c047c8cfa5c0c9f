"""A question that knows which of its words say what.

What says a feature is carried through the composition between private-use characters, so that case changes, typos
and joins move its span along; ``unmarked`` takes them out at the very end.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llamdex_fl.connectors.numbers import find_numbers, values_for
from llamdex_fl.schema import Schema, Value

__all__ = ["CLOSE", "OPEN", "Question", "legible", "unmarked"]

#: The mark that opens the first feature, and the one that closes any.
#: Marks nest: a phrase that says something may hold a number that says something else.
OPEN, CLOSE = 0xE000, "\uf8ff"
_MARK = re.compile(r"[\ue000-\uf8ff]")


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one record.

    Attributes:
        text: as a person would write it.
        features: what the text says; None where it does not.
        spans: for each feature that is said, the character spans of the words that say it.
    """

    text: str
    features: Mapping[str, Value]
    spans: Mapping[str, Sequence[tuple[int, int]]]


def unmarked(text: str, names: Sequence[str], record: Mapping[str, Value]) -> Question:
    """Take the marks out of a text and keep what they said; ``names`` are the schema's features in order."""
    spans: dict[str, list[tuple[int, int]]] = {}
    opened: list[tuple[str, int]] = []
    out, last = "", 0
    for match in _MARK.finditer(text):
        out += text[last : match.start()]
        last = match.end()
        if match.group() == CLOSE:
            name, start = opened.pop()
            spans.setdefault(name, []).append((start, len(out)))
        else:
            opened.append((names[ord(match.group()) - OPEN], len(out)))
    return Question(out + text[last:], dict(record), spans)


def legible(question: Question, schema: Schema) -> bool:
    """Whether each number can still be read where it stands: "two hundred" and "one sister" may have met in between."""
    read = find_numbers(question.text)
    for name, spans in question.spans.items():
        value, feature = question.features[name], schema.feature(name)
        if feature.is_category:
            continue
        values = values_for(read, feature)
        for start, end in spans:
            alone = value in values_for(find_numbers(question.text[start:end]), feature)
            if alone and not any(
                said == value and n.start < end and start < n.end for n, said in zip(read, values, strict=True)
            ):
                return False
    return True
