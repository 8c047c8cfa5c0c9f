"""The accountants for Opacus, registered on import: ``PrivacyEngine(accountant="edgeworth")``, or ``"pld"``.

One import registers them, and ``silo_client.training`` has it::

    import llamdex_fl.privacy.opacus_accountants

This is the one module of the core that imports Opacus; nothing in the core imports it, so a provider never loads it.
An accountant computes from its history alone, since Opacus's calibration replaces it. Unlike Opacus's own, ``len``
counts steps and not segments, and ``load_state_dict`` copies what it is given and refuses what is no history.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from opacus.accountants import IAccountant, register_accountant

from llamdex_fl.errors import InputError
from llamdex_fl.privacy.accountants import require_rigorous
from llamdex_fl.privacy.edgeworth import EdgeworthEstimate, EdgeworthReport, edgeworth_estimate, edgeworth_report
from llamdex_fl.privacy.guarantee import SampledGaussian

__all__ = ["EdgeworthAccountant", "PLDAccountant"]

#: (noise multiplier, sampling rate, steps), as Opacus keeps them.
Segment = tuple[float, float, int]

_MIN_NOISE = 0.05


class _RigorousAccountant(IAccountant):  # type: ignore[misc] # opacus is untyped
    """History and checkpoints; ``mechanism()`` names the accountant that computes."""

    def __init__(self) -> None:
        """Start with nothing spent."""
        super().__init__()
        self.history: list[Segment] = []

    def step(self, *, noise_multiplier: float, sample_rate: float) -> None:
        """Count one step; steps that follow each other with the same parameters are one segment."""
        if self.history and tuple(self.history[-1][:2]) == (noise_multiplier, sample_rate):
            self.history[-1] = (noise_multiplier, sample_rate, int(self.history[-1][2]) + 1)
        else:
            self.history.append((noise_multiplier, sample_rate, 1))

    def get_epsilon(self, delta: float, *_args: object, **_kwargs: object) -> float:
        """A rigorous epsilon of all steps so far; ``inf`` where one of them had next to no noise.

        Raises:
            InputError: delta or a sampling rate is out of range.
        """
        if any(noise < _MIN_NOISE for noise, _, _ in self.history):
            return math.inf
        return require_rigorous(self.mechanism()).epsilon(self.mechanisms(), delta)

    def mechanisms(self) -> tuple[SampledGaussian, ...]:
        """The steps so far in the words of this project; the clip norm plays no part in their cost."""
        return tuple(
            SampledGaussian(sampling_rate=rate, noise_multiplier=noise, steps=steps, max_grad_norm=1.0)
            for noise, rate, steps in self.history
        )

    def __len__(self) -> int:
        """Number of steps so far."""
        return sum(steps for _, _, steps in self.history)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a checkpoint's history, as a copy.

        Raises:
            ValueError: the state is another accountant's, or holds no history.
        """
        history = [_segment(item) for item in state_dict["history"]] if state_dict and "history" in state_dict else None
        super().load_state_dict(OrderedDict(state_dict or {}))
        self.history = history or []


class EdgeworthAccountant(_RigorousAccountant):
    """The smaller of the tilted bound and the PLD certificate; the estimate is shown, and never returned as epsilon."""

    @classmethod
    def mechanism(cls) -> str:
        """The name under which it is registered."""
        return "edgeworth"

    def estimate(self, delta: float, *, order: int = 1) -> EdgeworthEstimate:
        """The Edgeworth estimate with its flag; it may be below the truth."""
        return edgeworth_estimate(self.mechanisms(), delta, order=order)

    def report(self, delta: float, *, order: int = 1) -> EdgeworthReport:
        """Estimate, bound, certificate, and which of them binds."""
        return edgeworth_report(self.mechanisms(), delta, order=order)


class PLDAccountant(_RigorousAccountant):
    """Pessimistic privacy loss distributions, the project's default."""

    @classmethod
    def mechanism(cls) -> str:
        """The name under which it is registered."""
        return "pld"


def _segment(item: Any) -> Segment:  # noqa: ANN401 - from a checkpoint
    try:
        noise, rate, steps = item
        segment = (float(noise), float(rate), int(steps))
    except (TypeError, ValueError) as error:
        raise _no_history(type(item).__name__) from error
    if not (segment[0] >= 0.0 and 0.0 <= segment[1] <= 1.0 and segment[2] >= 1 and segment[2] == steps):
        raise _no_history("numbers out of range")
    return segment


def _no_history(got: str) -> InputError:
    return InputError(
        "The checkpoint's accountant has no usable history.",
        expected="segments of noise multiplier, sampling rate and number of steps",
        got=got,
        next_step="resume from another checkpoint; never start with an empty history",
    )


for _accountant in (EdgeworthAccountant, PLDAccountant):
    # Forced, because the module may be loaded again; the names are no others' in Opacus 1.6.
    register_accountant(_accountant.mechanism(), _accountant, force=True)
