"""How people ask about a text that somebody wrote: texts made up from blocks, questions, chatter.

docs/wording.md has the format. No text of a real source stands here: what a reader learns from must be public.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamdex_fl.connectors.questions.wording import own_sources, sources_of
from llamdex_fl.errors import SchemaError
from llamdex_fl.schema import Schema

__all__ = ["ASK_SLOTS", "SLOT", "TextRegister", "TextWording", "load_text_wording", "training_text_wording"]

SLOT = re.compile(r"\{(\w*)\}")
#: What may stand in a question: the kind of text, its author, a pronoun, a number.
ASK_SLOTS = frozenset({"kind", "author", "they", "them", "they_sg", "n"})
_TEXT_SLOT = "text"
_ASK = ("sentence", "lead", "around", "short", "key")
_CHATTER = ("opener", "aside", "closer")
_OTHER = ("sentence", "around", "bare")


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRegister:
    """One sort of texts.

    Attributes:
        kinds: nouns for such a text ("review").
        authors: nouns for who writes one ("reviewer").
        sentences: for each of the target's labels, sentences with slots.
        slots: what stands in a slot; it may hold slots again.
    """

    kinds: tuple[str, ...]
    authors: tuple[str, ...]
    sentences: Mapping[str, tuple[str, ...]]
    slots: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextWording:
    """All that a generator needs to ask about texts of one schema.

    Attributes:
        schema: a schema of texts.
        registers: the sorts of texts.
        ask: by form, what asks the schema's question.
        chatter: what stands around it.
        other: by form, what asks something else of a text, or of no text at all: near misses for the router.
    """

    schema: Schema
    registers: tuple[TextRegister, ...]
    ask: Mapping[str, tuple[str, ...]]
    chatter: Mapping[str, tuple[str, ...]]
    other: Mapping[str, tuple[str, ...]]


def training_text_wording(schema: Schema) -> TextWording:
    """The project's own wording of a schema of texts, all authors together.

    Raises:
        SchemaError: no wording comes with the project for this schema.
    """
    return _merge(schema, own_sources("llamdex_fl.connectors.texts", schema))


def load_text_wording(schema: Schema, path: Path) -> TextWording:
    """A wording from a file, or from all TOML files of a directory, one an author.

    Raises:
        SchemaError: a file cannot be read or is not a wording of this schema, or there is none.
    """
    return _merge(schema, sources_of(path))


def _merge(schema: Schema, sources: Iterable[tuple[str, str]]) -> TextWording:
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
    """Gathers what several authors wrote, refusing what the format does not know."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._source = ""
        self._registers: list[TextRegister] = []
        self._ask: dict[str, list[str]] = {form: [] for form in _ASK}
        self._chatter: dict[str, list[str]] = {form: [] for form in _CHATTER}
        self._other: dict[str, list[str]] = {form: [] for form in _OTHER}

    def add(self, source: str, document: Mapping[str, Any]) -> None:
        self._source = source
        top = self._table(document, "the file", {"schema", "text", "ask", "chatter", "other"})
        if top.get("schema") != self._schema.name:
            raise self._wrong("schema", self._schema.name, repr(top.get("schema")))
        registers = top.get("text", [])
        if not isinstance(registers, list):
            raise self._wrong("text", "tables: [[text]]", repr(registers)[:80])
        for entry in registers:
            self._registers.append(self._register(self._table(entry, "text", {"kind", "author", "label", "slots"})))
        for place, collected in (("ask", self._ask), ("chatter", self._chatter), ("other", self._other)):
            entry = self._table(top.get(place, {}), place, set(collected))
            for form, texts in collected.items():
                texts.extend(self._said(entry, place, form))

    def wording(self) -> TextWording:
        if not self._registers or not all(self._ask[form] for form in _ASK):
            raise self._wrong("text and ask", f"at least one text, and each of ask's {', '.join(_ASK)}", "none")
        return TextWording(
            schema=self._schema,
            registers=tuple(self._registers),
            ask={form: tuple(texts) for form, texts in self._ask.items()},
            chatter={form: tuple(texts) for form, texts in self._chatter.items()},
            other={form: tuple(texts) for form, texts in self._other.items()},
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
            got = ", ".join(sorted(set(value) - (allowed or set()))) if isinstance(value, dict) else repr(value)[:80]
            raise self._wrong(place, "a table" + (f" with {', '.join(sorted(allowed))}" if allowed else ""), got)
        return value

    def _texts(self, entry: Mapping[str, Any], key: str, *, empty: bool = False) -> tuple[str, ...]:
        texts = entry.get(key, [])
        if not isinstance(texts, list) or not all(isinstance(t, str) and (empty or t.strip()) for t in texts):
            raise self._wrong(key, "a list of texts", repr(texts)[:80])
        return tuple(texts)

    def _said(self, entry: Mapping[str, Any], place: str, form: str) -> tuple[str, ...]:
        texts = self._texts(entry, form)
        needed = {_TEXT_SLOT} if form == "around" else set()
        for text in texts:
            slots = SLOT.findall(text)
            if set(slots) - ASK_SLOTS != needed or slots.count(_TEXT_SLOT) != len(needed):
                expected = f"the slots {', '.join(sorted(ASK_SLOTS))}" + (" and {text} once" if needed else "")
                raise self._wrong(f"{place}.{form}: {text!r}", expected, ", ".join(slots) or "none")
        return texts

    def _register(self, entry: Mapping[str, Any]) -> TextRegister:
        slots = {
            name: self._texts(entry["slots"], name, empty=True) for name in self._table(entry.get("slots", {}), "slots")
        }
        sentences = {}
        for label, own in self._table(entry.get("label", {}), "label", set(self._schema.target.labels)).items():
            sentences[label] = self._texts(self._table(own, f"label.{label}", {"sentence"}), "sentence")
        register = TextRegister(
            kinds=self._texts(entry, "kind"), authors=self._texts(entry, "author"), sentences=sentences, slots=slots
        )
        if not (register.kinds and register.authors and sentences and all(sentences.values())):
            raise self._wrong("text", "kind, author, and sentences of at least one label", ", ".join(entry))
        self._require_filled(register)
        return register

    def _require_filled(self, register: TextRegister) -> None:
        """Every slot that a sentence can come to has a filling, and none holds itself."""
        depth = 0
        texts = [text for own in register.sentences.values() for text in own]
        while texts and depth <= len(register.slots):
            names = {name for text in texts for name in SLOT.findall(text)}
            if missing := sorted(name for name in names if not register.slots.get(name)):
                raise self._wrong("text", "a filling for each slot", f"none for {', '.join(missing)}")
            texts = [text for name in names for text in register.slots[name]]
            depth += 1
        if texts and depth > len(register.slots):
            raise self._wrong("text", "slots that end", "a slot that holds itself")
