"""The parts of the connectors benchmark that need no real LLM: its figures must mean what they say."""

import random
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch

from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors.injector import Frame, Injector
from llamdex_fl.connectors.injector.training import practice, suffix_loss
from llamdex_fl.schema import Schema
from simulations.benchmarks.connectors import SECTIONS
from simulations.benchmarks.connectors.injector_step import _whole_loss
from simulations.benchmarks.connectors.memory import _peak_mib


def test_every_section_measures() -> None:
    for name in SECTIONS:
        assert callable(import_module(f"simulations.benchmarks.connectors.{name}").measure)


def test_both_training_steps_that_are_timed_have_the_same_loss(
    make_tiny_llm: Callable[[str], Path], toy_schema: Schema
) -> None:
    base = load_base_llm(str(make_tiny_llm("llama")))
    frame, injector = Frame(base), Injector(base.width, 0.2, base.digest)
    questions = ["ripe?", "A red fruit of 51 grams, is it ripe?"]
    offers, rng = frame.target_offers(toy_schema.target), random.Random(0)
    prompts = [practice(frame, offers, question, rng) for question in questions]
    suffix = suffix_loss(frame, injector, prompts, random.Random(1), sentence=False)
    whole = _whole_loss(frame, injector, prompts, random.Random(1))
    torch.testing.assert_close(suffix, whole, atol=1e-4, rtol=1e-4)


def test_the_peak_is_that_of_this_process() -> None:
    assert 10 < _peak_mib() < 1 << 20
