"""What may leave a silo: an expert's weights and the guarantee they were made under, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.privacy.guarantee import Guarantee

__all__ = ["Release"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """One expert on its way out of a silo.

    Every number in ``tensors`` (float32) was made by the mechanisms of ``guarantee`` or is public.
    """

    schema_digest: str
    architecture: str
    tensors: Mapping[str, NDArray[np.float32]]
    guarantee: Guarantee
