"""What several experts say, and how it becomes one answer; ``llamdex_fl.experts.combine`` has the formula.

Legend: i experts; n records, C classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import InputError
from llamdex_fl.experts.expert import Expert, log_softmax
from llamdex_fl.experts.robust import largest_share, levelled, moved_in_mean
from llamdex_fl.privacy import Guarantee, SampledGaussian
from llamdex_fl.schema import Schema

__all__ = [
    "CombinationRecipe",
    "Evidence",
    "Robustness",
    "Weighed",
    "combination_error",
    "combination_recipe",
    "pooled_shares",
    "sizes_and_noises",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class CombinationRecipe:
    """The four constants of the formula.

    Attributes:
        noise_weight: K, how much the known noise of DP-SGD counts against an expert.
        silence: A, the precision of "no evidence", in records.
        gain: G, on the averaged evidence.
        site: T, the strength of the asker's own shares of the classes, 0 to 1.
    """

    noise_weight: float = 1.5
    silence: float = 40.0
    gain: float = 2.0
    site: float = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class Robustness:
    """How a minority of poisoned experts is kept from carrying the answer.

    Attributes:
        least_experts: with fewer, one poisoned expert could not be told from the others, and all are averaged.
        poisoned: the share of the experts that may be poisoned, whichever they are; rounded down to experts.
        level: the share of all weight that so many experts hold at most.
        trim: evidence is moved to the quantiles at ``trim`` and 1 - ``trim`` if it lies beyond them; above ``level``.
        least_agreement: an expert is not heard whose evidence on public records agrees less with what all say.
        full_agreement: from here on it is heard in full; in between in part.
    """

    least_experts: int = 5
    poisoned: float = 0.2
    level: float = 0.3
    trim: float = 0.35
    least_agreement: float = -0.2
    full_agreement: float = 0.2

    def may_be_poisoned(self, experts: int) -> int:
        """How many of so many experts may be poisoned; 0 where they are too few to outvote one."""
        return int(self.poisoned * experts + 1e-9) if experts >= self.least_experts else 0


_TABLES = CombinationRecipe()
#: Not yet chosen for texts: ``llamdex-sim combination-recipe --data synthetic-texts`` does it.
_TEXTS = _TABLES
_ROBUSTNESS = Robustness()
#: So far an expert is heard that is needed to outvote others, however little it agrees.
_LEAST_HEARD = 0.1


def combination_recipe(schema: Schema) -> CombinationRecipe:
    """The project's own constants for records of a schema: tables' experts, and texts', are trained differently."""
    return _TEXTS if schema.is_text else _TABLES


@dataclass(frozen=True, slots=True)
class Weighed:
    """Experts' weights in the combination.

    Attributes:
        weights_i: a_i, in records, levelled where there are enough experts; 0 where one is not heard.
        total: W, in records: the levelled weights' sum before anybody is heard less, or one that contradicts would
            silence all.
        heard_i: how far each is heard for its agreement with the others, 0 to 1.
        poisoned: how many experts, whichever they are, are outvoted.
        trim: of ``Robustness``; 0 where there are too few experts.
    """

    weights_i: NDArray[np.float64]
    total: float
    heard_i: NDArray[np.float64]
    poisoned: int
    trim: float

    @classmethod
    def of(
        cls,
        precisions_i: NDArray[np.float64],
        agreements_i: NDArray[np.float64] | None = None,
        robustness: Robustness = _ROBUSTNESS,
    ) -> "Weighed":
        """Level the weights; with agreements, less for experts that contradict the others."""
        count = robustness.may_be_poisoned(len(precisions_i))
        heard_i = np.ones(len(precisions_i))
        if not count:
            return cls(precisions_i, float(precisions_i.sum()), heard_i, 0, 0.0)
        if agreements_i is not None:
            heard_i = _heard(agreements_i, count, robustness)
        total = float(levelled(precisions_i, count, robustness.level).sum())
        weights_i = levelled(precisions_i * heard_i, count, robustness.level)
        return cls(weights_i, total, heard_i, count, robustness.trim)

    def mean(self, values_inC: NDArray[np.float64]) -> NDArray[np.float64]:
        """The experts' mean, what lies far out moved in."""
        if not self.poisoned:
            mean: NDArray[np.float64] = np.tensordot(self.weights_i / self.weights_i.sum(), values_inC, 1)
            return mean
        return moved_in_mean(values_inC, self.weights_i, self.trim)

    def reach(self, values_inC: NDArray[np.float64], poisoned: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The least and the greatest ``mean`` there could be, had any ``poisoned`` of the experts said anything else.

        Args:
            values_inC: what the experts say.
            poisoned: how many of them are not believed. Weights are taken as they are.

        Raises:
            InputError: they hold more weight than is moved in at an end: the mean could be anything.
        """
        share = largest_share(self.weights_i, poisoned) if poisoned else 0.0
        if share >= self.trim > 0.0 or (share and not self.poisoned):
            raise combination_error(f"less than {self.trim:.3f} of the weight with those experts", f"{share:.3f}")
        low_nC = moved_in_mean(values_inC, self.weights_i, self.trim, -share)
        return low_nC, moved_in_mean(values_inC, self.weights_i, self.trim, share)


def _heard(agreements_i: NDArray[np.float64], count: int, robustness: Robustness) -> NDArray[np.float64]:
    """How far each expert is heard, 0 to 1."""
    width = robustness.full_agreement - robustness.least_agreement
    heard_i = np.clip((agreements_i - robustness.least_agreement) / width, 0.0, 1.0)
    # Of those that agree best, so many are heard that ``count`` of them can be held to their level.
    enough = math.ceil(count / robustness.level - 1e-9)
    best = np.argsort(-agreements_i, kind="stable")[:enough]
    heard_i[best] = np.maximum(heard_i[best], _LEAST_HEARD)
    return heard_i


@dataclass(frozen=True, slots=True)
class Evidence:
    """What several experts of one schema say about n records, before it is combined.

    Attributes:
        log_odds_inC: of each expert, each record and class, the expert's own prior taken off.
        sizes_i: e_i, in records.
        noises_i: s_i, in records.
        pooled_C: ``pooled_prior``.
        agreements_i: with the others, -1 to 1; None where there are too few to say.
    """

    log_odds_inC: NDArray[np.float64]
    sizes_i: NDArray[np.float64]
    noises_i: NDArray[np.float64]
    pooled_C: NDArray[np.float64]
    agreements_i: NDArray[np.float64] | None = None

    def weighed(self, recipe: CombinationRecipe = _TABLES, robustness: Robustness = _ROBUSTNESS) -> Weighed:
        """The experts' weights under some constants."""
        return Weighed.of(precisions(self.sizes_i, self.noises_i, recipe), self.agreements_i, robustness)

    def combined(
        self,
        prior: NDArray[np.float64] | None = None,
        recipe: CombinationRecipe = _TABLES,
        robustness: Robustness = _ROBUSTNESS,
        weighed: Weighed | None = None,
    ) -> NDArray[np.float64]:
        """The classes' probabilities, [n, C].

        Args:
            prior: as of ``combine``.
            recipe: the formula's constants.
            robustness: what is done against poisoned experts.
            weighed: ``weighed()`` with the same constants, where it is at hand.
        """
        weighed = weighed or self.weighed(recipe, robustness)
        loudness = recipe.gain * weighed.total / (weighed.total + recipe.silence)
        evidence_nC = weighed.mean(self.log_odds_inC) * loudness
        _, records, classes = self.log_odds_inC.shape
        shares = self.pooled_C if prior is None else _require_prior(prior, records, classes)
        log_prior = recipe.site * np.log(shares) + (1.0 - recipe.site) * np.log(self.pooled_C)
        probabilities: NDArray[np.float64] = np.exp(log_softmax(evidence_nC + log_prior))
        return probabilities


def precisions(
    sizes_i: NDArray[np.float64], noises_i: NDArray[np.float64], recipe: CombinationRecipe
) -> NDArray[np.float64]:
    """a_i of the formula."""
    found: NDArray[np.float64] = sizes_i * sizes_i / (sizes_i + recipe.noise_weight * noises_i**2)
    return found


def pooled_shares(
    experts: Sequence[Expert], heard_i: NDArray[np.float64] | None = None, robustness: Robustness = _ROBUSTNESS
) -> NDArray[np.float64]:
    """The classes' shares over the records of all silos, [C].

    From ``least_experts`` on, no minority of them moves the shares beyond what the others say.

    Args:
        experts: at least one.
        heard_i: how far each is heard; None for all alike.
        robustness: as of the evidence.
    """
    counts_iC = np.array([expert.class_counts_C for expert in experts])
    totals_i = counts_iC.sum(axis=1)
    weighed = Weighed.of(totals_i if heard_i is None else totals_i * heard_i, robustness=robustness)
    shares_C = weighed.mean(counts_iC / totals_i[:, None])
    pooled: NDArray[np.float64] = shares_C / shares_C.sum()
    return pooled


def sizes_and_noises(
    experts: Sequence[Expert], guarantees: Sequence[Guarantee]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """e_i and s_i of the formula, in records.

    Raises:
        InputError: no expert, not one guarantee each, or different schemas.
    """
    if not experts or len(experts) != len(guarantees):
        raise combination_error("at least one expert and one guarantee each", f"{len(experts)} and {len(guarantees)}")
    # Of one object as a rule, and a digest takes milliseconds.
    schemas = {id(expert.schema): expert.schema for expert in experts}
    digests = {schema.digest() for schema in schemas.values()} if len(schemas) > 1 else schemas.keys()
    if len(digests) != 1:
        raise combination_error("experts of one schema", f"{len(digests)} schemas")
    counts_iC = np.array([expert.class_counts_C for expert in experts])
    totals_i = counts_iC.sum(axis=1)
    sizes_i = totals_i * (1.0 - ((counts_iC / totals_i[:, None]) ** 2).sum(axis=1)) / 2.0
    return sizes_i, np.array([_noise_in_records(guarantee) for guarantee in guarantees])


def _noise_in_records(guarantee: Guarantee) -> float:
    """Standard deviation of DP-SGD's noise on the mean of all steps' gradients, in clipped gradients of one record.

    Independent noise of several runs adds up; an expert without DP-SGD has none.
    """
    gaussians = [m for m in guarantee.mechanisms if isinstance(m, SampledGaussian)]
    if not gaussians:
        return 0.0
    steps = sum(m.steps for m in gaussians)
    total = sum(m.steps * (m.noise_multiplier / m.sampling_rate) ** 2 for m in gaussians)
    return math.sqrt(total) / steps


def _require_prior(prior: NDArray[np.float64], records: int, classes: int) -> NDArray[np.float64]:
    shares = np.asarray(prior, np.float64)
    if shares.shape not in {(classes,), (records, classes)}:
        raise combination_error(f"a prior of shape ({classes},) or ({records}, {classes})", str(shares.shape))
    if not (bool((shares > 0.0).all()) and np.allclose(shares.sum(axis=-1), 1.0, atol=1e-6)):
        raise combination_error("a prior above 0 whose rows sum to 1", "another")
    return shares


def combination_error(expected: str, got: str) -> InputError:
    """What is raised where experts cannot be combined."""
    return InputError(
        "These experts cannot be combined.", expected=expected, got=got, next_step="mend what is handed to combine"
    )
