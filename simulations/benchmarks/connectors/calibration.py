"""How near the LLM's odds are to those that the experts give, and whether it says the outcome's sentence.

Probabilities are made up over the whole simplex, sure and unsure ones alike; questions are in the training wordings.
Of the tables the injector has practised on questions and outcomes, of the schema of texts on neither.

``ece`` and ``gap`` tell what an asker gets. How good the injector is by itself is told by ``lean`` and
``ece_injector``, the same before anything was corrected.
"""

import random
import statistics
from typing import Any

import torch

from llamdex_fl.assembly import expected_calibration_error
from llamdex_fl.assembly.speaking import Injection, Speaker, Spoken
from llamdex_fl.connectors.injector.training import draw_outputs
from llamdex_fl.schema import load_library_schema
from simulations.benchmarks.connectors.parts import SCHEMAS, TEXTS, Parts, questions

__all__ = ["measure"]

_QUESTIONS = 24
_BATCH = 8
_MOST_SEEDS = 3


def measure(parts: Parts, rounds: int) -> dict[str, Any]:
    """``calibration`` by schema: means over the seeds, and the largest error of a seed."""
    seeds = range(min(rounds, _MOST_SEEDS))
    report = {}
    for name in (*SCHEMAS, TEXTS):
        rows = [_row(parts, name, seed) for seed in seeds]
        report[name] = {key: round(statistics.mean(row[key] for row in rows), 4) for key in rows[0]}
        report[name]["worst_seed_ece"] = round(max(row["ece"] for row in rows), 4)
    return {"calibration": report}


def _row(parts: Parts, name: str, seed: int) -> dict[str, float]:
    rng, sample, schema = random.Random(seed), questions(name), load_library_schema(name)  # noqa: S311 - questions
    wanted_BN = draw_outputs(_QUESTIONS, len(schema.target.labels), rng)
    injections = [Injection(sample(rng), schema, wanted_N) for wanted_N in wanted_BN]
    speaker = parts.assembly.speaker
    alone = Speaker(parts.base, parts.assembly.injector, corrections=0)
    said: list[Spoken] = []
    unaided: list[Spoken] = []
    for start in range(0, _QUESTIONS, _BATCH):
        said += speaker.speak(injections[start : start + _BATCH], 40)
        unaided += alone.speak(injections[start : start + _BATCH], 1)
    got_BN, unaided_BN = (torch.tensor([own.probabilities for own in answers]) for answers in (said, unaided))
    return {
        "ece_injector": _calibration_error(unaided_BN, wanted_BN),
        "ece": _calibration_error(got_BN, wanted_BN),
        "gap": float((got_BN - wanted_BN).abs().amax(-1).mean()),
        "sentence_rate": statistics.mean(own.whole for own in said),
        "asked_again_rate": statistics.mean(own.asked_again for own in said),
        "lean": statistics.mean(own.lean for own in unaided),
        "corrected_rate": statistics.mean(own.corrections > 0 for own in said),
    }


def _calibration_error(got_BN: torch.Tensor, wanted_BN: torch.Tensor) -> float:
    """As ``llamdex-provider eval`` has it: of the outcome that the LLM finds likeliest, the experts for the truth."""
    got_B1, top_B1 = got_BN.max(-1, keepdim=True)
    return expected_calibration_error(got_B1.flatten().tolist(), wanted_BN.gather(-1, top_B1).flatten().tolist()) or 0.0
