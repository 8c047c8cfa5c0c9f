"""Guarantees, the accountants, calibration and the ledger of DP events.

Here: what a release promises, how much it costs, and the record of what was spent. Not here: the mechanisms
themselves (``silo_client.training``), and who may spend (``silo_client.policy``). No opacus: the provider
computes a silo's claim again with this package. (``opacus_accountants`` registers the accountants with Opacus for
whoever trains; nothing here imports it.)
"""

from llamdex_fl.privacy.accountants import ACCOUNTANTS, Accountant, find_accountant, require_rigorous
from llamdex_fl.privacy.accounting import (
    ACCOUNTANT,
    accountant_version,
    certified_epsilon,
    certify,
    check_guarantee,
    weaken,
)
from llamdex_fl.privacy.calibration import calibrate, calibrated_noise, with_noise
from llamdex_fl.privacy.comparison import Comparison, Row, compare, epsilons_at, epsilons_over_steps, plan
from llamdex_fl.privacy.contour import contour_epsilon
from llamdex_fl.privacy.crosscheck import cross_check
from llamdex_fl.privacy.edgeworth import (
    EdgeworthEstimate,
    EdgeworthReport,
    edgeworth_epsilon,
    edgeworth_estimate,
    edgeworth_report,
)
from llamdex_fl.privacy.gdp import gdp_estimate
from llamdex_fl.privacy.guarantee import ADJACENCY, UNIT, Guarantee, LaplaceCounts, Mechanism, SampledGaussian
from llamdex_fl.privacy.ledger import Budget, DataSetId, Ledger, LedgerEntry, Spending
from llamdex_fl.privacy.prv import Interval, prv_interval
from llamdex_fl.privacy.tilted import Bound, rdp_epsilon, tilted_bound

__all__ = [
    "ACCOUNTANT",
    "ACCOUNTANTS",
    "ADJACENCY",
    "UNIT",
    "Accountant",
    "Bound",
    "Budget",
    "Comparison",
    "DataSetId",
    "EdgeworthEstimate",
    "EdgeworthReport",
    "Guarantee",
    "Interval",
    "LaplaceCounts",
    "Ledger",
    "LedgerEntry",
    "Mechanism",
    "Row",
    "SampledGaussian",
    "Spending",
    "accountant_version",
    "calibrate",
    "calibrated_noise",
    "certified_epsilon",
    "certify",
    "check_guarantee",
    "compare",
    "contour_epsilon",
    "cross_check",
    "edgeworth_epsilon",
    "edgeworth_estimate",
    "edgeworth_report",
    "epsilons_at",
    "epsilons_over_steps",
    "find_accountant",
    "gdp_estimate",
    "plan",
    "prv_interval",
    "rdp_epsilon",
    "require_rigorous",
    "tilted_bound",
    "weaken",
    "with_noise",
]
