"""Chooses the constants of the experts' combination on synthetic consortia alone.

The rule: of a whole grid, the setting with the least log-loss on the held-out records of the first consortia, the mean
over consortia and over an asker whose silo is known and one whose silo is not. Further consortia, unseen by the choice,
say what it is worth. No silo's record has a part in it.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.experts import CombinationRecipe, Panel, combination_recipe
from llamdex_fl.privacy import Budget
from llamdex_fl.schema import load_library_schema
from simulations.consortium_value import DOMAINS, train_consortium

__all__ = ["BUDGETS", "GRID", "Choice", "choose_combination", "least_loss", "log_losses"]

#: What is tried, by constant; all combinations are.
GRID: Mapping[str, tuple[float, ...]] = {
    "noise_weight": (0.75, 1.5, 3.0),
    "silence": (20.0, 40.0, 80.0, 160.0, 320.0),
    "gain": (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0),
    "site": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
}
#: What each silo's release may cost, by where the consortia come from.
BUDGETS: Mapping[str, Budget] = {
    "synthetic": Budget(epsilon=1.0, delta=1e-4),
    "synthetic-texts": Budget(epsilon=2.0, delta=1e-5),
}
#: Apart from the seeds that anybody types, and from those with which the expert's own recipe was made.
_FIRST_SEED = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What the rule chose, and what it is worth.

    Attributes:
        recipe: the setting with the least log-loss.
        log_loss: its mean over the consortia that chose it.
        curves: for each constant, each of its values and the least log-loss that any setting with it has.
        confirmed: mean over the further consortia of the log-loss of ``recipe``.
        gained: by how much that is less than the log-loss of the project's own constants.
        gained_error: standard error of ``gained`` over consortia.
    """

    recipe: CombinationRecipe
    log_loss: float
    curves: Mapping[str, Mapping[float, float]]
    confirmed: float
    gained: float
    gained_error: float


def choose_combination(
    *,
    choosing: int = 200,
    confirming: int = 100,
    data: str = "synthetic",
    on_consortium: Callable[[int, int], None] | None = None,
) -> Choice:
    """Train the consortia, score the whole grid, and apply the rule.

    Args:
        choosing: how many consortia choose.
        confirming: how many others say what the choice is worth.
        data: a key of ``BUDGETS``: tables, or texts, whose experts are trained otherwise.
        on_consortium: told (done, in all).
    """
    settings = [
        CombinationRecipe(**dict(zip(GRID, values, strict=True))) for values in itertools.product(*GRID.values())
    ]
    # The last is never chosen, only compared with.
    settings.append(combination_recipe(load_library_schema(DOMAINS[data].schema)))
    losses_cs = np.empty((choosing + confirming, len(settings)))
    for number in range(len(losses_cs)):
        losses_cs[number] = log_losses(_FIRST_SEED + number, settings, data)
        if on_consortium:
            on_consortium(number + 1, len(losses_cs))
    return least_loss(settings, losses_cs[:choosing], losses_cs[choosing:])


def least_loss(
    settings: Sequence[CombinationRecipe], choosing_cs: NDArray[np.float64], confirming_cs: NDArray[np.float64]
) -> Choice:
    """Apply the rule to log-losses, [consortia, settings]; the last setting is what the chosen one is compared with."""
    means_s = choosing_cs[:, :-1].mean(axis=0)
    best = int(means_s.argmin())
    curves = {
        name: {
            value: float(
                min(mean for mean, own in zip(means_s, settings[:-1], strict=True) if getattr(own, name) == value)
            )
            for value in sorted({getattr(own, name) for own in settings[:-1]})
        }
        for name in GRID
    }
    gains_c = confirming_cs[:, -1] - confirming_cs[:, best]
    return Choice(
        recipe=settings[best],
        log_loss=float(means_s[best]),
        curves=curves,
        confirmed=float(confirming_cs[:, best].mean()),
        gained=float(gains_c.mean()),
        gained_error=float(gains_c.std(ddof=1) / np.sqrt(len(gains_c))),
    )


def log_losses(seed: int, settings: Sequence[CombinationRecipe], data: str = "synthetic") -> NDArray[np.float64]:
    """Each setting's log-loss on one synthetic consortium, the mean over an asker known and one unknown, [settings]."""
    trained = train_consortium(data, seed, BUDGETS[data])
    evidence = Panel.of(trained.experts, trained.guarantees).evidence([own.features for own in trained.held_out])
    labels_n = np.array([own.label for own in trained.held_out])
    rows_n = np.arange(len(labels_n))
    losses = [
        -np.log(evidence.combined(prior, setting)[rows_n, labels_n]).mean()
        for setting in settings
        for prior in (trained.priors_nC, None)
    ]
    means_s: NDArray[np.float64] = np.array(losses).reshape(len(settings), 2).mean(axis=1)
    return means_s
