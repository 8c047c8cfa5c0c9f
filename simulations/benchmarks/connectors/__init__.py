"""What the connectors cost beside the LLM alone, and how true its odds are to the experts': one module a section.

Reader and experts are untrained, of the size that they have, for only their time counts here; the injector is the
trained one, for what it has learnt decides how many passes an answer takes. A section is a module with a function
``measure`` of the parts and the number of rounds, which gives keys of the report; ``SECTIONS`` names them all.
"""

import os
import platform
from collections.abc import Callable
from importlib import import_module
from typing import Any

from simulations.benchmarks.expectations import committed, compared_figures

__all__ = ["SECTIONS", "TARGETS", "measure_connectors"]

#: What the product promises: time and memory over the base LLM's at most, the injector's speedup at least.
TARGETS = {
    "ttft.ratio": 1.05,
    "per_token.ratio": 1.05,
    "peak_memory.ratio": 1.10,
    "experts.seat_hundredth_ms": 1000.0,
    "experts.growth_per_ten": 0.01,
    "injector_step.speedup": 10.0,
    "calibration.ece": 0.02,
}
#: Modules of this package, in the order in which they are run.
SECTIONS = ("speed", "memory", "experts", "injector_step", "calibration", "general_ability")


def measure_connectors(*, rounds: int = 5, on_section: Callable[[str, int, int], None] | None = None) -> Any:  # noqa: ANN401 - a JSON document
    """Run the benchmark: several minutes of one core.

    Args:
        rounds: turns of base LLM and assembly, a question each by schema; training steps timed; seeds of calibration
            are three at most.
        on_section: told (section, sections done, in all).

    Returns:
        A JSON document with ``ttft``, ``per_token``, ``whole_answer``, ``peak_memory``, ``experts``,
        ``injector_step``, ``calibration`` and ``general_ability``; ``figures`` compares it with what is committed
        (``expected/connectors.json``), for the speed on an idle machine.
    """

    def told(section: str, done: int) -> None:
        if on_section is not None:
            on_section(section, done, len(SECTIONS) + 1)

    # Imported here: a section may run this package in a process of its own, that is to be small.
    from silo_client.dp_optimizer import one_thread  # noqa: PLC0415
    from simulations.benchmarks.connectors.parts import load_parts  # noqa: PLC0415

    report: dict[str, Any] = {}
    with one_thread():
        told("injector", 0)
        parts = load_parts()
        for done, name in enumerate(SECTIONS, 1):
            told(name.replace("_", " "), done)
            report |= import_module(f"{__name__}.{name}").measure(parts, rounds)
    told("done", len(SECTIONS) + 1)
    return report | {
        "figures": compared_figures(report, committed("connectors")["figures"]),
        "targets": TARGETS,
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "note": "medians of the rounds, base LLM and assembly in turns; one thread",
    }
