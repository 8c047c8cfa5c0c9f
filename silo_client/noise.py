"""Randomness for the mechanisms: noise and sampling from the operating system's generator.

``SecureNoise`` has no seed and no state, so nothing can repeat it: not a restart, not a checkpoint, not an option.
Training takes any ``NoiseSource``, and that is the one way to a repeatable run; no configuration file, command or
offer can name another source than ``SecureNoise``. The seeded one lives in ``simulations``, which this package may
not import.
"""

import os
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["NoiseSource", "SecureNoise", "gaussians", "laplaces"]

_BITS = 53
#: Gaussians that are added up for one: the sum's lowest bits no longer tell the steps of one floating-point grid
#: (Holohan and Braghin, arXiv 2107.10138v2, section 5; four draws as in Opacus's secure mode).
_DRAWS = 4


class NoiseSource(Protocol):
    """Independent uniform numbers."""

    def uniforms(self, count: int) -> NDArray[np.float64]:
        """``count`` numbers, uniform in the open interval from 0 to 1."""
        ...


class SecureNoise:
    """The operating system's generator."""

    def uniforms(self, count: int) -> NDArray[np.float64]:
        """``count`` numbers, uniform in the open interval from 0 to 1, of 53 random bits each."""
        words = np.frombuffer(os.urandom(8 * count), np.uint64) >> np.uint64(64 - _BITS)
        # Half a step off 0, so that a logarithm is always finite.
        numbers: NDArray[np.float64] = (words.astype(np.float64) + 0.5) * 2.0**-_BITS
        return np.minimum(numbers, 1.0 - 2.0**-_BITS)


def gaussians(source: NoiseSource, shape: tuple[int, ...], deviation: float) -> NDArray[np.float64]:
    """Gaussian noise of standard deviation ``deviation`` (Box and Muller), each the scaled sum of four draws."""
    count = int(np.prod(shape))
    radius = np.sqrt(-2.0 * np.log(source.uniforms(_DRAWS * count)))
    angle = 2.0 * np.pi * source.uniforms(_DRAWS * count)
    draws = (radius * np.cos(angle)).reshape(_DRAWS, count)
    noise: NDArray[np.float64] = deviation * draws.sum(axis=0) / np.sqrt(_DRAWS)
    return noise.reshape(shape)


def laplaces(source: NoiseSource, count: int, scale: float) -> NDArray[np.float64]:
    """Laplace noise: the difference of two exponential numbers of mean ``scale``."""
    noise: NDArray[np.float64] = scale * (np.log(source.uniforms(count)) - np.log(source.uniforms(count)))
    return noise
