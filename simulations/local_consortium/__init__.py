"""The real processes of a provider and its silos, on one machine and on loopback."""

from simulations.local_consortium.consortium import LocalConsortium, Timings

__all__ = ["LocalConsortium", "Timings"]
