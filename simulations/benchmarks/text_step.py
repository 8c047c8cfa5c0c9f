"""A DP-SGD step of the text expert beside a plain step of the same model on the same batches."""

import statistics
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from llamdex_fl.experts import MINILM_LORA
from llamdex_fl.experts.text_base import ReadText, load_text_base, padded
from llamdex_fl.privacy import SampledGaussian
from silo_client.noise import SecureNoise
from silo_client.text_training import TextModel, TextRecipe, learn_texts

__all__ = ["text_step_ratio"]

#: Words of the made-up texts; a text has 5 to 40 of them, as sentences have.
_WORDS = (
    "the",
    "film",
    "was",
    "a",
    "long",
    "and",
    "quiet",
    "story",
    "of",
    "two",
    "brothers",
    "who",
    "never",
    "meet",
    "again",
    "in",
    "their",
    "small",
    "town",
)


def text_step_ratio(records: int, rounds: int, steps: int) -> dict[str, float]:
    """Medians over turns, after one that is not counted: a private step over a plain one, and both in milliseconds."""
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(_WORDS, random.integers(5, 41))) for _ in range(records)]
    read = load_text_base(MINILM_LORA).read(texts)
    labels_n = random.integers(0, 2, records)
    turns = []
    for number in range(rounds + 1):
        seconds = []
        for run in (_private, _plain):
            # Models are made before the first step: what both have to do once is taken off by a run without steps.
            began = time.perf_counter()
            run(read, labels_n, 1)
            middle = time.perf_counter()
            run(read, labels_n, 1 + steps)
            seconds.append((time.perf_counter() - middle - (middle - began)) / steps)
        if number:
            turns.append((seconds[0] / seconds[1], *seconds))
    ratio, private, plain = (statistics.median(column) for column in zip(*turns, strict=True))
    return {"ratio": round(ratio, 2), "private_ms": round(1e3 * private, 2), "plain_ms": round(1e3 * plain, 2)}


def _private(read: list[ReadText], labels_n: NDArray[np.int64], steps: int) -> None:
    recipe = TextRecipe()
    mechanism = SampledGaussian(
        sampling_rate=recipe.sampling_rate, noise_multiplier=4.0, steps=steps, max_grad_norm=recipe.max_grad_norm
    )
    counts_C = np.bincount(labels_n).astype(np.float64)
    learn_texts(MINILM_LORA, read, labels_n, counts_C, mechanism=mechanism, recipe=recipe, noise=SecureNoise())


def _plain(read: list[ReadText], labels_n: NDArray[np.int64], steps: int) -> None:
    """The same model without privacy, as one would write it."""
    recipe, noise = TextRecipe(), SecureNoise()
    model = TextModel(MINILM_LORA, 2, recipe.constant)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    labels = torch.from_numpy(labels_n)
    for _ in range(steps):
        chosen = np.flatnonzero(noise.uniforms(len(read)) < recipe.sampling_rate)
        optimizer.zero_grad()
        cross_entropy(model(*padded([read[place] for place in chosen.tolist()])), labels[chosen]).backward()  # type: ignore[no-untyped-call] # torch's own
        optimizer.step()
