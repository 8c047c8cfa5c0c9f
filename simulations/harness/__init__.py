"""Many silos on one machine: a scenario as data, the unchanged apps and services, faults, and what must still hold.

Here: reading scenarios, dealing records to silos, founding many silos, Flower's grid in one process, faults, the books
of a run, its report. Not here: how silos train and providers accept (the real code runs), other ways to learn, plots.
"""

from simulations.harness.run import BACKENDS, RunSettings, run_scenario
from simulations.harness.scenario import Scenario, load_scenario

__all__ = ["BACKENDS", "RunSettings", "Scenario", "load_scenario", "run_scenario"]
