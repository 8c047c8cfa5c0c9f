"""Base LLM and assembly are asked the same, and the same numbers come out."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llamdex_fl.assembly import AssembledLlamdex, Seat
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.reader import Reader
from llamdex_fl.schema import Schema
from simulations.benchmarks.general_ability import _goes_on, _says_number, measure_general_ability


@pytest.mark.parametrize(("route", "routes"), [(-100.0, 0), (100.0, 12)])
def test_numbers_are_the_same_without_a_route_and_a_route_is_told(  # noqa: PLR0913, PLR0917 - fixtures
    make_tiny_llm: Callable[[str], Path],
    tiny_encoder: Path,
    toy_schema: Schema,
    make_seat: Callable[..., Seat],
    route: float,
    routes: int,
) -> None:
    base = load_base_llm(str(make_tiny_llm("llama")))
    torch.manual_seed(0)
    assembly = AssembledLlamdex(
        base, Reader.untrained(tiny_encoder, [toy_schema], layers=1), Injector(base.width, 0.2, base.digest)
    )
    assembly.seat("fruit", make_seat(toy_schema, "orchard", 1))
    assembly.reader.network.vocabulary("fruit").route_bias.data.fill_(route)
    report = measure_general_ability(assembly)
    assert report["false_routes"] == routes
    assert report["perplexity"]["base"] == report["perplexity"]["assembled"]
    assert report["completion_accuracy"]["base"] == report["completion_accuracy"]["assembled"]
    assert report["identical_logits"] is (None if routes else True)
    assert report["prompts"] == 31


def test_answers_are_judged() -> None:
    assert _says_number("The answer is 1,200.", "1200")
    assert _says_number("7 + 5 = 12", "12")
    assert not _says_number("It is 12 or 13", "12")
    assert not _says_number("twelve", "12")
    assert _goes_on(" Paris, of course", "paris")
    assert not _goes_on(" in Paris", "Paris")
