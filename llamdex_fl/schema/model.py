"""The schema's data model, its strict parser and its digest."""

import json
import math
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import rfc8785

from llamdex_fl.errors import SchemaError

__all__ = ["MOST_TEXT_CHARACTERS", "Feature", "Schema", "Target", "Value", "load_schema", "parse_schema"]

Kind = Literal["category", "integer", "number", "text"]
#: The value of a feature: a category, a text, a number, or None where it is absent.
Value = str | int | float | None
#: The longest text that a record may hold.
MOST_TEXT_CHARACTERS = 2000

_MAX_SCHEMA_BYTES = 1 << 20
_LARGEST_INTEGER = 2**53 - 1
_LARGEST = 1e300
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """One column of a record.

    ``bounds`` are public: they come from the domain, never from a silo's records.
    """

    name: str
    kind: Kind
    description: str
    categories: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    unit: str | None = None

    @property
    def is_category(self) -> bool:
        """Whether the values are categories, and neither numbers nor texts."""
        return self.kind == "category"

    @property
    def is_text(self) -> bool:
        """Whether the values are texts that people wrote, to be understood by a text expert."""
        return self.kind == "text"

    def low_high(self) -> tuple[float, float]:
        """The public bounds of a number or integer."""
        if self.bounds is None:
            raise AssertionError(f"{self.name} has no bounds: its kind is {self.kind}")
        return self.bounds

    def contains(self, value: Value) -> bool:
        """Whether a value is allowed here; None (absent) always is."""
        if value is None:
            return True
        if self.is_category:
            return value in self.categories
        if self.is_text:
            return isinstance(value, str) and bool(value.strip()) and _is_short_unicode(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self.low_high()
        return low <= value <= high and (self.kind != "integer" or float(value).is_integer())

    def expected(self) -> str:
        """What a value must be, for error messages."""
        if self.is_category:
            return "one of " + ", ".join(self.categories)
        if self.is_text:
            return f"a text of at most {MOST_TEXT_CHARACTERS} characters"
        low, high = self.low_high()
        return f"{'an integer' if self.kind == 'integer' else 'a number'} from {low:g} to {high:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is asked for: ``labels`` as in the data, ``answers`` as a person says them, one answer a label.

    ``sentences`` are the outcomes as full sentences, one a label, which the injector teaches the LLM to say.
    """

    name: str
    labels: tuple[str, ...]
    answers: tuple[str, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schema:
    """A domain: what its records mean and what is asked of them."""

    name: str
    title: str
    question: str
    features: tuple[Feature, ...]
    target: Target
    silo_column: str | None = None

    @property
    def is_text(self) -> bool:
        """Whether a record is one text; a schema with a text has no other feature."""
        return any(feature.is_text for feature in self.features)

    def feature(self, name: str) -> Feature:
        """The feature of this name.

        Raises:
            SchemaError: there is none.
        """
        for feature in self.features:
            if feature.name == name:
                return feature
        raise SchemaError(
            f"The schema {self.name} has no feature {name!r}.",
            expected=", ".join(feature.name for feature in self.features),
            got=name,
            next_step="mend the name",
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; ``parse_schema(json.dumps(schema.as_dict()))`` gives an equal schema."""
        features = []
        for feature in self.features:
            entry: dict[str, Any] = {"name": feature.name, "kind": feature.kind, "description": feature.description}
            if feature.is_category:
                entry["categories"] = list(feature.categories)
            elif not feature.is_text:
                entry["range"] = [_plain(bound) for bound in feature.low_high()]
            if feature.unit is not None:
                entry["unit"] = feature.unit
            features.append(entry)
        document: dict[str, Any] = {
            "name": self.name,
            "title": self.title,
            "question": self.question,
            "features": features,
            "target": {
                "name": self.target.name,
                "labels": list(self.target.labels),
                "answers": list(self.target.answers),
                "sentences": list(self.target.sentences),
            },
        }
        if self.silo_column is not None:
            document["silo_column"] = self.silo_column
        return document

    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON form (RFC 8785): the schema's name on the wire."""
        return sha256(rfc8785.dumps(self.as_dict())).hexdigest()


def _plain(number: float) -> int | float:
    # Beyond this, RFC 8785 has no integers.
    return int(number) if abs(number) <= _LARGEST_INTEGER and float(number).is_integer() else number


def _is_short_unicode(text: str) -> bool:
    """Within the length, and without the lone surrogates that no tokenizer takes."""
    return len(text) <= MOST_TEXT_CHARACTERS and not any("\ud800" <= character <= "\udfff" for character in text)


def load_schema(path: Path) -> Schema:
    """Read a schema file.

    Raises:
        SchemaError: the file is missing, too large, or not a schema.
    """
    if not path.is_file():
        raise SchemaError(
            f"There is no schema file {path}.", expected="a JSON file", got="nothing", next_step="mend the path"
        )
    if path.stat().st_size > _MAX_SCHEMA_BYTES:
        raise SchemaError(
            f"The schema file {path} is too large.",
            expected=f"at most {_MAX_SCHEMA_BYTES} bytes",
            got=f"{path.stat().st_size} bytes",
            next_step="give a schema, not a data file",
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(
            f"The schema file {path} cannot be read.",
            expected="a JSON file in UTF-8",
            got=type(error).__name__,
            next_step="mend the file",
        ) from error
    return parse_schema(text, source=str(path))


def parse_schema(text: str, *, source: str = "schema") -> Schema:
    """Parse the JSON form of a schema; unknown and duplicate keys are refused.

    Raises:
        SchemaError: the text is not a schema.
    """
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise SchemaError(
            f"{source} is not JSON.", expected="a JSON object", got=str(error), next_step="mend the file"
        ) from error
    reader = _Reader(source)
    top = reader.mapping(document, "schema", {"name", "title", "question", "features", "target"}, {"silo_column"})
    features = tuple(reader.feature(entry) for entry in reader.sequence(top["features"], "features"))
    target = reader.target(top["target"])
    silo_column = reader.text(top["silo_column"], "silo_column") if "silo_column" in top else None
    columns = [*(feature.name for feature in features), target.name, *([silo_column] if silo_column else [])]
    if len(set(columns)) != len(columns) or not features:
        expected = "at least one, and every column with a name of its own, the target's included"
        raise reader.wrong("features", expected, ", ".join(columns))
    if len(features) > 1 and any(feature.is_text for feature in features):
        # A text expert sees nothing but the text, so a second feature would be asked for and never used.
        raise reader.wrong("features", "a text and no other feature, or no text", f"{len(features)} features")
    return Schema(
        name=reader.name(top["name"]),
        title=reader.text(top["title"], "title"),
        question=reader.text(top["question"], "question"),
        features=features,
        target=target,
        silo_column=silo_column,
    )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


class _Reader:
    """Reads untyped JSON into the model; every refusal names the file and the place."""

    def __init__(self, source: str) -> None:
        self._source = source

    def wrong(self, place: str, expected: str, got: str) -> SchemaError:
        return SchemaError(
            f"{self._source} is not a schema: {place} is wrong.",
            expected=expected,
            got=got,
            next_step="mend this place; docs/schema.md describes the format",
        )

    def mapping(self, value: Any, place: str, needed: set[str], optional: set[str]) -> dict[str, Any]:  # noqa: ANN401 - a JSON value may be anything
        if not isinstance(value, dict):
            raise self.wrong(place, "an object", type(value).__name__)
        missing, unknown = needed - set(value), set(value) - needed - optional
        if missing or unknown:
            raise self.wrong(
                place,
                f"the keys {', '.join(sorted(needed))}",
                f"missing: {sorted(missing)}, unknown: {sorted(unknown)}",
            )
        return value

    def sequence(self, value: Any, place: str) -> list[Any]:  # noqa: ANN401 - a JSON value may be anything
        if not isinstance(value, list):
            raise self.wrong(place, "a list", type(value).__name__)
        return value

    def text(self, value: Any, place: str) -> str:  # noqa: ANN401 - a JSON value may be anything
        # A lone surrogate passes json.loads and has no UTF-8 form, so no digest; cells are read without outer blanks.
        lone = isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)
        if not isinstance(value, str) or not value or value != value.strip() or lone:
            raise self.wrong(place, "a text without blanks around it", repr(value))
        return value

    def name(self, value: Any) -> str:  # noqa: ANN401 - a JSON value may be anything
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise self.wrong("name", "letters, digits, _ and -, because it also names files", repr(value))
        return value

    def texts(self, value: Any, place: str, least: int) -> tuple[str, ...]:  # noqa: ANN401 - a JSON value may be anything
        texts = tuple(self.text(item, place) for item in self.sequence(value, place))
        if len(texts) < least or len(set(texts)) != len(texts):
            raise self.wrong(place, f"at least {least} different texts", repr(texts))
        return texts

    def feature(self, value: Any) -> Feature:  # noqa: ANN401 - a JSON value may be anything
        entry = self.mapping(value, "features", {"name", "kind", "description"}, {"categories", "range", "unit"})
        name = self.text(entry["name"], "features.name")
        kind = entry["kind"]
        if kind not in ("category", "integer", "number", "text"):
            raise self.wrong(f"kind of {name}", "category, integer, number or text", repr(kind))
        if kind == "text":
            if set(entry) != {"name", "kind", "description"}:
                raise self.wrong(f"feature {name}", "no categories, range or unit", ", ".join(sorted(entry)))
            return Feature(name=name, kind=kind, description=self.text(entry["description"], f"description of {name}"))
        needed, other = ("categories", "range") if kind == "category" else ("range", "categories")
        if needed not in entry or other in entry:
            raise self.wrong(f"feature {name}", f"{needed} and no {other}", ", ".join(sorted(entry)))
        return Feature(
            name=name,
            kind=kind,
            description=self.text(entry["description"], f"description of {name}"),
            categories=self.texts(entry["categories"], f"categories of {name}", 2) if kind == "category" else (),
            bounds=None if kind == "category" else self.bounds(entry["range"], name, kind),
            unit=self.text(entry["unit"], f"unit of {name}") if "unit" in entry else None,
        )

    def bounds(self, value: Any, name: str, kind: str) -> tuple[float, float]:  # noqa: ANN401 - a JSON value
        numbers = self.sequence(value, f"range of {name}")
        # bool is an int in Python, and JSON's NaN and Infinity pass json.loads.
        # Integers may be too large for a float.
        good = all(isinstance(n, int | float) and not isinstance(n, bool) and abs(n) <= _LARGEST for n in numbers)
        fits = good and len(numbers) == 2 and numbers[0] < numbers[1]  # noqa: PLR2004 - low and high
        if not fits or (kind == "integer" and math.ceil(numbers[0]) > math.floor(numbers[1])):
            expected = "two finite numbers, the lower first, and an integer between them if the kind is integer"
            raise self.wrong(f"range of {name}", expected, repr(value))
        return float(numbers[0]), float(numbers[1])

    def target(self, value: Any) -> Target:  # noqa: ANN401 - a JSON value may be anything
        entry = self.mapping(value, "target", {"name", "labels", "answers"}, {"sentences"})
        labels = self.texts(entry["labels"], "target.labels", 2)
        answers = self.texts(entry["answers"], "target.answers", 2)
        sentences = (
            self.texts(entry["sentences"], "target.sentences", 2)
            if "sentences" in entry
            else tuple(f"{answer}." for answer in answers)
        )
        if not len(labels) == len(answers) == len(sentences):
            raise self.wrong(
                "target", "one answer and one sentence a label", f"{len(labels)}, {len(answers)}, {len(sentences)}"
            )
        return Target(name=self.text(entry["name"], "target.name"), labels=labels, answers=answers, sentences=sentences)
