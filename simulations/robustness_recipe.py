"""Chooses how poisoned experts are kept from carrying an answer, on synthetic consortia alone.

The rule: of a whole grid, the setting with the least log-loss on the honest silos' held-out records; one half is that
of consortia without a poisoned silo, one half the mean over the attacks of ``simulations.poisoning`` with a fifth of
the silos poisoned; the mean over consortia of 5 to 30 silos. No silo's record has a part in it.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from llamdex_fl.experts import Robustness
from llamdex_fl.privacy import Budget
from simulations.poisoning import ATTACKS, PLAIN, measure, poison

__all__ = ["LEVELS", "SCREENS", "RobustnessChoice", "choose_robustness"]

#: (level, trim): trim is above the level, or a poisoned fifth would reach the quantile.
LEVELS = ((0.25, 0.3), (0.25, 0.35), (0.3, 0.35), (0.3, 0.4))
#: (least_agreement, full_agreement); the last hears all experts.
SCREENS = ((-0.2, 0.2), (-0.2, 0.0), (0.0, 0.2), (-2.0, -1.0))
_SIZES = (5, 10, 20, 7, 15, 30)
#: Apart from those of ``simulations.combination_recipe``.
_FIRST_SEED = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class RobustnessChoice:
    """What the rule chose.

    Attributes:
        robustness: the setting.
        losses: by setting (level, trim, least and full agreement), mean log-loss without poisoned silos and with.
        plain: the same of the plain mean.
    """

    robustness: Robustness
    losses: Mapping[tuple[float, float, float, float], tuple[float, float]]
    plain: tuple[float, float]


def choose_robustness(consortia: int = 18, on_consortium: Callable[[int, int], None] | None = None) -> RobustnessChoice:
    """Train the consortia, score the grid, and apply the rule.

    Args:
        consortia: how many, of 5, 10, 20, 7, 15 and 30 silos in turn.
        on_consortium: told (done, in all).
    """
    settings = [(*level, *screen) for level, screen in itertools.product(LEVELS, SCREENS)]
    rules = [
        Robustness(level=level, trim=trim, least_agreement=least, full_agreement=full)
        for level, trim, least, full in settings
    ]
    losses_crs = np.empty((consortia, len(rules) + 1, 2))
    for number in range(consortia):
        silos = _SIZES[(_FIRST_SEED + number) % len(_SIZES)]
        made = poison(
            "synthetic",
            silos=silos,
            poisoned=silos // 5,
            seed=_FIRST_SEED + number,
            budget=Budget(epsilon=1.0, delta=1e-4),
        )
        for place, rule in enumerate([*rules, PLAIN]):
            poisoned = float(np.mean([measure(made, attack, rule).log_loss for attack in ATTACKS]))
            losses_crs[number, place] = measure(made, "clean", rule).log_loss, poisoned
        if on_consortium:
            on_consortium(number + 1, consortia)
    means = [(float(clean), float(poisoned)) for clean, poisoned in losses_crs.mean(axis=0)]
    best = int(np.argmin([sum(pair) for pair in means[:-1]]))
    return RobustnessChoice(
        robustness=rules[best], losses=dict(zip(settings, means[:-1], strict=True)), plain=means[-1]
    )
