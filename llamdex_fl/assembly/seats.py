"""Who sits in an assembly: an expert, whose it is, and under what guarantee it was made."""

from dataclasses import dataclass

from llamdex_fl.experts import Expert
from llamdex_fl.privacy import Guarantee

__all__ = ["Seat"]


@dataclass(frozen=True, slots=True)
class Seat:
    """An expert's place in the assembly."""

    silo: str
    expert: Expert
    guarantee: Guarantee
