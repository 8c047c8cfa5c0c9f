"""Repeatable randomness, for tests and simulations only: whoever knows the seed can subtract the noise.

It lives here because ``silo_client`` may not import ``simulations``: nothing that a silo runs can reach it.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["SeededNoise"]


class SeededNoise:
    """A ``silo_client.noise.NoiseSource`` that gives no privacy."""

    def __init__(self, seed: int) -> None:
        """Start the sequence of a seed."""
        self._generator = np.random.default_rng(seed)

    def uniforms(self, count: int) -> NDArray[np.float64]:
        """``count`` numbers, uniform in the open interval from 0 to 1."""
        return np.maximum(self._generator.random(count), 2.0**-53)
