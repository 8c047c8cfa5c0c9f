"""Guarantees, accountants, calibration and the ledger of DP events."""
