"""What may leave a silo: an expert's weights and the guarantee they were made under, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.privacy.guarantee import Guarantee

__all__ = ["Offer", "Release"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """One expert on its way out of a silo.

    Every number in ``tensors`` (float32) was made by the mechanisms of ``guarantee`` or is public.
    """

    schema_digest: str
    architecture: str
    tensors: Mapping[str, NDArray[np.float32]]
    guarantee: Guarantee


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """What a provider asks a silo for in one round. The silo's own policy decides whether it is met.

    Attributes:
        provider: the provider's id in the keyring.
        purpose: what the expert will be used for, a word that the silo's policy lists.
        schema_digest: hex SHA-256 of the schema.
        architecture: name of the expert's architecture, for example ``thermometer_linear/v1``.
        base_model_digest: hex SHA-256 that names the frozen base LLM the expert will be plugged into.
        epsilon: total epsilon that the release may cost, at most.
        delta: delta of the guarantee.
        challenge: hex, 32 random bytes of this round; the upload's statement repeats it.
    """

    provider: str
    purpose: str
    schema_digest: str
    architecture: str
    base_model_digest: str
    epsilon: float
    delta: float
    challenge: str
