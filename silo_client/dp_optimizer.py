"""What every DP-SGD here shares: Opacus's optimizer with our noise, and the surroundings it runs in."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from opacus.optimizers import DPOptimizer

from llamdex_fl.privacy import SampledGaussian
from silo_client.noise import NoiseSource, gaussians

__all__ = ["SecureDPOptimizer", "no_word_of_hooks", "one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Batches are so small that a second thread costs more than it saves, many times more on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def no_word_of_hooks() -> Iterator[None]:
    """Torch warns that Opacus's hook sees no gradient of the inputs; nobody needs one, and it would cost time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        yield


class SecureDPOptimizer(DPOptimizer):  # type: ignore[misc] # opacus is untyped
    """Opacus's optimizer with noise from our own source: its secure mode needs a package that no longer builds."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        mechanism: SampledGaussian,
        expected_batch_size: float,
        noise: NoiseSource,
    ) -> None:
        """Take the mechanism's noise and bound; ``expected_batch_size`` is public."""
        super().__init__(
            optimizer,
            noise_multiplier=mechanism.noise_multiplier,
            max_grad_norm=mechanism.max_grad_norm,
            expected_batch_size=expected_batch_size,
            loss_reduction="mean",
        )
        self._noise = noise

    def add_noise(self) -> None:
        """Add Gaussian noise to every sum of clipped gradients."""
        for parameter in self.params:
            summed: Any = parameter.summed_grad
            drawn = gaussians(self._noise, tuple(summed.shape), self.noise_multiplier * self.max_grad_norm)
            parameter.grad = (summed + torch.from_numpy(drawn).to(summed.dtype)).view_as(parameter)
