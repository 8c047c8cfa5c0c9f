"""A conditional GAN under differential privacy, of the DP-CTGAN kind (Rosenblatt et al., arXiv 2011.05537).

As CTGAN, columns are one-hot, the generator answers with Gumbel-softmax and is told a class, drawn by the owner's noisy
counts. Only the discriminator sees records: its steps are DP-SGD with our own sampling, clipping, noise and accountant,
and several of them stand between two of the generator (arXiv 2302.02936). So the guarantee, over counts and steps
together, is certified as an expert's is.

Why not smartnoise-synth's: its DP-CTGAN tells the generator how common each category is, in the clear, and draws its
batches by category, both outside its accounting; in its PATE-CTGAN all teachers and the student are one network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, gumbel_softmax, one_hot

from llamdex_fl.privacy import Budget, Guarantee, LaplaceCounts, SampledGaussian, calibrate, certify
from silo_client.dp_optimizer import SecureDPOptimizer, no_word_of_hooks, one_thread
from silo_client.training import noisy_counts
from simulations.seeded_noise import SeededNoise

__all__ = ["DrawnTable", "draw_table"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recipe:
    """Set before any result was seen; public numbers."""

    counts_share: float = 0.1
    steps: int = 400
    #: Of the discriminator between two of the generator.
    apart: int = 4
    most_in_batch: int = 512
    most_rate: float = 0.5
    width: int = 128
    noise_width: int = 64
    learning_rate: float = 1e-3
    temperature: float = 0.2


_RECIPE = _Recipe()


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnTable:
    """Records as whole numbers [n, columns], the class last; and what they cost."""

    numbers: NDArray[np.int64]
    guarantee: Guarantee


def draw_table(
    numbers: NDArray[np.int64], sizes: Sequence[int], record_bound: int, budget: Budget, seed: int
) -> DrawnTable:
    """Learn a table and draw as many records as its noisy counts say.

    Args:
        numbers: one owner's records [n, columns], the class last.
        sizes: how many values each column has.
        record_bound: public bound on n.
        budget: of the table.
        seed: of everything random; a simulation's.
    """
    rough = SampledGaussian(
        sampling_rate=min(_RECIPE.most_rate, _RECIPE.most_in_batch / record_bound),
        noise_multiplier=1.0,
        steps=_RECIPE.steps,
        max_grad_norm=1.0,
    )
    counts = LaplaceCounts(epsilon=_RECIPE.counts_share * budget.epsilon)
    mechanisms = calibrate([counts, rough], epsilon=budget.epsilon, delta=budget.delta)
    gaussian = next(own for own in mechanisms if isinstance(own, SampledGaussian))
    noise = SeededNoise(seed)
    counts_C = noisy_counts(numbers[:, -1], sizes[-1], counts, noise)
    with torch.random.fork_rng(), one_thread(), no_word_of_hooks():
        torch.manual_seed(seed)
        gan = _Gan(sizes, counts_C, gaussian, noise)
        gan.train(torch.from_numpy(numbers))
        drawn = gan.draw(min(max(1, round(float(counts_C.sum()))), record_bound))
    return DrawnTable(numbers=drawn.numpy(), guarantee=certify(mechanisms, budget.delta))


class _Generator(nn.Module):
    """Noise and a class in, every other column's one-hot code out; residual layers as CTGAN's, without batch norms."""

    def __init__(self, classes: int, sizes: Sequence[int]) -> None:
        super().__init__()
        start, width = _RECIPE.noise_width + classes, _RECIPE.width
        self._first, self._second = nn.Linear(start, width), nn.Linear(start + width, width)
        self._last = nn.Linear(start + 2 * width, sum(sizes))
        self._sizes = list(sizes)

    def forward(self, classes_BC: Tensor) -> Tensor:
        values = torch.cat([torch.randn(len(classes_BC), _RECIPE.noise_width), classes_BC], dim=1)
        for layer in (self._first, self._second):
            values = torch.cat([torch.relu(layer(values)), values], dim=1)
        parts = self._last(values).split(self._sizes, dim=1)
        return torch.cat([gumbel_softmax(part, tau=_RECIPE.temperature) for part in parts] + [classes_BC], dim=1)


class _Gan:
    """Both networks; what of the records gets out does so by the discriminator's noisy steps."""

    def __init__(
        self, sizes: Sequence[int], counts_C: NDArray[np.float64], mechanism: SampledGaussian, noise: SeededNoise
    ) -> None:
        self._sizes, self._mechanism, self._noise = list(sizes), mechanism, noise
        self._shares_C = torch.from_numpy(counts_C / counts_C.sum())
        self._batch = max(2, round(mechanism.sampling_rate * float(counts_C.sum())))
        self._generator = _Generator(sizes[-1], sizes[:-1])
        width = _RECIPE.width
        layers = [nn.Linear(sum(sizes), width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2)]
        self._discriminator = nn.Sequential(*layers, nn.Linear(width, 1))

    def train(self, numbers: Tensor) -> None:
        """Alternate the two; a step of the discriminator has about as many drawn records as real ones."""
        private = GradSampleModule(self._discriminator, loss_reduction="sum")
        discriminating = SecureDPOptimizer(
            torch.optim.Adam(self._discriminator.parameters(), lr=_RECIPE.learning_rate, betas=(0.5, 0.9)),
            mechanism=self._mechanism,
            expected_batch_size=2.0 * self._batch,
            noise=self._noise,
        )
        generating = torch.optim.Adam(self._generator.parameters(), lr=_RECIPE.learning_rate, betas=(0.5, 0.9))
        real = torch.cat([one_hot(own, size) for own, size in zip(numbers.T, self._sizes, strict=True)], dim=1).float()
        for step in range(1, self._mechanism.steps + 1):
            chosen = torch.from_numpy(self._noise.uniforms(len(real)) < self._mechanism.sampling_rate)
            with torch.no_grad():
                drawn = self._generator(self._classes(self._batch))
            shown = torch.cat([real[chosen], drawn])
            truth = torch.cat([torch.ones(int(chosen.sum())), torch.zeros(len(drawn))])
            discriminating.zero_grad()
            binary_cross_entropy_with_logits(private(shown)[:, 0], truth, reduction="sum").backward()  # type: ignore[no-untyped-call] # torch's own
            discriminating.step()
            if step % _RECIPE.apart == 0:
                private.disable_hooks()
                doubted = self._discriminator(self._generator(self._classes(self._batch)))[:, 0]
                generating.zero_grad()
                binary_cross_entropy_with_logits(doubted, torch.ones(self._batch)).backward()  # type: ignore[no-untyped-call] # torch's own
                generating.step()
                private.enable_hooks()

    @torch.no_grad()
    def draw(self, count: int) -> Tensor:
        """Records as whole numbers [count, columns]."""
        codes = self._generator(self._classes(count))
        ends = np.cumsum([0, *self._sizes]).tolist()
        return torch.stack([codes[:, first:last].argmax(dim=1) for first, last in pairwise(ends)], dim=1)

    def _classes(self, count: int) -> Tensor:
        drawn = torch.multinomial(self._shares_C, count, replacement=True)
        return one_hot(drawn, len(self._shares_C)).float()
