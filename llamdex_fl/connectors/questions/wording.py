"""How people talk about the records of a schema: phrases, subjects, questions, chatter.

docs/wording.md has the format.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from llamdex_fl.errors import SchemaError
from llamdex_fl.schema import Feature, Schema, Value

__all__ = ["FORMS", "Phrase", "Subject", "Wording", "load_wording", "ordinary_questions", "training_wording"]

Form = Literal["clause", "np", "note"]
FORMS: tuple[Form, ...] = ("clause", "np", "note")
_PERSON_SLOTS = {"he", "him", "his", "has", "is", "was", "does"}
_CHATTER_SLOTS = {"n", "name"}
_SLOT = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrase:
    """A phrase that states features.

    ``states`` are the values that its words say, ``numbers`` the numeric features whose slots it holds, ``absent``
    the features that it says are not known. ``counted`` names the feature that a ``{counted}`` slot lists.
    """

    form: Form
    text: str
    states: Mapping[str, Value] = field(default_factory=dict)
    numbers: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    counted: str | None = None

    def covers(self) -> frozenset[str]:
        """The present features that the phrase says."""
        return frozenset(self.states) | self.numbers | (frozenset({self.counted}) if self.counted else frozenset())


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """Who or what the record is about: a noun ("man"), a relation ("my father") or a short form ("53M")."""

    kind: Literal["noun", "relation", "short"]
    text: str
    pronoun: str
    states: Mapping[str, Value]
    when: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """All that a generator needs to talk about one schema."""

    schema: Schema
    subjects: tuple[Subject, ...]
    phrases: tuple[Phrase, ...]
    labels: Mapping[str, tuple[str, ...]]
    words: Mapping[tuple[str, str], tuple[str, ...]]
    counted_nouns: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    ask: Mapping[str, tuple[str, ...]]
    chatter: Mapping[str, tuple[str, ...]]


def training_wording(schema: Schema) -> Wording:
    """The project's own wording of a schema, all authors together.

    Raises:
        SchemaError: no wording comes with the project for this schema.
    """
    folder = files("llamdex_fl.connectors.questions") / "wording" / schema.name
    if not folder.is_dir():
        raise SchemaError(
            f"There is no wording for the schema {schema.name}.",
            expected="a folder of TOML files llamdex_fl/connectors/questions/wording/" + schema.name,
            got="none",
            next_step="write one as docs/wording.md says",
        )
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(".toml"))
    return _merge(schema, [(name, (folder / name).read_text(encoding="utf-8")) for name in names])


def load_wording(schema: Schema, path: Path) -> Wording:
    """A wording from one file."""
    return _merge(schema, [(str(path), path.read_text(encoding="utf-8"))])


def ordinary_questions() -> list[str]:
    """Questions that no schema answers, near misses among them, for training the router."""
    path = files("llamdex_fl.connectors.questions") / "wording" / "ordinary.txt"
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _merge(schema: Schema, sources: Iterable[tuple[str, str]]) -> Wording:
    collector = _Collector(schema)
    for source, text in sources:
        try:
            collector.add(source, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise SchemaError(
                f"The wording {source} is not TOML.", expected="TOML", got=str(error), next_step="mend the file"
            ) from error
    return collector.wording()


class _Collector:
    """Gathers the phrases of several authors into one wording, refusing what the schema does not know."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._source = ""
        self._subjects: list[Subject] = []
        self._phrases: list[Phrase] = []
        self._labels: dict[str, list[str]] = {feature.name: [] for feature in schema.features}
        self._words: dict[tuple[str, str], list[str]] = {}
        self._counted: dict[str, dict[str, str]] = {}
        self._ask: dict[str, list[str]] = {"sentence": [], "short": [], "front": []}
        self._chatter: dict[str, list[str]] = {"opener": [], "aside": [], "closer": []}

    def add(self, source: str, document: Mapping[str, Any]) -> None:
        self._source = source
        if document.get("schema") != self._schema.name:
            raise self._wrong("schema", self._schema.name, repr(document.get("schema")))
        for entry in document.get("subject", []):
            self._subject(entry)
        for name, entry in document.get("feature", {}).items():
            self._feature(self._schema.feature(name), entry)
        for entry in document.get("joint", []):
            self._joint(entry)
        for kind, texts in self._ask.items():
            texts.extend(document.get("ask", {}).get(kind, []))
        for kind, texts in self._chatter.items():
            texts.extend(document.get("chatter", {}).get(kind, []))

    def wording(self) -> Wording:
        if not self._subjects or not self._ask["sentence"] or not self._ask["short"]:
            raise self._wrong("subject and ask", "at least one subject, one ask.sentence and one ask.short", "none")
        return Wording(
            schema=self._schema,
            subjects=tuple(self._subjects),
            phrases=tuple(self._phrases),
            labels={name: tuple(texts) for name, texts in self._labels.items()},
            words={key: tuple(texts) for key, texts in self._words.items()},
            counted_nouns={name: (tuple(nouns), tuple(nouns.values())) for name, nouns in self._counted.items()},
            ask={kind: tuple(texts) for kind, texts in self._ask.items()},
            chatter={kind: tuple(texts) for kind, texts in self._chatter.items()},
        )

    def _wrong(self, place: str, expected: str, got: str) -> SchemaError:
        return SchemaError(
            f"The wording {self._source} is wrong at {place}.",
            expected=expected,
            got=got,
            next_step="mend this place; docs/wording.md describes the format",
        )

    def _value(self, name: str, value: Any) -> Value:  # noqa: ANN401 - a TOML value may be anything
        feature = self._schema.feature(name)
        if not feature.is_category and isinstance(value, str):
            value = float(value)
        if not feature.contains(value):
            raise self._wrong(f"a value of {name}", feature.expected(), repr(value))
        return value if feature.is_category else float(value)

    def _subject(self, entry: Mapping[str, Any]) -> None:
        states = {name: self._value(name, value) for name, value in entry.get("states", {}).items()}
        when = {name: (float(low), float(high)) for name, (low, high) in entry.get("when", {}).items()}
        kinds: tuple[Literal["noun", "relation", "short"], ...] = ("noun", "relation", "short")
        for kind in kinds:
            self._subjects += [
                Subject(kind=kind, text=text, pronoun=entry["pronoun"], states=states, when=when)
                for text in entry.get(kind, [])
            ]

    def _feature(self, feature: Feature, entry: Mapping[str, Any]) -> None:
        self._labels[feature.name] += entry.get("label", [])
        for form in FORMS:
            self._phrases += [self._phrase(form, text, feature=feature) for text in entry.get(form, [])]
            self._phrases += [
                self._phrase(form, text, absent=[feature.name]) for text in entry.get("absent", {}).get(form, [])
            ]
        for written, texts in entry.get("value", {}).items():
            value = self._value(feature.name, written)
            for form in FORMS:
                self._phrases += [
                    self._phrase(form, text, states={feature.name: value}) for text in texts.get(form, [])
                ]
            if feature.is_category:
                self._words.setdefault((feature.name, written), []).extend(texts.get("word", []))
        if "counted" in entry:
            counted = entry["counted"]
            nouns = self._counted.setdefault(feature.name, {})
            for singular, plural in zip(counted["singular"], counted["plural"], strict=True):
                nouns.setdefault(singular, plural)
            for form in FORMS:
                self._phrases += [Phrase(form=form, text=text, counted=feature.name) for text in counted.get(form, [])]

    def _joint(self, entry: Mapping[str, Any]) -> None:
        states = {name: self._value(name, value) for name, value in entry.get("states", {}).items()}
        for text in entry["text"]:
            self._phrases.append(self._phrase(entry["form"], text, states=states, absent=entry.get("absent", [])))

    def _phrase(
        self,
        form: Form,
        text: str,
        *,
        feature: Feature | None = None,
        states: Mapping[str, Value] | None = None,
        absent: Iterable[str] = (),
    ) -> Phrase:
        numbers = set()
        for slot in _SLOT.findall(text):
            if slot == "v" and feature is not None and not feature.is_category:
                numbers.add(feature.name)
            elif slot not in _PERSON_SLOTS:
                if slot in {"v", *_CHATTER_SLOTS} or self._schema.feature(slot).is_category:
                    raise self._wrong(repr(text), "a slot that docs/wording.md allows here", slot)
                numbers.add(slot)
        if feature is not None and feature.name not in numbers:
            raise self._wrong(repr(text), "the slot {v}", "none")
        text = text.replace("{v}", "{" + feature.name + "}") if feature is not None else text
        return Phrase(form=form, text=text, states=states or {}, numbers=frozenset(numbers), absent=frozenset(absent))
