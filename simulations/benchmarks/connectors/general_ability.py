"""What the base LLM can do besides, alone and with connectors around it that route nothing."""

from typing import Any

from llamdex_fl.assembly import AssembledLlamdex
from simulations.benchmarks.connectors.parts import Parts
from simulations.benchmarks.general_ability import measure_general_ability

__all__ = ["measure"]


def measure(parts: Parts, _rounds: int) -> dict[str, Any]:
    """``general_ability``: see ``measure_general_ability``; the reader here is untrained, so no expert has a seat."""
    assembly = AssembledLlamdex(parts.base, parts.assembly.reader, parts.assembly.injector)
    return {"general_ability": measure_general_ability(assembly)}
