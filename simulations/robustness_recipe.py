"""Chooses how poisoned experts are kept from carrying an answer, on synthetic consortia alone.

The rule: of a whole grid, the setting with the least log-loss on the honest silos' held-out records; one half is that
of consortia without a poisoned silo, one half the mean over label flips, label flips with ten times the weights, and
label flips with a thousand times the counts; the mean over consortia, over who is poisoned, over an asker known and
one unknown, and over ten silos with two poisoned and five with one. Only settings are asked whose bound speaks of a
fifth of the experts (``_bounds_a_fifth``). No silo's record has a part in it.

Of two classes, a release that was trained on flipped labels is one of the same distribution as an honest release with
its classes exchanged: the loss, the noise and the counts are symmetric. So every silo is trained once, for real, and
any of them may be the poisoned one.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.experts import Evidence, Panel, Robustness, public_records
from llamdex_fl.privacy import Budget
from llamdex_fl.schema import load_library_schema
from simulations.consortium_value import TrainedConsortium, train_silos
from simulations.datasets import synthetic_silos
from simulations.poisoning import INFLATED, PLAIN, SCALED

__all__ = ["GRID", "RobustnessChoice", "choose_robustness"]

#: What is tried, by constant; all combinations are.
GRID: Mapping[str, tuple[float, ...]] = {
    "heaviest": (1.5, 2.0, 3.0),
    "loudest": (1.5,),
    "least_agreement": (-0.3, -0.2),
    "full_agreement": (0.0, 0.2),
    "beta": (0.25, 0.3, 0.35, 0.45),
}
_MEMBERS = 10
#: (silos, how many of them are poisoned).
_SIZES = ((10, 2), (5, 1))
_DRAWS = 2
_FIFTH = 0.2
#: Apart from those of ``simulations.combination_recipe``.
_FIRST_SEED = 2000
#: What an attacker multiplies: the release's weights, and its counts.
_ATTACKS = ((1.0, 1.0), (SCALED, 1.0), (1.0, INFLATED))
_LEAST_CHANCE = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class RobustnessChoice:
    """What the rule chose.

    Attributes:
        robustness: the setting.
        losses: each setting, and its mean log-loss without poisoned silos and with.
        plain: the same of the plain mean.
    """

    robustness: Robustness
    losses: Sequence[tuple[Robustness, float, float]]
    plain: tuple[float, float]


def choose_robustness(consortia: int = 18, on_consortium: Callable[[int, int], None] | None = None) -> RobustnessChoice:
    """Train the consortia, score the grid, and apply the rule.

    Args:
        consortia: how many, of ten silos.
        on_consortium: told (done, in all).
    """
    rules = _rules()
    losses_cr2 = np.empty((consortia, len(rules) + 1, 2))
    schema, budget = load_library_schema("heart"), Budget(epsilon=1.0, delta=1e-4)
    for number in range(consortia):
        seed = _FIRST_SEED + number
        trained = train_silos(schema, synthetic_silos(schema, seed, silos=_MEMBERS), seed, budget)
        losses_cr2[number] = _losses(trained, [*rules, PLAIN], seed)
        if on_consortium:
            on_consortium(number + 1, consortia)
    means_r2 = losses_cr2.mean(axis=0)
    best = int(means_r2[:-1].sum(axis=1).argmin())
    scored = [(rule, float(clean), float(poisoned)) for rule, (clean, poisoned) in zip(rules, means_r2, strict=False)]
    return RobustnessChoice(
        robustness=rules[best], losses=scored, plain=(float(means_r2[-1, 0]), float(means_r2[-1, 1]))
    )


def _rule(heaviest: float, loudest: float, least: float, full: float, beta: float) -> Robustness:
    return Robustness(heaviest=heaviest, loudest=loudest, least_agreement=least, full_agreement=full, beta=beta)


def _rules() -> list[Robustness]:
    rules = itertools.starmap(_rule, itertools.product(*GRID.values()))
    return [rule for rule in rules if _bounds_a_fifth(rule)]


def _bounds_a_fifth(rule: Robustness) -> bool:
    """Whether a fifth of the experts, each as heavy as may be, hold less than beta where the others weigh the same."""
    return _FIFTH * rule.heaviest / (_FIFTH * rule.heaviest + 1.0 - _FIFTH) < rule.beta


def _losses(trained: TrainedConsortium, rules: Sequence[Robustness], seed: int) -> NDArray[np.float64]:
    """Of one consortium, each rule's log-loss without poisoned silos and with, [rules, 2]."""
    panel = Panel.of(trained.experts, trained.guarantees, PLAIN)
    public_inC = panel.evidence(public_records(trained.schema)).log_odds_inC
    together = panel.evidence([own.features for own in trained.held_out])
    labels_n = np.array([own.label for own in trained.held_out])
    silo_n = np.repeat(np.arange(_MEMBERS), [len(part.held_out) for part in trained.splits.values()])
    random = np.random.default_rng([seed, 3])
    found: list[NDArray[np.float64]] = []
    for silos, poisoned in _SIZES * _DRAWS:
        members = random.permutation(_MEMBERS)[:silos]
        rows_n = np.isin(silo_n, members[poisoned:])
        priors_nC = np.array([expert.prior for expert in trained.experts])[silo_n[rows_n]]
        losses = [
            [_loss(evidence, labels_n[rows_n], priors_nC, rule) for rule in rules]
            for evidence in (
                _attacked(together, public_inC, rows_n, members, count, times)
                for count, times in [(0, (1.0, 1.0)), *[(poisoned, times) for times in _ATTACKS]]
            )
        ]
        clean_r, *attacked_r = np.array(losses)
        found.append(np.column_stack([clean_r, np.mean(attacked_r, axis=0)]))
    mean_r2: NDArray[np.float64] = np.mean(found, axis=0)
    return mean_r2


def _attacked(  # noqa: PLR0913, PLR0917 - a consortium and what becomes of it
    together: Evidence,
    public_inC: NDArray[np.float64],
    rows_n: NDArray[np.bool_],
    members: NDArray[np.int64],
    poisoned: int,
    times: tuple[float, float],
) -> Evidence:
    """The evidence of some members on some records, the first ones' flipped and multiplied."""
    said_inC, public_inC = together.log_odds_inC[members][:, rows_n], public_inC[members]
    counts_iC, sizes_i = together.counts_iC[members].copy(), together.sizes_i[members].copy()
    for own_inC in (said_inC, public_inC):
        own_inC[:poisoned] = times[0] * own_inC[:poisoned, :, ::-1]
    counts_iC[:poisoned] = times[1] * counts_iC[:poisoned, ::-1]
    sizes_i[:poisoned] *= times[1]
    return Evidence(said_inC, sizes_i, together.noises_i[members], counts_iC, public_inC)


def _loss(evidence: Evidence, labels_n: NDArray[np.int64], priors_nC: NDArray[np.float64], rule: Robustness) -> float:
    weighed = evidence.weighed(robustness=rule)
    rows_n = np.arange(len(labels_n))
    chances = [evidence.combined(prior, weighed=weighed)[rows_n, labels_n] for prior in (priors_nC, None)]
    return float(-np.log(np.maximum(chances, _LEAST_CHANCE)).mean())
