"""An assembly with all that takes time in it: a trained injector, a reader and experts of the size that they have."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llamdex_fl.assembly import AssembledLlamdex, Seat
from llamdex_fl.base_llm.base import BaseLLM, load_base_llm
from llamdex_fl.base_llm.packaged import packaged_encoder
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.questions import QuestionGenerator, training_wording
from llamdex_fl.connectors.reader import Reader, ReaderRecipe
from llamdex_fl.connectors.texts import TextQuestionGenerator, training_text_wording
from llamdex_fl.experts import THERMOMETER_LINEAR, Expert, tensor_shapes
from llamdex_fl.privacy import Guarantee, LaplaceCounts, SampledGaussian
from llamdex_fl.schema import Schema, load_library_schema
from provider_server.fitting import fit_injector

__all__ = ["SCHEMAS", "TEXTS", "Parts", "assembled", "load_parts", "questions", "seat"]

#: Schemas of tables, on whose questions the injector has practised.
SCHEMAS = ("heart", "titanic", "bank", "nursery", "wine")
TEXTS = "sentiment"
_SILOS = ("a", "b", "c", "d")
_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Parts:
    """What the sections measure; ``injector_folder`` is where the injector lies."""

    base: BaseLLM
    assembly: AssembledLlamdex
    injector_folder: Path


def load_parts() -> Parts:
    """The packaged LLM with its injector, which is trained if the package has none (minutes)."""
    base = load_base_llm()
    folder, _ = fit_injector(base)
    schemas = [load_library_schema(name) for name in SCHEMAS]
    reader = Reader.untrained(packaged_encoder(), schemas, layers=ReaderRecipe().layers)
    return Parts(base, assembled(base, reader, folder), folder)


def assembled(base: BaseLLM, reader: Reader, injector_folder: Path) -> AssembledLlamdex:
    """An assembly with four experts a schema."""
    assembly = AssembledLlamdex(base, reader, Injector.load(injector_folder, base_digest=base.digest))
    for schema in reader.schemas.values():
        for number, silo in enumerate(_SILOS):
            assembly.seat(schema.name, seat(schema, silo, number))
    return assembly


def questions(schema: str) -> Callable[[random.Random], str]:
    """Draws a question about a schema, in the training wordings."""
    if schema == TEXTS:
        texts = TextQuestionGenerator(training_text_wording(load_library_schema(schema)))
        return lambda rng: texts.sample(rng).text
    tables = QuestionGenerator(training_wording(load_library_schema(schema)))
    return lambda rng: tables.sample(rng).text


def seat(schema: Schema, silo: str, seed: int) -> Seat:
    """A made-up expert of a silo, of the size that a trained one has."""
    rng = np.random.default_rng(seed)
    tensors = {
        name: rng.normal(0.0, _WEIGHT, shape).astype(np.float32)
        for name, shape in tensor_shapes(THERMOMETER_LINEAR, schema).items()
    }
    tensors["class_counts"] = rng.uniform(20, 200, tensors["class_counts"].shape).astype(np.float32)
    steps = SampledGaussian(sampling_rate=0.5, noise_multiplier=14.0, steps=60, max_grad_norm=1.0)
    guarantee = Guarantee(
        epsilon=1.0,
        delta=1e-4,
        mechanisms=(LaplaceCounts(epsilon=0.2), steps),
        accountant="none: made up for a benchmark",
        accountant_version="",
    )
    return Seat(silo, Expert.from_tensors(schema, tensors), guarantee)
