r"""What an attack on releases proves about their privacy: lower bounds on epsilon, as pure mathematics.

An audit plays a game. Each of m canaries (records) is put into a training or left out by a fair coin of its own; an
attacker sees the release, says of some canaries "in" or "out", and keeps silent on the others. Privacy limits how often
it is right, so one that is right too often refutes the claim. Leaving out and putting in are the two directions of
add/remove adjacency, and a guess tests both. Nothing here assumes anything of the attacker or of the training: a weak
attack proves little, and never something false.

Two bounds, each valid for any number of trainings with coins of their own, since trainings together are a mechanism in
which a canary still takes part once (docs/audit.md has the derivations):

- ``epsilon_lower_bound``, of r guesses of which v were right, at a given delta (Steinke, Nasr, Jagielski,
  arXiv 2305.08846v1, the theorem with delta). If the training is (epsilon, delta)-DP, then with
  W ~ Binomial(r, 1/(1+e^-epsilon))

      P[right guesses >= v] <= P[W >= v] + 2 m delta max_{i=1..m} (P[W >= v - i] - P[W >= v]) / i.

  r must be fixed before the releases are seen.
- ``advantage_lower_bound``, of the shares of canaries that were guessed right in several trainings. A coin is guessed
  right with probability at most (1 + advantage) / 2, where the advantage is the distance in total variation between
  the releases with and without a canary: delta at epsilon 0. Betting on a larger share in training after training is a
  supermartingale, and that it ever multiplies the stake by 1/alpha has probability alpha at most (Waudby-Smith and
  Ramdas, arXiv 2010.09686, betting). It needs tens of trainings.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from llamdex_fl.errors import InputError
from llamdex_fl.privacy.accounting import certified_epsilon
from llamdex_fl.privacy.guarantee import Mechanism

__all__ = ["advantage_lower_bound", "certified_advantage", "epsilon_lower_bound", "epsilon_of_advantage", "p_value"]

#: Bounds are found to this width, and rounded down.
_WIDTH = 1e-6
_ADVANTAGE_WIDTH = 1e-3
#: Beyond this no number of guesses proves anything, and its exponential still is a number.
_LARGEST_EPSILON = 200.0
#: Shares of the stake that are bet, each on an account of its own.
_STAKES = np.array([0.25, 0.5, 0.75, 1.0])


def p_value(*, canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """The probability, at most, of so many right guesses against an (epsilon, delta)-DP training.

    Args:
        canaries: m, coins that were thrown, in all trainings together.
        guesses: r, of which the number was fixed before.
        correct: v, guesses that were right.
        epsilon: at least 0, of the claim that is tested.
        delta: of that claim, from 0 to 1.

    Returns:
        The right-hand side of the theorem above, at most 1.

    Raises:
        InputError: not 0 <= correct <= guesses <= canaries, or epsilon or delta out of range.
    """
    _require_game(canaries, guesses, correct, delta)
    if not epsilon >= 0.0:
        raise _wrong("epsilon", "a number of at least 0", epsilon)
    chance = 1.0 / (1.0 + math.exp(-epsilon))
    right = float(binom.sf(correct - 1, guesses, chance))
    if delta == 0.0 or correct == 0:
        return min(right, 1.0)
    # P[v - i <= W < v] for i = 1..v; from i = v on it grows no more, so larger i cannot be the maximum.
    below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, chance))
    spread = float((below / np.arange(1, correct + 1)).max())
    return min(right + 2.0 * canaries * delta * spread, 1.0)


def epsilon_lower_bound(*, canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95) -> float:
    """An epsilon that the training's true epsilon at ``delta`` is not below, with some confidence.

    Args:
        canaries: m, coins that were thrown, in all trainings together.
        guesses: r, of which the number was fixed before.
        correct: v, guesses that were right.
        delta: at which epsilon is bounded, from 0 to 1.
        confidence: the probability, at least, that the bound holds; above 0 and below 1.

    Returns:
        The bound; 0 where the guesses prove nothing.

    Raises:
        InputError: not 0 <= correct <= guesses <= canaries, or a number out of range.
    """
    _require_game(canaries, guesses, correct, delta)
    alpha = 1.0 - _require_confidence(confidence)

    def refuted(epsilon: float) -> bool:
        return p_value(canaries=canaries, guesses=guesses, correct=correct, epsilon=epsilon, delta=delta) <= alpha

    # A training that is (a, delta)-DP is (b, delta)-DP for b > a: whatever is refuted refutes all below it, so the
    # bisection's low end is a bound even where the p-value were not monotone.
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, _LARGEST_EPSILON
    while high - low > _WIDTH:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def advantage_lower_bound(correct_shares: Sequence[float], *, confidence: float = 0.95) -> float:
    """An advantage that no training was below in the mean, from what was guessed right in each.

    Args:
        correct_shares: for each training, in order, the share of its canaries that was guessed right, 0 to 1; a
            canary of which nothing was said counts one half.
        confidence: the probability, at least, that the bound holds; above 0 and below 1.

    Returns:
        The bound, 0 to 1; 0 where the guesses prove nothing.

    Raises:
        InputError: a share or the confidence is out of range.
    """
    alpha = 1.0 - _require_confidence(confidence)
    shares_r = np.array(correct_shares, np.float64)
    if not bool(((shares_r >= 0.0) & (shares_r <= 1.0)).all()):
        raise _wrong("correct_shares", "numbers from 0 to 1", "others")
    low, high = 0.5, 1.0
    if _wealth(shares_r, low) < 1.0 / alpha:
        return 0.0
    while high - low > _WIDTH:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _wealth(shares_r, middle) >= 1.0 / alpha else (low, middle)
    return 2.0 * low - 1.0


def _wealth(shares_r: NDArray[np.float64], mean: float) -> float:
    """The most that a stake of 1 ever grows to, if it is bet on shares above ``mean``; falls as ``mean`` grows."""
    gains_rs = 1.0 + (shares_r[:, None] / mean - 1.0) * _STAKES
    wealth_r = np.cumprod(gains_rs, axis=0).mean(axis=1)
    return float(wealth_r.max(initial=1.0))


def epsilon_of_advantage(advantage: float, delta: float) -> float:
    """The least epsilon at ``delta`` with which an attacker can have an advantage.

    It solves advantage = (e^epsilon - 1 + 2 delta) / (e^epsilon + 1), the largest that (epsilon, delta)-DP in both
    directions allows: where the lines of the two directions' trade-off cross.

    Args:
        advantage: 0 to 1.
        delta: 0 to 1.

    Returns:
        Epsilon, at least 0; ``inf`` for an advantage of 1 and a delta below 1.
    """
    if advantage <= delta:
        return 0.0
    if advantage >= 1.0:
        return math.inf
    return max(0.0, math.log((1.0 + advantage - 2.0 * delta) / (1.0 - advantage)))


def certified_advantage(mechanisms: Sequence[Mechanism]) -> float:
    """The advantage, at most, that mechanisms leave to an attacker: their certified delta at epsilon 0.

    Args:
        mechanisms: run one after another on the same records.

    Returns:
        A number from 0 to 1, at most 1e-3 above the certificate and never below it.

    Raises:
        InputError: a parameter is outside what the mechanisms are defined for.
    """
    return _advantage(tuple(mechanisms))


@lru_cache(maxsize=64)
def _advantage(mechanisms: tuple[Mechanism, ...]) -> float:
    low, high = 0.0, 1.0
    while high - low > _ADVANTAGE_WIDTH:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if certified_epsilon(mechanisms, middle) <= 0.0 else (middle, high)
    return high


def _require_game(canaries: int, guesses: int, correct: int, delta: float) -> None:
    if not 0 <= correct <= guesses <= canaries:
        raise _wrong("guesses", "0 <= correct <= guesses <= canaries", f"{correct}, {guesses}, {canaries}")
    if not 0.0 <= delta <= 1.0:
        raise _wrong("delta", "a number from 0 to 1", delta)


def _require_confidence(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise _wrong("confidence", "a number above 0 and below 1", confidence)
    return confidence


def _wrong(what: str, expected: str, got: object) -> InputError:
    return InputError(
        f"The audit's {what} cannot be used.", expected=expected, got=str(got), next_step="mend what was given"
    )
