"""How a tabular expert is trained: numbers that are public, chosen on synthetic records (docs/adr/0008).

A recipe is fixed before a record is read: it follows from the architecture, the schema and the policy's public bound
on records. The learning rate and the penalty may follow from the noisy number of records too, which is released anyway.
"""

import math
from dataclasses import dataclass

from llamdex_fl.experts import THERMOMETER_CROSSES, THERMOMETER_LARGE, THERMOMETER_LINEAR, code_length
from llamdex_fl.privacy import SampledGaussian
from llamdex_fl.schema import Schema

__all__ = ["Pace", "Recipe", "recipe_for"]

#: Of the recipes that scale with the records; what else was tried stands in docs/adr/0008.
_STEPS = 150
_MOMENTUM = 0.9
#: The counts' share of epsilon: their noise, 1 / (share epsilon), is a hundredth of the bound on records at epsilon 1.
_COUNTS = 100.0
_LEAST_SHARE, _MOST_SHARE = 0.02, 0.1
#: Expected records in a batch, by the policy's bound: more costs time, and the noise hardly falls.
_BATCH = 2048
_LEAST_RATE, _MOST_RATE = 0.05, 0.5
_THOUSAND = 1000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scale:
    """What scales: the clip norm in lengths of a record's codes, and three attributes of ``Recipe``."""

    clip: float
    loudness: float
    growth: float
    stiffness: float


#: Tables that are all categories tend to follow rules, so few of their gradients are long, and labels are sure.
_SCALES = {
    THERMOMETER_LARGE: _Scale(clip=0.7, loudness=1.4, growth=0.0, stiffness=0.5),
    THERMOMETER_CROSSES: _Scale(clip=0.35, loudness=1.25, growth=0.5, stiffness=0.1),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """What the optimizer takes: the learning rate of each step, the L2 penalty, the momentum."""

    learning_rate: float
    penalty: float
    momentum: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How an expert is trained; the defaults are ``thermometer_linear/v1``'s, for hundreds of records.

    Attributes:
        counts_share: share of epsilon that the class counts get; the composition is then calibrated as a whole.
        sampling_rate: each record's chance to be in a batch, independently in every step.
        steps: DP-SGD steps.
        max_grad_norm: bound on the length of one record's gradient over all weights.
        learning_rate: of SGD on the mean gradient.
        l2_records: strength of the L2 penalty, divided by the noisy number of records.
        momentum: of SGD.
        constant: value of the constant code through which the bias is learned.
        least_records: the noisy number of records is taken to be at least this.
        loudness: None for the learning rate and penalty above. Else both follow from the number of records and the
            noise: weights travel so far that their noise moves a record's logits by this much, at 1,000 records.
        growth: power of the number of records with which ``loudness`` grows.
        stiffness: the L2 penalty then, times the travel.
        code_length: usual length of a record's codes, the constant included; only ``loudness`` needs it.
    """

    counts_share: float = 0.2
    sampling_rate: float = 0.5
    steps: int = 60
    max_grad_norm: float = math.sqrt(2.0)
    learning_rate: float = 0.3
    l2_records: float = 20.0
    momentum: float = 0.0
    constant: float = 0.5
    least_records: float = 20.0
    loudness: float | None = None
    growth: float = 0.0
    stiffness: float = 0.0
    code_length: float = 1.0

    def pace(self, records: float, mechanism: SampledGaussian) -> Pace:
        """The optimizer's numbers.

        Args:
            records: the noisy number of records, at least ``least_records``.
            mechanism: the calibrated noise.
        """
        if self.loudness is None:
            return Pace(learning_rate=self.learning_rate, penalty=self.l2_records / records, momentum=self.momentum)
        # After a travel (the sum of all steps' learning rates) the noise of one weight is noise * travel.
        noise = mechanism.noise_multiplier / (mechanism.sampling_rate * math.sqrt(mechanism.steps))
        noise *= mechanism.max_grad_norm / records
        loudness = self.loudness * (records / _THOUSAND) ** self.growth
        travel = loudness / (noise * self.code_length)
        # Momentum is stable up to 2 (1 + momentum) / curvature. Curvature is p (1 - p), at most 1/4, times the codes'
        # mean square in their commonest direction, taken to be at most half of all their square.
        most = 16.0 * (1.0 + self.momentum) / self.code_length**2
        per_step = mechanism.steps / (1.0 - self.momentum)
        travel = min(travel, most * per_step)
        return Pace(learning_rate=travel / per_step, penalty=self.stiffness / travel, momentum=self.momentum)


def recipe_for(architecture: str, schema: Schema, record_bound: int) -> Recipe:
    """The project's recipe for an architecture; all arguments are public.

    Args:
        architecture: a known one.
        schema: what the records mean.
        record_bound: the policy's bound on the number of records.

    Raises:
        InputError: the architecture is unknown.
    """
    if architecture == THERMOMETER_LINEAR:
        return Recipe()
    length = math.hypot(code_length(architecture, schema), Recipe().constant)
    scale = _SCALES[architecture]
    return Recipe(
        counts_share=min(max(_COUNTS / record_bound, _LEAST_SHARE), _MOST_SHARE),
        sampling_rate=min(max(_BATCH / record_bound, _LEAST_RATE), _MOST_RATE),
        steps=_STEPS,
        max_grad_norm=scale.clip * length,
        momentum=_MOMENTUM,
        loudness=scale.loudness,
        growth=scale.growth,
        stiffness=scale.stiffness,
        code_length=length,
    )
