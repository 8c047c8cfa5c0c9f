"""The figures of a consortium, by the real path, against what the assembly must reach."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llamdex_fl.assembly import AssembledLlamdex, Seat
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.reader import Reader
from llamdex_fl.experts import auc, one_against_rest
from llamdex_fl.schema import load_library_schema
from simulations.consortium_value import _ask, run_seed
from simulations.datasets import Split, load_heart, split
from simulations.evaluation import held_out_questions


def test_auc_counts_pairs() -> None:
    scores, positive = np.array([0.1, 0.4, 0.35, 0.8, 0.4]), np.array([False, False, True, True, True])
    pairs = [(p, n) for p in scores[positive] for n in scores[~positive]]
    assert auc(scores, positive) == pytest.approx(sum(1.0 if p > n else 0.5 * (p == n) for p, n in pairs) / len(pairs))


def test_one_seed_of_the_four_hospitals() -> None:
    result = run_seed("heart", 0)
    assert result.epsilon <= 1.0
    assert set(result.alone) == {"cleveland", "hungary", "switzerland", "va-long-beach"}
    alone = [figures.auc for figures in result.alone.values()]
    assert result.assembled.auc >= max(alone)
    assert result.assembled.auc > sum(alone) / 4
    assert result.assembled.accuracy >= 0.76
    assert result == run_seed("heart", 0)


def test_the_llm_is_asked_about_every_held_out_record(
    make_tiny_llm: Callable[[str], Path], tiny_encoder: Path, make_seat: Callable[..., Seat]
) -> None:
    """By an LLM that cannot speak and a reader that cannot read: what counts is what is asked and reported."""
    schema = load_library_schema("heart")
    base = load_base_llm(str(make_tiny_llm("llama")))
    reader = Reader.untrained(tiny_encoder, [schema], layers=1)
    assembly = AssembledLlamdex(base, reader, Injector(base.width, 0.2, base.digest))
    patients = {silo: split(records, 1) for silo, records in load_heart().items()}
    few = {silo: Split(train=own.train, held_out=own.held_out[:2]) for silo, own in patients.items()}
    seats = {silo: make_seat(schema, silo, number) for number, silo in enumerate(few)}
    for seat in seats.values():
        assembly.seat("heart", seat)
    told: list[tuple[int, int]] = []
    # A seed of short questions: the tiny reader's tokens are single letters, and it takes 384.
    found = _ask(assembly, held_out_questions(schema, few, 34), lambda done, total: told.append((done, total)))
    assert found.questions == 8
    assert told[-1] == (8, 8)
    chances_nC = np.concatenate(
        [
            assembly.consult("heart", [record.features], asker=silo)
            for silo, own in few.items()
            for record in own.held_out
        ]
    )
    truth_n = np.array([record.label for own in few.values() for record in own.held_out])
    assert found.expert_accuracy == pytest.approx((chances_nC.argmax(1) == truth_n).mean())
    assert found.expert_auc == pytest.approx(one_against_rest(chances_nC, truth_n))
    assert found.reader_exact_match < 0.9


@pytest.mark.slow
def test_ten_seeds_of_the_four_hospitals() -> None:
    results = [run_seed("heart", seed) for seed in range(10)]
    best = np.mean([max(figures.auc for figures in result.alone.values()) for result in results])
    assert np.mean([result.assembled.auc for result in results]) >= best + 0.005
    assert np.mean([result.assembled.accuracy for result in results]) >= 0.79
    assert min(result.assembled.accuracy for result in results) >= 0.76
