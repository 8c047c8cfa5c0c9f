"""All accountants side by side on one training: the noise each of them calibrates, and what that noise really costs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from llamdex_fl.errors import InputError
from llamdex_fl.privacy.accountants import ACCOUNTANTS, Kind
from llamdex_fl.privacy.accounting import certified_epsilon, forget_compositions
from llamdex_fl.privacy.calibration import calibrated_noise
from llamdex_fl.privacy.edgeworth import EdgeworthReport, edgeworth_report
from llamdex_fl.privacy.guarantee import SampledGaussian

__all__ = ["Comparison", "Row", "compare", "epsilons_at", "epsilons_over_steps", "plan"]

_MAX_RECORDS = 10**12
_MAX_EPOCHS = 10**6


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One accountant's view.

    Attributes:
        noise_multiplier: what it calibrates, or what it was asked about.
        epsilon: what it states at that noise.
        kind: what its number is good for.
        seconds: how long it took.
    """

    noise_multiplier: float
    epsilon: float
    kind: Kind
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The rows by accountant, and what became of the Edgeworth estimate.

    Attributes:
        rows: in the order of ``ACCOUNTANTS``.
        estimate: what is known about the composition at the noise that the Edgeworth estimate calibrates.
        change: what the certificate made of that noise: ``raised`` where it cost more than was wanted, ``lowered``
            where less is enough.
        binds: which rigorous number sets the noise of ``edgeworth``.
    """

    rows: Mapping[str, Row]
    estimate: EdgeworthReport
    change: Literal["raised", "lowered"]
    binds: Literal["pld", "tilted_bound"]

    def saving(self, accountant: str) -> float:
        """The share of RDP's noise that an accountant does without; negative where it takes more."""
        return 1.0 - self.rows[accountant].noise_multiplier / self.rows["rdp"].noise_multiplier


def plan(*, records: int, batch: int, epochs: int) -> tuple[float, int]:
    """Sampling rate and number of steps of a training: 1 / ceil(records / batch), and as many steps an epoch.

    Whole numbers throughout: a rounded quotient would drop a step for some lengths, so that plan and run disagree.

    Raises:
        InputError: a number is not a whole one above 0, or the batch is larger than the data set.
    """
    for name, value, most in (("records", records, _MAX_RECORDS), ("epochs", epochs, _MAX_EPOCHS)):
        if not 1 <= value <= most:
            raise _wrong(name, f"1 to {most}", value)
    if not 1 <= batch <= records:
        raise _wrong("batch", f"1 to {records}, the number of records", batch)
    steps = -(-records // batch)
    return 1.0 / steps, epochs * steps


def compare(  # noqa: PLR0913 - a training has that many numbers
    *,
    sampling_rate: float,
    steps: int,
    epsilon: float,
    delta: float,
    order: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Calibrate one training with every accountant.

    Args:
        sampling_rate: each record's chance to be in a step.
        steps: of DP-SGD.
        epsilon: what the training may cost.
        delta: of the guarantee.
        order: of the Edgeworth estimate that is looked at more closely; the table's row is of order 1.
        progress: told each accountant's name before its turn.

    Raises:
        InputError: a parameter is out of range.
    """
    _warm_up()
    rows: dict[str, Row] = {}
    for accountant in ACCOUNTANTS.values():
        if progress is not None:
            progress(accountant.name)
        # Nobody profits from what an earlier one computed: seconds are those of a fresh process.
        forget_compositions()
        began = time.perf_counter()
        mechanisms = [_gaussian(sampling_rate, 1.0, steps)]
        noise = calibrated_noise(mechanisms, epsilon=epsilon, delta=delta, accountant=accountant.name)
        stated = accountant.epsilon([_gaussian(sampling_rate, noise, steps)], delta)
        seconds = time.perf_counter() - began
        rows[accountant.name] = Row(noise_multiplier=noise, epsilon=stated, kind=accountant.kind, seconds=seconds)
    claimed = rows["edgeworth_estimate"].noise_multiplier
    estimate = edgeworth_report([_gaussian(sampling_rate, claimed, steps)], delta, order=order)
    final = edgeworth_report([_gaussian(sampling_rate, rows["edgeworth"].noise_multiplier, steps)], delta)
    return Comparison(
        rows=rows,
        estimate=estimate,
        change="raised" if rows["edgeworth"].noise_multiplier > claimed else "lowered",
        binds=final.binds,
    )


def epsilons_at(*, sampling_rate: float, noise_multiplier: float, steps: int, delta: float) -> dict[str, Row]:
    """What every accountant states about one training whose noise is known.

    Raises:
        InputError: a parameter is out of range.
    """
    _warm_up()
    rows: dict[str, Row] = {}
    for accountant in ACCOUNTANTS.values():
        forget_compositions()
        began = time.perf_counter()
        stated = accountant.epsilon([_gaussian(sampling_rate, noise_multiplier, steps)], delta)
        seconds = time.perf_counter() - began
        rows[accountant.name] = Row(
            noise_multiplier=noise_multiplier, epsilon=stated, kind=accountant.kind, seconds=seconds
        )
    return rows


def epsilons_over_steps(
    *, sampling_rate: float, noise_multiplier: float, steps: Sequence[int], delta: float
) -> dict[str, list[float]]:
    """Epsilon by every accountant after each of some numbers of steps; ``pld`` with wider buckets, for a picture."""
    found: dict[str, list[float]] = {name: [] for name in ("pld", "rdp", "edgeworth_estimate", "gdp")}
    for number in steps:
        mechanisms = [_gaussian(sampling_rate, noise_multiplier, number)]
        for name, epsilons in found.items():
            if name == "pld":
                epsilons.append(certified_epsilon(mechanisms, delta, discretisation=1e-3))
            else:
                epsilons.append(ACCOUNTANTS[name].epsilon(mechanisms, delta))
    return found


def _warm_up() -> None:
    """Have the libraries loaded, so that no accountant is charged with that."""
    certified_epsilon([_gaussian(1.0, 10.0, 1)], 1e-3)


def _gaussian(rate: float, noise: float, steps: int) -> SampledGaussian:
    return SampledGaussian(sampling_rate=rate, noise_multiplier=noise, steps=steps, max_grad_norm=1.0)


def _wrong(what: str, expected: str, got: object) -> InputError:
    return InputError(
        f"The number of {what} is not usable.",
        expected=expected,
        got=str(got),
        next_step="give whole numbers that describe the training",
    )
