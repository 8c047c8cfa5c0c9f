"""DP-SGD of a text expert: low-rank parameters of one layer, and a softmax on what it makes of a text.

Called by ``silo_client.training.train`` between the ledger's entry and its end. What lies below the low-rank
parameters is frozen and public, so it is computed once a record before the first step, and a step costs little more
than the same step without privacy. Dropout does not occur; batches are Poisson samples, an empty one is a step, and a
large one is taken in parts whose clipped gradients are added before any noise.

Legend: n records, C classes, H states of the base, R rank.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor
from torch.nn import Linear, Module, Parameter
from torch.nn.functional import cross_entropy

from llamdex_fl.experts import TEXT_ARCHITECTURES, texts_of
from llamdex_fl.experts.text_base import ReadText, load_text_base, padded
from llamdex_fl.privacy import SampledGaussian
from llamdex_fl.schema import Schema
from silo_client.data import SiloData
from silo_client.dp_optimizer import SecureDPOptimizer, no_word_of_hooks
from silo_client.noise import NoiseSource

__all__ = ["TextModel", "TextRecipe", "learn_texts", "public_down_maps", "read_texts"]

#: Records whose gradients are in memory together: few, so that their texts are of like length.
_PART = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRecipe:
    """How a text expert is trained. Every number is public: docs/adr/0006-text-recipe.md says where it comes from.

    Attributes:
        counts_share: share of epsilon that the class counts get; the composition is then calibrated as a whole.
        sampling_rate: each record's chance to be in a batch, independently in every step.
        steps: DP-SGD steps.
        max_grad_norm: bound on the length of one record's gradient over all weights.
        loudness: the softmax's weights travel so far that the noise moves a logit by about this much (the learning
            rate follows from it, the noise and the noisy number of records; of plain SGD on the mean gradient).
        most_rate: the softmax's learning rate is not above this.
        lora_share: the low-rank parameters' learning rate, as a share of that.
        l2_records: strength of the L2 penalty, divided by the noisy number of records.
        constant: value of the constant number through which the softmax learns its bias.
        least_records: the noisy number of records is taken to be at least this.
    """

    counts_share: float = 0.05
    sampling_rate: float = 0.25
    steps: int = 60
    max_grad_norm: float = 0.5
    loudness: float = 0.3
    most_rate: float = 100.0
    lora_share: float = 0.2
    l2_records: float = 0.0
    constant: float = 0.5
    least_records: float = 20.0

    def learning_rate(self, records: float, mechanism: SampledGaussian) -> float:
        """Of the softmax's weights, for a noisy number of records."""
        noise = mechanism.noise_multiplier * mechanism.max_grad_norm / (mechanism.sampling_rate * records)
        return min(self.most_rate, self.loudness / (noise * math.sqrt(mechanism.steps)))


class TextModel(Module):
    """The fine-tuned layer with peft's low-rank parameters, and the softmax's weights; nothing else is trained."""

    def __init__(self, architecture: str, classes: int, constant: float) -> None:
        """Start from public numbers: A as ``public_down_maps``, B and the softmax's weights 0."""
        super().__init__()
        shape = TEXT_ARCHITECTURES[architecture]
        self._shape, self._constant = shape, constant
        config = LoraConfig(r=shape.rank, lora_alpha=shape.alpha, target_modules=list(shape.targets), lora_dropout=0.0)
        # Both draw a random start from torch's generator, which is thrown away.
        with torch.random.fork_rng():
            self.layer = inject_adapter_in_model(config, load_text_base(architecture).top())
            self.head = Linear(2 * shape.width + 1, classes, bias=False)
        start = public_down_maps(architecture)
        with torch.no_grad():
            self.head.weight.zero_()
            for target in shape.targets:
                a, b = self.low_rank(target)
                a.copy_(torch.from_numpy(start[target]))
                b.zero_()

    def forward(self, query_BH: Tensor, memory_BTM: Tensor, mask_BT: Tensor) -> Tensor:
        """Logits less the log prior, [B, C]."""
        features_BH = self.layer(query_BH, memory_BTM, mask_BT)
        constant_B1 = torch.full((len(features_BH), 1), self._constant, dtype=features_BH.dtype)
        logits_BC: Tensor = self.head(torch.cat([features_BH, constant_B1], dim=1))
        return logits_BC

    def low_rank(self, target: str) -> tuple[Parameter, Parameter]:
        """A [R, inputs] and B [outputs, R] of a target."""
        adapted = getattr(self.layer, target)
        return adapted.lora_A["default"].weight, adapted.lora_B["default"].weight

    def tensors(self, log_prior_C: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """What of a release is learned here, by name."""
        made: dict[str, NDArray[np.float64]] = {}
        for target in self._shape.targets:
            for part, weight in zip("ab", self.low_rank(target), strict=True):
                made[f"lora.{self._shape.layer}.{target}.{part}"] = weight.detach().double().numpy()
        learned = self.head.weight.detach().double().numpy()
        return made | {"head.weight": learned[:, :-1], "head.bias": learned[:, -1] * self._constant + log_prior_C}


def public_down_maps(architecture: str) -> Mapping[str, NDArray[np.float32]]:
    """Where A starts, by target, [R, inputs]: fixed numbers, in every training of every silo the same."""
    random = np.random.default_rng(0)
    shape = TEXT_ARCHITECTURES[architecture]
    return {
        target: (random.normal(size=(shape.rank, inputs)) / math.sqrt(inputs)).astype(np.float32)
        for target, (inputs, _) in shape.targets.items()
    }


def read_texts(architecture: str, schema: Schema, data: SiloData) -> list[ReadText | None]:
    """Each record as the fine-tuned layer reads it; None where its text is absent.

    Raises:
        RecordError: a record does not fit the schema.
        ArtefactError: the base is not installed.
    """
    texts = texts_of(schema, data.records)
    read = iter(load_text_base(architecture).read([text for text in texts if text is not None]))
    return [None if text is None else next(read) for text in texts]


@no_word_of_hooks()
def learn_texts(  # noqa: PLR0913 - the inputs of one algorithm, all of them needed
    architecture: str,
    read: Sequence[ReadText | None],
    labels_n: NDArray[np.int64],
    counts_C: NDArray[np.float64],
    *,
    mechanism: SampledGaussian,
    recipe: TextRecipe,
    noise: NoiseSource,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """DP-SGD; the mean of all trained weights over the steps, later steps counting more.

    Everything but ``read`` and ``labels_n`` is public or released. A record without a text teaches nothing.

    Returns:
        All tensors of a release but ``class_counts``.
    """
    records = max(float(counts_C.sum()), recipe.least_records)
    log_prior_C = np.log(counts_C / counts_C.sum())
    model = TextModel(architecture, len(counts_C), recipe.constant)
    head, low_rank = [model.head.weight], [p for p in model.layer.parameters() if p.requires_grad]
    # The loss is a sum, so a record's gradient does not depend on who else is in the batch.
    sampled = GradSampleModule(model, loss_reduction="sum")
    rate = recipe.learning_rate(records, mechanism)
    groups = [
        {"params": head, "lr": rate, "weight_decay": recipe.l2_records / records},
        {"params": low_rank, "lr": rate * recipe.lora_share},
    ]
    optimizer = SecureDPOptimizer(
        torch.optim.SGD(groups),
        mechanism=mechanism,
        expected_batch_size=mechanism.sampling_rate * records,
        noise=noise,
    )
    trained = [*head, *low_rank]
    totals = [torch.zeros_like(weight, requires_grad=False) for weight in trained]
    offset_C = torch.from_numpy(log_prior_C.astype(np.float32))
    for step in range(mechanism.steps):
        chosen = np.flatnonzero(noise.uniforms(len(read)) < mechanism.sampling_rate)
        parts = _parts(read, [place for place in chosen.tolist() if read[place] is not None])
        for number, part in enumerate(parts):
            optimizer.signal_skip_step(do_skip=number < len(parts) - 1)
            optimizer.zero_grad()
            logits_BC = sampled(*_batch(architecture, read, part)) + offset_C
            cross_entropy(logits_BC, torch.from_numpy(labels_n[part]), reduction="sum").backward()  # type: ignore[no-untyped-call] # torch's own
            optimizer.step()
        for total, weight in zip(totals, trained, strict=True):
            total.add_(weight.detach(), alpha=step + 1)
        if progress is not None:
            progress(step + 1, mechanism.steps)
    with torch.no_grad():
        for total, weight in zip(totals, trained, strict=True):
            weight.copy_(total / (mechanism.steps * (mechanism.steps + 1) / 2))
    return model.tensors(log_prior_C)


def _parts(read: Sequence[ReadText | None], chosen: list[int]) -> list[list[int]]:
    """A batch in parts that fit into memory, texts of like length together; an empty batch is one empty part."""
    chosen.sort(key=lambda place: 0 if (text := read[place]) is None else len(text.memory_TM))
    return [chosen[start : start + _PART] for start in range(0, max(len(chosen), 1), _PART)]


def _batch(architecture: str, read: Sequence[ReadText | None], part: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    texts = [text for place in part if (text := read[place]) is not None]
    if texts:
        return padded(texts)
    width, keys_and_values = load_text_base(architecture).sizes
    return torch.zeros(0, width), torch.zeros(0, 1, keys_and_values), torch.zeros(0, 1)
