"""What the connectors cost beside the LLM alone, and how true its odds are to the experts': one module a section.

Reader and experts are untrained, of the size that they have, for only their time counts here; the injector is the
trained one, for what it has learnt decides how many passes an answer takes. A section is a function of the parts and
the number of rounds, and gives keys of the report; ``SECTIONS`` names them all.
"""

import os
import platform
from collections.abc import Callable
from typing import Any

from silo_client.dp_optimizer import one_thread
from simulations.benchmarks.connectors.calibration import measure_calibration
from simulations.benchmarks.connectors.injector_step import measure_injector_step
from simulations.benchmarks.connectors.memory import measure_memory
from simulations.benchmarks.connectors.parts import Parts, load_parts
from simulations.benchmarks.connectors.speed import measure_speed

__all__ = ["SECTIONS", "TARGETS", "measure_connectors"]

#: What the product promises: time and memory over the base LLM's at most, the injector's speedup at least.
TARGETS = {
    "ttft.ratio": 1.05,
    "per_token.ratio": 1.05,
    "peak_memory.ratio": 1.10,
    "injector_step.speedup": 10.0,
    "calibration.ece": 0.02,
}
SECTIONS: dict[str, Callable[[Parts, int], dict[str, Any]]] = {
    "speed": measure_speed,
    "memory": measure_memory,
    "injector step": measure_injector_step,
    "calibration": measure_calibration,
}


def measure_connectors(*, rounds: int = 5, on_section: Callable[[str, int, int], None] | None = None) -> Any:  # noqa: ANN401 - a JSON document
    """Run the benchmark: several minutes of one core.

    Args:
        rounds: turns of base LLM and assembly, a question each by schema; training steps timed; seeds of calibration
            are three at most.
        on_section: told (section, sections done, in all).

    Returns:
        A JSON document with ``ttft``, ``per_token``, ``peak_memory``, ``injector_step`` and ``calibration``.
    """

    def told(section: str, done: int) -> None:
        if on_section is not None:
            on_section(section, done, len(SECTIONS) + 1)

    report: dict[str, Any] = {}
    with one_thread():
        told("injector", 0)
        parts = load_parts()
        for done, (name, section) in enumerate(SECTIONS.items(), 1):
            told(name, done)
            report |= section(parts, rounds)
    told("done", len(SECTIONS) + 1)
    return report | {
        "targets": TARGETS,
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "note": "medians of the rounds, base LLM and assembly in turns; one thread",
    }
