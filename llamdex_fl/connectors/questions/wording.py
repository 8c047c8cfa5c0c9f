"""How people talk about the records of a schema: phrases, subjects, questions, chatter.

docs/wording.md has the format.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from llamdex_fl.connectors.questions.saying import FORMS_OF_NUMBERS, OTHER_NUMBER, fits
from llamdex_fl.errors import SchemaError
from llamdex_fl.schema import Feature, Schema, Value

__all__ = [
    "FORMS",
    "Phrase",
    "Subject",
    "Wording",
    "load_wording",
    "ordinary_questions",
    "own_sources",
    "parsed",
    "sources_of",
    "wording_of",
]

Form = Literal["clause", "np", "note"]
FORMS: tuple[Form, ...] = ("clause", "np", "note")
#: How a subject may be spoken of; a subject that says nothing of its sex may also speak of itself.
_PRONOUNS = ("he", "she", "they", "it", "I")
_FEATURE_KEYS = {"label", "clause", "np", "note", "absent", "value", "counted"}
_PERSON_SLOTS = {"he", "him", "his", "spouse", "has", "is", "was", "does"}
_CHATTER_SLOTS = {"n", "name"}
_SLOT = re.compile(r"\{([\w:.-]*)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrase:
    """A phrase that states features.

    ``states`` are the values that its words say, ``numbers`` the numeric features whose slots it holds, ``absent``
    the features that it says are not known. ``counted`` names the features that a ``{counted}`` slot lists. ``forms``
    are the features of slots with a form ("{day:ordinal}"), each with its form, which may not say every value.
    """

    form: Form
    text: str
    states: Mapping[str, Value] = field(default_factory=dict)
    numbers: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    counted: tuple[str, ...] = ()
    forms: frozenset[tuple[str, str]] = frozenset()

    def covers(self) -> frozenset[str]:
        """The present features that the phrase says."""
        return frozenset(self.states) | self.numbers | frozenset(self.counted)


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


def load_wording(schema: Schema, path: Path) -> Wording:
    """A wording from a file, or from all TOML files of a directory, one an author.

    Raises:
        SchemaError: a file cannot be read or is not a wording of this schema, or there is none.
    """
    return wording_of(schema, parsed(sources_of(path)))


def own_sources(package: str, schema: Schema) -> list[tuple[str, str]]:
    """Names and texts of the wordings of a schema that come with the project, in a package's folder ``wording``.

    Raises:
        SchemaError: there is none.
    """
    folder = files(package) / "wording" / schema.name
    if not folder.is_dir():
        raise SchemaError(
            f"There is no wording for the schema {schema.name}.",
            expected=f"TOML files in the provider's directory, under wordings/{schema.name}",
            got="none",
            next_step="write one as docs/wording.md says",
        )
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(".toml"))
    return [(name, (folder / name).read_text(encoding="utf-8")) for name in names]


def sources_of(path: Path) -> list[tuple[str, str]]:
    """Names and texts of the wordings in a file, or in all TOML files of a directory; never none.

    Raises:
        SchemaError: a file cannot be read.
    """
    paths = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    try:
        sources = [(str(one), one.read_text(encoding="utf-8")) for one in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(
            f"The wording {path} cannot be read.",
            expected="a TOML file in UTF-8",
            got=type(error).__name__,
            next_step="mend the path or the file",
        ) from error
    return sources or [(str(path), "")]


def ordinary_questions() -> list[str]:
    """Questions that no schema answers, each once, for training the router.

    Those of ``ordinary.txt`` come first, then the near misses of the schemas, in the order of their files.
    """
    folder = files("llamdex_fl.connectors.questions") / "wording"
    near = [
        path
        for schema in sorted(folder.iterdir(), key=lambda one: one.name)
        if schema.is_dir()
        for path in sorted(schema.iterdir(), key=lambda one: one.name)
        if path.name.startswith("near_misses-") and path.name.endswith(".txt")
    ]
    lines = [
        line.strip()
        for path in (folder / "ordinary.txt", *near)
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return list(dict.fromkeys(line for line in lines if line))


def wording_of(schema: Schema, documents: Iterable[tuple[str, Mapping[str, Any]]]) -> Wording:
    """A wording from what wording files hold, each with its name for refusals.

    Raises:
        SchemaError: one is not a wording of this schema.
    """
    collector = _Collector(schema)
    for source, document in documents:
        collector.add(source, document)
    return collector.wording()


def parsed(sources: Iterable[tuple[str, str]]) -> list[tuple[str, Mapping[str, Any]]]:
    """What wording files hold, from their names and texts.

    Raises:
        SchemaError: one is not TOML.
    """
    documents: list[tuple[str, Mapping[str, Any]]] = []
    for source, text in sources:
        try:
            documents.append((source, tomllib.loads(text)))
        except tomllib.TOMLDecodeError as error:
            raise SchemaError(
                f"The wording {source} is not TOML.", expected="TOML", got=str(error), next_step="mend the file"
            ) from error
    return documents


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
        top = self._table(document, "the file", {"schema", "subject", "feature", "joint", "ask", "chatter"})
        if top.get("schema") != self._schema.name:
            raise self._wrong("schema", self._schema.name, repr(top.get("schema")))
        for entry in self._list(top, "subject"):
            self._subject(self._table(entry, "subject", {"noun", "relation", "short", "pronoun", "states", "when"}))
        for name, entry in self._table(top.get("feature", {}), "feature").items():
            self._feature(self._schema.feature(name), self._table(entry, f"feature.{name}", _FEATURE_KEYS))
        for entry in self._list(top, "joint"):
            self._joint(self._table(entry, "joint", {"form", "text", "states", "absent", "counted"}))
        for place, collected in (("ask", self._ask), ("chatter", self._chatter)):
            entry = self._table(top.get(place, {}), place, set(collected))
            allowed = _PERSON_SLOTS | (_CHATTER_SLOTS if place == "chatter" else set())
            for kind, texts in collected.items():
                texts.extend(self._texts(entry, kind, allowed))

    def wording(self) -> Wording:
        if not self._subjects or not self._ask["sentence"] or not self._ask["short"]:
            raise self._wrong("subject and ask", "at least one subject, one ask.sentence and one ask.short", "none")
        if unlisted := sorted({name for phrase in self._phrases for name in phrase.counted} - set(self._counted)):
            raise self._wrong("counted of a joint", "features with nouns under counted", ", ".join(unlisted))
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

    def _table(self, value: Any, place: str, allowed: set[str] | None = None) -> Mapping[str, Any]:  # noqa: ANN401 - TOML
        if not isinstance(value, dict) or (allowed is not None and not set(value) <= allowed):
            got = ", ".join(sorted(set(value) - (allowed or set()))) if isinstance(value, dict) else repr(value)
            raise self._wrong(place, "a table" + (f" with {', '.join(sorted(allowed))}" if allowed else ""), got)
        return value

    def _list(self, entry: Mapping[str, Any], key: str) -> list[Any]:
        value = entry.get(key, [])
        if not isinstance(value, list):
            raise self._wrong(key, "a list", repr(value))
        return value

    def _texts(self, entry: Mapping[str, Any], key: str, slots: set[str] | None = None) -> list[str]:
        """The texts under a key; ``slots`` are those that they may hold, None leaves that to ``_phrase``."""
        texts = self._list(entry, key)
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise self._wrong(key, "a list of texts", repr(texts)[:80])
        for text in texts if slots is not None else ():
            held = {slot for slot in _SLOT.findall(text) if not ("n" in (slots or ()) and OTHER_NUMBER.fullmatch(slot))}
            if not held <= (slots or set()):
                raise self._wrong(
                    f"{key}: {text!r}", f"no slots but {', '.join(sorted(slots or set())) or 'none'}", text
                )
        return texts

    def _value(self, name: str, value: Any) -> Value:  # noqa: ANN401 - a TOML value may be anything
        feature = self._schema.feature(name)
        if not feature.is_category and isinstance(value, str):
            with suppress(ValueError):  # contains() refuses what stays a text
                value = float(value)
        if not feature.contains(value):
            raise self._wrong(f"a value of {name}", feature.expected(), repr(value))
        return value if feature.is_category else float(value)

    def _subject(self, entry: Mapping[str, Any]) -> None:
        states = self._states(entry)
        when = {name: self._range(name, value) for name, value in self._table(entry.get("when", {}), "when").items()}
        if entry.get("pronoun") not in _PRONOUNS:
            raise self._wrong("pronoun of a subject", ", ".join(_PRONOUNS), repr(entry.get("pronoun")))
        kinds: tuple[Literal["noun", "relation", "short"], ...] = ("noun", "relation", "short")
        for kind in kinds:
            self._subjects += [
                Subject(kind=kind, text=text, pronoun=entry["pronoun"], states=states, when=when)
                for text in self._texts(entry, kind, set())
            ]

    def _states(self, entry: Mapping[str, Any]) -> dict[str, Value]:
        states = self._table(entry.get("states", {}), "states")
        return {name: self._value(name, value) for name, value in states.items()}

    def _range(self, name: str, value: Any) -> tuple[float, float]:  # noqa: ANN401 - a TOML value may be anything
        feature = self._schema.feature(name)
        good = isinstance(value, list) and len(value) == 2 and all(type(bound) in {int, float} for bound in value)  # noqa: PLR2004
        if feature.is_category or not good:
            raise self._wrong(f"when.{name}", "two numbers for a numeric feature", repr(value))
        return float(value[0]), float(value[1])

    def _feature(self, feature: Feature, entry: Mapping[str, Any]) -> None:
        self._labels[feature.name] += self._texts(entry, "label", set())
        absent = self._table(entry.get("absent", {}), "absent", set(FORMS))
        for form in FORMS:
            self._phrases += [self._phrase(form, text, feature=feature) for text in self._texts(entry, form)]
            self._phrases += [self._phrase(form, text, absent=[feature.name]) for text in self._texts(absent, form)]
        for written, said in self._table(entry.get("value", {}), "value").items():
            texts = self._table(said, f"value.{written}", {*FORMS, "word"})
            value = self._value(feature.name, written)
            for form in FORMS:
                self._phrases += [
                    self._phrase(form, text, states={feature.name: value}) for text in self._texts(texts, form)
                ]
            if feature.is_category:
                self._words.setdefault((feature.name, written), []).extend(self._texts(texts, "word", set()))
        if "counted" in entry:
            self._counting(feature, self._table(entry["counted"], "counted", {*FORMS, "singular", "plural"}))

    def _counting(self, feature: Feature, entry: Mapping[str, Any]) -> None:
        singular, plural = self._texts(entry, "singular"), self._texts(entry, "plural")
        if len(singular) != len(plural) or not singular or feature.kind != "integer":
            raise self._wrong(f"counted of {feature.name}", "an integer, and a plural for each singular", repr(plural))
        nouns = self._counted.setdefault(feature.name, {})
        for one, many in zip(singular, plural, strict=True):
            nouns.setdefault(one, many)
        for form in FORMS:
            self._phrases += [
                Phrase(form=form, text=text, counted=(feature.name,)) for text in self._texts(entry, form)
            ]

    def _joint(self, entry: Mapping[str, Any]) -> None:
        form, absent = entry.get("form"), [self._schema.feature(name).name for name in self._texts(entry, "absent")]
        if form not in FORMS or not entry.get("text"):
            raise self._wrong("joint", f"a form ({', '.join(FORMS)}) and texts", repr(entry)[:80])
        counted = tuple(self._schema.feature(name).name for name in self._texts(entry, "counted"))
        for text in self._texts(entry, "text"):
            if bool(counted) != ("{counted}" in text):
                raise self._wrong(
                    repr(text), "features under counted, and the slot {counted}, or neither", repr(counted)
                )
            self._phrases.append(self._phrase(form, text, states=self._states(entry), absent=absent, counted=counted))

    def _phrase(  # noqa: PLR0913 - what a phrase may say
        self,
        form: Form,
        text: str,
        *,
        feature: Feature | None = None,
        states: Mapping[str, Value] | None = None,
        absent: Iterable[str] = (),
        counted: tuple[str, ...] = (),
    ) -> Phrase:
        numbers, said_as = set[str](), set[tuple[str, str]]()
        for slot in _SLOT.findall(text):
            name, _, shape = slot.partition(":")
            said = feature
            if name != "v" or feature is None or feature.is_category:
                if slot in _PERSON_SLOTS or OTHER_NUMBER.fullmatch(slot) or (counted and slot == "counted"):
                    continue
                if name in {"v", *_CHATTER_SLOTS} or (said := self._schema.feature(name)).is_category:
                    raise self._wrong(repr(text), "a slot that docs/wording.md allows here", slot)
            assert said is not None  # noqa: S101 - a slot that names no feature has been refused
            numbers.add(said.name)
            if ":" in slot:
                self._form_of_number(text, shape, said)
                said_as.add((said.name, shape))
        if feature is not None and feature.name not in numbers:
            raise self._wrong(repr(text), "the slot {v}", "none")
        text = re.sub(r"\{v(?=[:}])", "{" + feature.name, text) if feature is not None else text
        return Phrase(
            form=form,
            text=text,
            states=states or {},
            numbers=frozenset(numbers),
            absent=frozenset(absent),
            counted=counted,
            forms=frozenset(said_as),
        )

    def _form_of_number(self, text: str, shape: str, feature: Feature) -> None:
        if shape not in FORMS_OF_NUMBERS:
            raise self._wrong(repr(text), f"a form of a number: {', '.join(FORMS_OF_NUMBERS)}", shape or "none")
        if not fits(shape, feature):
            got = f"{feature.name}, {feature.expected()}, in {feature.unit or 'no unit'}"
            raise self._wrong(repr(text), f"{FORMS_OF_NUMBERS[shape]} for the form {shape}", got)
