"""What every source of randomness must keep: DP-SGD and the noisy counts build on it."""

import math

import numpy as np
import pytest

from silo_client.noise import NoiseSource, SecureNoise, gaussians
from simulations.seeded_noise import SeededNoise

_COUNT = 200_000
#: A wrong alarm in one of 10^9 runs.
_SIGMAS = 6.1


class NoiseSourceContract:
    """Uniform in the open interval, independent from call to call, any count."""

    def source(self) -> NoiseSource:
        raise NotImplementedError

    @pytest.mark.parametrize("count", [0, 1, 7, 1000])
    def test_it_gives_as_many_as_were_asked_for(self, count: int) -> None:
        numbers = self.source().uniforms(count)
        assert numbers.shape == (count,)
        assert numbers.dtype == np.float64

    def test_a_logarithm_of_any_is_finite(self) -> None:
        numbers = self.source().uniforms(_COUNT)
        assert numbers.min() > 0.0
        assert numbers.max() < 1.0

    def test_they_are_uniform(self) -> None:
        numbers = np.sort(self.source().uniforms(_COUNT))
        # Kolmogorov's distance: above this in one of 10^9 runs (exp(-2 n d^2) * 2).
        bound = math.sqrt(math.log(2e9) / (2 * _COUNT))
        assert np.abs(numbers - (np.arange(_COUNT) + 0.5) / _COUNT).max() < bound + 0.5 / _COUNT

    def test_one_call_tells_nothing_of_the_next(self) -> None:
        source = self.source()
        first, second = source.uniforms(_COUNT), source.uniforms(_COUNT)
        assert not np.intersect1d(first[:1000], second[:1000]).size
        for one, other in ((first, second), (first[:-1], first[1:])):
            assert abs(np.corrcoef(one, other)[0, 1]) < _SIGMAS / math.sqrt(len(one))

    def test_gaussians_of_it_have_their_deviation(self) -> None:
        noise = gaussians(self.source(), (50, 1000), 3.0)
        assert noise.shape == (50, 1000)
        assert abs(noise.mean()) < _SIGMAS * 3.0 / math.sqrt(noise.size)
        assert abs(noise.std() / 3.0 - 1.0) < _SIGMAS / math.sqrt(2 * noise.size)


class TestSecureNoise(NoiseSourceContract):
    """The operating system's."""

    def source(self) -> NoiseSource:
        return SecureNoise()


class TestSeededNoise(NoiseSourceContract):
    """A simulation's."""

    def source(self) -> NoiseSource:
        return SeededNoise(11)
