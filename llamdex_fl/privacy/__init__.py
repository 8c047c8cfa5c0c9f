"""Guarantees, the accountant, calibration and the ledger of DP events.

Here: what a release promises, how much it costs, and the record of what was spent. Not here: the mechanisms
themselves (``silo_client.training``), and who may spend (``silo_client.policy``). No opacus: the provider
computes a silo's claim again with this package.
"""

from llamdex_fl.privacy.accounting import (
    ACCOUNTANT,
    accountant_version,
    calibrate,
    certified_epsilon,
    certify,
    check_guarantee,
    weaken,
)
from llamdex_fl.privacy.guarantee import ADJACENCY, UNIT, Guarantee, LaplaceCounts, Mechanism, SampledGaussian
from llamdex_fl.privacy.ledger import Budget, DataSetId, Ledger, LedgerEntry, Spending

__all__ = [
    "ACCOUNTANT",
    "ADJACENCY",
    "UNIT",
    "Budget",
    "DataSetId",
    "Guarantee",
    "LaplaceCounts",
    "Ledger",
    "LedgerEntry",
    "Mechanism",
    "SampledGaussian",
    "Spending",
    "accountant_version",
    "calibrate",
    "certified_epsilon",
    "certify",
    "check_guarantee",
    "weaken",
]
