"""Lines of forms: "key: value", boxes to tick, and what was left blank."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from llamdex_fl.connectors.questions.wording import Wording
from llamdex_fl.schema import Feature, Value

__all__ = ["FormStyle", "blank_line", "form_line", "form_style"]

#: A ticked and an empty box.
_BOXES = (("[x]", "[ ]"), ("[X]", "[ ]"), ("(x)", "( )"), ("\u2612", "\u2610"), ("\u2611", "\u2610"), ("[*]", "[]"))
_BLANKS = ("___", "____", "-", "?", "pending", "n/a", "")
_EMPTY = ("___", "____", "")
#: Marks a text as what says a feature.
Marked = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class FormStyle:
    """How a form is filled in; ``boxes`` is None where categories are written out, as numbers are."""

    boxes: tuple[str, str] | None
    blank: float


def form_style(rng: random.Random) -> FormStyle:
    """The style of one form."""
    boxed = rng.random() < 0.35  # noqa: PLR2004
    return FormStyle(rng.choice(_BOXES) if boxed else None, rng.choice([0.0, 0.0, 0.3]))


def form_line(  # noqa: PLR0913 - a line, and how it is written
    wording: Wording, name: str, value: Value, style: FormStyle, rng: random.Random, *, marked: Marked, number: str
) -> str | None:
    """A line that says a feature; ``number`` is how its number is written. None where the wording has no label."""
    labels = wording.labels[name]
    if not labels:
        return None
    glue = rng.choice([": ", ": ", " = ", " - "])
    if isinstance(value, str) and style.boxes:
        bare = name == "sex" and rng.random() < 0.5  # noqa: PLR2004 - "[x] male [ ] female"
        label = "" if bare else f"{rng.choice(labels)}{rng.choice([': ', ' ', ' - '])}"
        ticked = _ticked(wording, name, value, style.boxes, rng)
        return label + _glued([marked(name, text) if full else text for text, full in ticked], rng)
    if isinstance(value, str):
        words = wording.words.get((name, value), ())
        return marked(name, f"{rng.choice(labels)}{glue}{rng.choice(words or (value,))}")
    feature = wording.schema.feature(name)
    unit = f" {feature.unit}" if feature.unit and rng.random() < 0.3 else ""  # noqa: PLR2004
    return f"{rng.choice(labels)}{glue}{number}{unit}"


def blank_line(wording: Wording, name: str, style: FormStyle, rng: random.Random) -> str | None:
    """A line that says nothing of a feature, or None where the form leaves it out."""
    if not wording.labels[name] or rng.random() >= style.blank:
        return None
    label, feature = rng.choice(wording.labels[name]), wording.schema.feature(name)
    if style.boxes and feature.is_category:
        return f"{label}: {_glued([text for text, _ in _ticked(wording, name, None, style.boxes, rng)], rng)}"
    return f"{label}: {rng.choice(_EMPTY if _marks_what_is_missing(feature) else _BLANKS)}".rstrip()


def _marks_what_is_missing(feature: Feature) -> bool:
    """Whether the schema has a value for what is not known or never was, which "?" or "n/a" would say."""
    return "unknown" in feature.categories or (not feature.is_category and feature.low_high()[0] < 0)


def _ticked(
    wording: Wording, name: str, value: str | None, boxes: tuple[str, str], rng: random.Random
) -> list[tuple[str, bool]]:
    """Every category with its box, and whether that is ticked, as the one of ``value`` is."""
    full, empty = boxes
    behind = rng.random() < 0.15  # noqa: PLR2004 - "yes [x] no [ ]"
    plain = rng.random() < 0.6  # noqa: PLR2004
    parts = []
    for category in wording.schema.feature(name).categories:
        words = (category,) if plain else wording.words.get((name, category), ()) or (category,)
        box, word = full if category == value else empty, rng.choice(words)
        parts.append((f"{word} {box}" if behind else f"{box} {word}", category == value))
    return parts


def _glued(parts: list[str], rng: random.Random) -> str:
    return rng.choice([" ", "  ", " / ", ", "]).join(parts)
