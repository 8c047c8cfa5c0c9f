"""The reader: from a question's text to the input of an expert, absent features known as absent."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from llamdex_fl.base_llm.quiet import quiet_loading
from llamdex_fl.connectors.numbers import Number, find_numbers
from llamdex_fl.connectors.reader.description import Describer
from llamdex_fl.connectors.reader.network import EncodedQuestions, ReaderNetwork, SchemaVocabulary, said_values
from llamdex_fl.connectors.thresholds import said_by
from llamdex_fl.errors import ArtefactError
from llamdex_fl.schema import Feature, Schema, Value, parse_schema

__all__ = ["MOST_TOKENS", "ROUTED", "Batch", "Facts", "Reader", "Reading"]

#: Tokens of a question that are read, the encoder's two special ones among them.
MOST_TOKENS = 384
#: From this probability on a question is routed to a schema of tables. Among development wordings and near misses by a
#: hand that was left out, this lost fewest: a question about a record is rarely below it, a near miss rarely above.
ROUTED = 0.3
_FORMAT = 3
# Two development questions about different records, run together: these find the half of what is said twice (60 % of
# heart's and Titanic's features), and take 2 to 3 % of the features of one question for contradictory.
_RIVAL = 0.03
_SAID = 0.97


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader made of one question.

    Attributes:
        schema: the schema that answers the question, None if none does.
        route_probability: how sure the reader is that the chosen schema answers it.
        features: the value of each feature, None where the question does not say it.
        confidence: the probability the reader gives to each of these.
        cut: whether the question goes on beyond what the reader reads, so that facts may be missing.
        conflicts: of each feature that the question seems to say twice and differently, the value that was not taken.
    """

    schema: str | None
    route_probability: float
    features: Mapping[str, Value]
    confidence: Mapping[str, float]
    cut: bool = False
    conflicts: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """Questions as tensors, with the numbers that stand in each."""

    texts: Sequence[str]
    numbers: Sequence[Sequence[Number]]
    input_ids_BT: Tensor
    token_mask_BT: Tensor
    offsets_BT2: Tensor
    numbers_BCT: Tensor
    cut: Sequence[bool]

    def rows(self, rows: Sequence[int]) -> "Batch":
        """Some of the questions, in this order, as wide as all of them."""
        chosen = list(rows)
        return Batch(
            [self.texts[row] for row in chosen],
            [self.numbers[row] for row in chosen],
            self.input_ids_BT[chosen],
            self.token_mask_BT[chosen],
            self.offsets_BT2[chosen],
            self.numbers_BCT[chosen],
            [self.cut[row] for row in chosen],
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """By feature: what a question says, how likely that is, and what it says too, if it contradicts itself."""

    features: dict[str, Value]
    confidence: dict[str, float]
    conflicts: dict[str, Value]


class Reader:
    """Reads questions for the schemas it knows."""

    def __init__(self, network: ReaderNetwork, tokenizer: PreTrainedTokenizerBase, schemas: Sequence[Schema]) -> None:
        """Join a network, its tokenizer and the schemas whose vocabularies the network holds."""
        self.network = network
        self.tokenizer = tokenizer
        self.schemas = {schema.name: schema for schema in schemas}
        #: What new schemas are described by; without it they are taken as blank, to be filled from a file.
        self.describer: Describer | None = None

    @classmethod
    def untrained(cls, encoder_path: Path, schemas: Sequence[Schema], *, layers: int) -> "Reader":
        """A reader around a pretrained encoder, before it has learnt to read.

        Args:
            encoder_path: a local directory that transformers' AutoModel loads.
            schemas: the schemas to read for.
            layers: how many of the encoder's layers to keep, from the embeddings up.
        """
        tokenizer = AutoTokenizer.from_pretrained(encoder_path, local_files_only=True)
        config = AutoConfig.from_pretrained(encoder_path, local_files_only=True)
        config.num_hidden_layers = min(layers, config.num_hidden_layers)
        # No training question comes twice, so there is nothing to overfit; and attention without dropout is faster.
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
        with quiet_loading():
            encoder = AutoModel.from_pretrained(
                encoder_path, config=config, local_files_only=True, add_pooling_layer=False
            )
        reader = cls(ReaderNetwork(encoder), tokenizer, [])
        reader.describer = Describer(encoder_path)
        for schema in schemas:
            reader.add_schema(schema)
        return reader

    def add_schema(self, schema: Schema) -> None:
        """Give the network the vocabulary of a schema, from its descriptions alone."""
        feature_text_FD = self._embed([_described(feature) for feature in schema.features])
        values = [[f"{_described(f)}: {_said(f, v)}" for v in said_values(f)] for f in schema.features]
        value_text_FVD = torch.zeros(len(values), _width(schema), feature_text_FD.shape[1])
        for index, texts in enumerate(values):
            if texts:
                value_text_FVD[index, : len(texts)] = _contrasted(feature_text_FD[index], self._embed(texts))
        vocabulary = SchemaVocabulary(
            schema, feature_text_FD, value_text_FVD, self._embed([f"{schema.title}. {schema.question}"])[0]
        )
        self.network.add_vocabulary(schema.name, vocabulary)
        self.schemas[schema.name] = schema

    def forget(self, schema: str) -> None:
        """Read for a schema no more."""
        self.network.forget(schema)
        del self.schemas[schema]

    def _embed(self, texts: Sequence[str]) -> Tensor:
        if self.describer is None:
            return torch.zeros(len(texts), self.network.described)
        return self.describer.embed(texts)

    def batch(self, texts: Sequence[str]) -> Batch:
        """Tokenise questions and find their numbers; what stands after ``MOST_TOKENS`` is not read, and is ``cut``."""
        encoded = self.tokenizer(
            list(texts),
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=MOST_TOKENS,
            return_offsets_mapping=True,
        )
        numbers = [find_numbers(text) for text in texts]
        most = max(1, *(len(found) for found in numbers)) if numbers else 1
        weights_BCT = torch.zeros(len(texts), most, encoded["input_ids"].shape[1])
        offsets_BT2 = encoded["offset_mapping"]
        for row, found in enumerate(numbers):
            starts, ends = offsets_BT2[row, :, 0], offsets_BT2[row, :, 1]
            for column, number in enumerate(found):
                inside = (starts < number.end) & (ends > number.start) & (ends > starts)
                weights_BCT[row, column] = inside / inside.sum().clamp(min=1)
        cut = [bool(encoded[row].overflowing) for row in range(len(texts))]
        return Batch(
            texts, numbers, encoded["input_ids"], encoded["attention_mask"].bool(), offsets_BT2, weights_BCT, cut
        )

    def tokens(self, text: str) -> int:
        """How many tokens a text has for the reader, which reads the first ``MOST_TOKENS``."""
        return len(self.tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def encode(self, batch: Batch) -> EncodedQuestions:
        """Run the encoder on a batch."""
        return self.network.encode(batch.input_ids_BT, batch.token_mask_BT, batch.numbers_BCT)

    def allowed(self, batch: Batch, schema: Schema) -> Tensor:
        """(B, F, C): which numbers of each question are possible values of which feature."""
        most = batch.numbers_BCT.shape[1]
        allowed_BFC = torch.zeros(len(batch.texts), len(schema.features), most, dtype=torch.bool)
        for row, found in enumerate(batch.numbers):
            for index, feature in enumerate(schema.features):
                for column, value in enumerate(said_by(found, feature)):
                    allowed_BFC[row, index, column] = value is not None
        return allowed_BFC

    @torch.inference_mode()
    def read(self, texts: Sequence[str], *, schema: str | None = None) -> list[Reading]:
        """Route and read questions; ``schema`` fixes the route."""
        if self.network.training:  # setting it again would visit each of its modules, for every question
            self.network.eval()
        batch = self.batch(texts)
        encoded = self.encode(batch)
        names = list(self.schemas)
        routes_BS = torch.sigmoid(self.network.routes(encoded, names))
        chosen = [names.index(schema)] * len(texts) if schema else routes_BS.argmax(-1).tolist()
        decided: dict[int, Facts] = {}
        for index in sorted(set(chosen)):
            rows = [row for row, own in enumerate(chosen) if own == index]
            decided |= self._parsed(names[index], batch.rows(rows), encoded.rows(rows), rows)
        readings = []
        for row, index in enumerate(chosen):
            name, probability = names[index], float(routes_BS[row, index])
            routed = schema is not None or probability > ROUTED
            own = decided[row]
            readings.append(
                Reading(
                    name if routed else None, probability, own.features, own.confidence, batch.cut[row], own.conflicts
                )
            )
        return readings

    def _parsed(self, name: str, batch: Batch, encoded: EncodedQuestions, rows: Sequence[int]) -> dict[int, "Facts"]:
        """What questions of one schema say, by the questions' rows."""
        schema = self.schemas[name]
        chances_BFO = self.network.read(encoded, name, self.allowed(batch, schema)).softmax(-1)
        most = batch.numbers_BCT.shape[1]
        return {
            row: self._decide(schema, batch.numbers[place], most, chances_BFO[place]) for place, row in enumerate(rows)
        }

    @staticmethod
    def _decide(schema: Schema, numbers: Sequence[Number], most: int, probability_FO: Tensor) -> "Facts":
        """Add up the chances of each value over the places that say it, and take the likeliest.

        ``most`` is the number of columns that stand for numbers.
        """
        facts = Facts({}, {}, {})
        said_FV = probability_FO[:, most:-1].reshape(len(schema.features), -1, _width(schema)).sum(1)
        for index, feature in enumerate(schema.features):
            row = probability_FO[index].tolist()
            chances: dict[Value, float] = {None: row[-1]}
            for column, number in enumerate(said_by(numbers, feature)):
                if number is not None:
                    chances[number] = chances.get(number, 0.0) + row[column]
            for value, chance in zip(said_values(feature), said_FV[index].tolist(), strict=False):
                chances[value] = chances.get(value, 0.0) + chance
            best = max(chances, key=chances.__getitem__)
            facts.features[feature.name] = best
            facts.confidence[feature.name] = chances[best]
            if (rival := _rival(chances, best)) is not None:
                facts.conflicts[feature.name] = rival
        return facts

    def save(self, folder: Path) -> None:
        """Write the reader into a folder: safetensors, the tokenizer's files, and a JSON description."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.network.state_dict(), folder / "reader.safetensors")
        self.tokenizer.save_pretrained(folder / "encoder")
        self.network.encoder.config.save_pretrained(folder / "encoder")
        document = {"format": _FORMAT, "schemas": [schema.as_dict() for schema in self.schemas.values()]}
        (folder / "reader.json").write_text(json.dumps(document, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Reader":
        """Read what ``save`` wrote.

        Raises:
            ArtefactError: the folder does not hold a reader of this version, or a damaged one.
        """
        try:
            document: dict[str, Any] = json.loads((folder / "reader.json").read_text(encoding="utf-8"))
            version = document.get("format")
            reader = cls._loaded(folder, document["schemas"]) if version == _FORMAT else None
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError, SafetensorError) as error:
            raise ArtefactError(
                f"{folder} does not hold a reader.",
                expected="the files reader.json, reader.safetensors and encoder/, whole",
                got=type(error).__name__,
                next_step="train the connectors: llamdex-provider connect",
            ) from error
        if reader is None:
            raise ArtefactError(
                f"The reader in {folder} is of another version.",
                expected=f"format {_FORMAT}",
                got=repr(version),
                next_step="train the connectors again: llamdex-provider connect",
            )
        return reader

    @classmethod
    def _loaded(cls, folder: Path, schemas: Sequence[Any]) -> "Reader":
        config = AutoConfig.from_pretrained(folder / "encoder", local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder / "encoder", local_files_only=True)
        reader = cls(ReaderNetwork(AutoModel.from_config(config, add_pooling_layer=False)), tokenizer, [])
        for entry in schemas:
            reader.add_schema(parse_schema(json.dumps(entry)))
        # Taken as they lie in the file, not copied: of the encoder's vocabulary few rows are ever looked at.
        reader.network.load_state_dict(load_file(folder / "reader.safetensors"), assign=True)
        reader.network.eval()
        return reader


def _rival(chances: Mapping[Value, float], best: Value) -> Value:
    """Another value that is said as well, if one is: were the best not there, the feature would not be absent."""
    others = {value: chance for value, chance in chances.items() if value is not None and value != best}
    if best is None or not others:
        return None
    rival = max(others, key=others.__getitem__)
    if others[rival] <= _RIVAL:
        return None
    return rival if others[rival] / (others[rival] + chances[None]) > _SAID else None


def _contrasted(feature_D: Tensor, value_VD: Tensor) -> Tensor:
    """(V, D): half what the feature is about, half what sets one of its values apart from the others.

    As texts, "fasting sugar above 120: yes" and "...: no" are almost the same to an encoder. Learning to tell them
    apart from there took most of the training.
    """
    if len(value_VD) == 1:
        return value_VD
    apart_VD = torch.nn.functional.normalize(value_VD - value_VD.mean(0), dim=-1) * value_VD.shape[-1] ** 0.5
    contrasted_VD: Tensor = (feature_D + apart_VD) / math.sqrt(2)
    return contrasted_VD


def _width(schema: Schema) -> int:
    return max(1, *(len(said_values(feature)) for feature in schema.features))


def _described(feature: Feature) -> str:
    return f"{feature.description} ({feature.name.replace('_', ' ')})"


def _said(feature: Feature, value: str | float) -> str:
    return str(value) if feature.is_category else f"{value:g}"
