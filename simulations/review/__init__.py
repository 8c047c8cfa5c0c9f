"""The reviewer's kit: hostile cases against a real provider, bit flips, a capture, and the report of all of it.

Here: attacks, as a table that both ``make review`` and the tests carry out. Not here: anything that a silo or a
provider needs; nothing of this is in the bundle that silos run. Long runs elsewhere leave figures that the report
repeats (``simulations.review.measured``).
"""

from simulations.review.case import Arena, Case, Outcome, Try, carry_out
from simulations.review.table import CASES, THREATS, Threat

__all__ = ["CASES", "THREATS", "Arena", "Case", "Outcome", "Threat", "Try", "carry_out"]
