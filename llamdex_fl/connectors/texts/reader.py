"""The reader of assemblies that also have text experts: one network routes, parses features and points at texts."""

import json
import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

from llamdex_fl.connectors.reader import MOST_TOKENS, Reader, Reading
from llamdex_fl.connectors.reader.network import EncodedQuestions, SchemaVocabulary
from llamdex_fl.connectors.reader.reader import ROUTED, Batch, Facts
from llamdex_fl.connectors.texts.network import TextReaderNetwork, spans, words
from llamdex_fl.schema import MOST_TEXT_CHARACTERS, Schema, Value, parse_schema

__all__ = ["TextReader", "load_reader", "same_text", "without_quotes"]

#: A span that is less likely than this is not trusted: the whole question is taken for the text.
_UNSURE = 0.3
#: From this probability on a question is routed to a schema of texts.
_ROUTED_TEXT = 0.5
_LIKELIEST = 12
#: What may stand around a text without being part of it.
_AROUND = string.whitespace + "\"'`\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"
#: Quotation marks that belong together.
_PAIRS = dict(zip("\"'\u201c\u2018\u00ab`<", "\"'\u201d\u2019\u00bb'>", strict=True))


class TextReader(Reader):
    """Reads questions for schemas of tables and of texts."""

    network: TextReaderNetwork

    def __init__(self, network: TextReaderNetwork, tokenizer: Any, schemas: Sequence[Schema]) -> None:  # noqa: ANN401
        """Join a network, its tokenizer and the schemas whose vocabularies the network holds."""
        super().__init__(network, tokenizer, schemas)

    @classmethod
    def untrained(cls, encoder_path: Path, schemas: Sequence[Schema], *, layers: int) -> "TextReader":
        """A reader around a pretrained encoder, before it has learnt to read; arguments as of ``Reader``."""
        plain = Reader.untrained(encoder_path, [], layers=layers)
        reader = cls(TextReaderNetwork(plain.network.encoder), plain.tokenizer, [])
        reader.describer = plain.describer
        for schema in schemas:
            reader.add_schema(schema)
        return reader

    def add_schema(self, schema: Schema) -> None:
        """Give the network the vocabulary of a schema, from its descriptions alone."""
        if not schema.is_text:
            super().add_schema(schema)
            return
        feature = schema.features[0]
        described = f"{feature.description} ({feature.name.replace('_', ' ')})"
        schema_text_D, feature_text_D = self._embed([f"{schema.title}. {schema.question}", described])
        width = len(schema_text_D)
        nothing = SchemaVocabulary(
            replace(schema, features=()), torch.zeros(0, width), torch.zeros(0, 1, width), schema_text_D
        )
        self.network.add_text(schema.name, nothing, feature_text_D)
        self.schemas[schema.name] = schema

    @property
    def tabular(self) -> Reader:
        """The same network, for the schemas of tables alone."""
        return Reader(self.network, self.tokenizer, [own for own in self.schemas.values() if not own.is_text])

    @torch.inference_mode()
    def read(self, texts: Sequence[str], *, schema: str | None = None) -> list[Reading]:
        """Route and read questions; ``schema`` fixes the route.

        Of a schema of texts a question is read to its end, however long it is; ``cut`` tells then that the text is
        longer than a record may hold.
        """
        if self.network.training:  # setting it again would visit each of its modules, for every question
            self.network.eval()
        batch = self.batch(texts)
        encoded = self.encode(batch)
        names = list(self.schemas)
        routes_BS = torch.sigmoid(self.network.routes(encoded, names))
        chosen = [names.index(schema)] * len(texts) if schema else routes_BS.argmax(-1).tolist()
        readings = []
        decided: dict[int, Facts] = {}
        for name in {names[index] for index in chosen if not self.schemas[names[index]].is_text}:
            rows = [row for row, index in enumerate(chosen) if names[index] == name]
            decided |= self._parsed(name, batch.rows(rows), encoded.rows(rows), rows)
        for row, index in enumerate(chosen):
            own, probability = self.schemas[names[index]], float(routes_BS[row, index])
            cut = batch.cut[row]
            if own.is_text:
                value, sure = self._text(own, batch, encoded, row)
                facts = Facts({own.features[0].name: value}, {own.features[0].name: sure}, {})
                cut = len(value) > MOST_TEXT_CHARACTERS
            else:
                facts = decided[row]
            routed = schema is not None or probability > (_ROUTED_TEXT if own.is_text else ROUTED)
            readings.append(
                Reading(
                    own.name if routed else None, probability, facts.features, facts.confidence, cut, facts.conflicts
                )
            )
        return readings

    def _text(self, schema: Schema, batch: Batch, encoded: EncodedQuestions, row: int) -> tuple[str, float]:
        """The text in a question, and how likely it is; the whole question where no span is likely."""
        question = batch.texts[row]
        one = encoded.rows([row])
        offsets_T2 = batch.offsets_BT2[row]
        start_1T, end_1T = self.network.point(one, schema.name, words(offsets_T2[None]))
        chances: dict[str, float] = {}
        if batch.cut[row]:
            start, first = _likeliest(start_1T[0], offsets_T2[:, 0])
            end, last = self._end(schema, question)
            chances[without_quotes(question[start:end])] = min(first, last)
        else:
            log_TT = spans(start_1T, end_1T)[0]
            best = log_TT.flatten().exp().topk(min(_LIKELIEST, log_TT.numel()))
            for chance, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                start, end = int(offsets_T2[place // len(log_TT), 0]), int(offsets_T2[place % len(log_TT), 1])
                # With and without its quotation marks it is the same text.
                found = without_quotes(question[start:end])
                chances[found] = chances.get(found, 0.0) + chance
        text = max(chances, key=chances.__getitem__)
        return (text if text and chances[text] >= _UNSURE else question.strip()), chances[text]

    def _end(self, schema: Schema, question: str) -> tuple[int, float]:
        """Where the text ends in a question that is longer than the encoder takes: its last part is read by itself."""
        encoded = self.tokenizer(question, truncation=False, return_offsets_mapping=True, verbose=False)
        begin = encoded["offset_mapping"][2 - MOST_TOKENS][0]
        batch = self.batch([question[begin:]])
        _, end_1T = self.network.point(self.encode(batch), schema.name, words(batch.offsets_BT2))
        end, chance = _likeliest(end_1T[0], batch.offsets_BT2[0, :, 1])
        return begin + end, chance

    @classmethod
    def _loaded(cls, folder: Path, schemas: Sequence[Any]) -> "TextReader":
        config = AutoConfig.from_pretrained(folder / "encoder", local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder / "encoder", local_files_only=True)
        reader = cls(TextReaderNetwork(AutoModel.from_config(config, add_pooling_layer=False)), tokenizer, [])
        for entry in schemas:
            reader.add_schema(parse_schema(json.dumps(entry)))
        # Taken as they lie in the file, not copied: of the encoder's vocabulary few rows are ever looked at.
        reader.network.load_state_dict(load_file(folder / "reader.safetensors"), assign=True)
        reader.network.eval()
        return reader


def load_reader(folder: Path) -> Reader:
    """Read what a reader's ``save`` wrote: a plain reader, or one that also reads texts.

    Raises:
        ArtefactError: the folder does not hold a reader of this version, or a damaged one.
    """
    try:
        entries = json.loads((folder / "reader.json").read_text(encoding="utf-8"))["schemas"]
        of_texts = any(parse_schema(json.dumps(entry)).is_text for entry in entries)
    except (OSError, ValueError, KeyError, TypeError):
        of_texts = False  # the plain reader tells what is wrong
    return TextReader.load(folder) if of_texts else Reader.load(folder)


def same_text(one: Value, other: Value) -> bool:
    """Whether two texts are the same but for blanks and quotation marks around them; absent equals absent."""
    if isinstance(one, str) and isinstance(other, str):
        return one.strip(_AROUND) == other.strip(_AROUND)
    return one is None and other is None


def without_quotes(text: str) -> str:
    """A text without blanks and quotation marks around it."""
    text = text.strip()
    while len(text) > 1 and _PAIRS.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return text


def _likeliest(logits_T: Tensor, places_T: Tensor) -> tuple[int, float]:
    best = logits_T.softmax(-1).max(-1)
    return int(places_T[int(best.indices)]), float(best.values)
