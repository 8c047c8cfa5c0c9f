"""The main job on one machine: four hospitals and an archive, one provider, one LLM; real processes throughout.

``stages`` does the work, ``report`` shows it. ``llamdex-sim demo`` and ``make demo`` run it.
"""

from simulations.demo.report import write_report
from simulations.demo.stages import DemoSettings, run_demo

__all__ = ["DemoSettings", "run_demo", "write_report"]
