"""The published experiment made again: its data sets, its sweep of epsilon, ours against private synthesis.

Here: which cells there are (data set, method, epsilon, seed), running and keeping each, the published claims, the
report. Not here: the methods themselves (``simulations.alternatives``), scenarios with faults
(``simulations.harness``).
"""

from simulations.paper.cells import DATA_SETS, EPSILONS, METHODS, Cell, Plan, Store
from simulations.paper.report import report_of
from simulations.paper.run import PaperSettings, run_paper

__all__ = [
    "DATA_SETS",
    "EPSILONS",
    "METHODS",
    "Cell",
    "PaperSettings",
    "Plan",
    "Store",
    "report_of",
    "run_paper",
]
