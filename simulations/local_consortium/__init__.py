"""The real processes of a provider and its silos, on one machine and on loopback."""

from simulations.local_consortium.consortium import LocalConsortium, Timings
from simulations.local_consortium.founding import Founded, PrivacyTerms, add_silo, found_consortium

__all__ = ["Founded", "LocalConsortium", "PrivacyTerms", "Timings", "add_silo", "found_consortium"]
