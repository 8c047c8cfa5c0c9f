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
from llamdex_fl.experts.robust import between_quantiles, capped, heard, largest_share, quantiles, spreads
from llamdex_fl.privacy import Guarantee, SampledGaussian
from llamdex_fl.schema import Schema

__all__ = [
    "CombinationRecipe",
    "Evidence",
    "Robustness",
    "Weighed",
    "combination_error",
    "combination_recipe",
    "precisions",
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
        heaviest: how many times the middle expert's weight an expert weighs at most; so with its class counts.
        loudest: how many times further than the middle expert's an expert's evidence may be spread.
        least_agreement: an expert whose evidence on public records agrees less with the others' is not heard.
        full_agreement: from here on it is heard in full; in between in part.
        beta: a mean beyond the experts' quantiles at ``beta`` and 1 - ``beta`` is moved to them: experts that hold
            less of the weight cannot carry the answer.
    """

    least_experts: int = 5
    heaviest: float = 1.5
    loudest: float = 1.5
    least_agreement: float = -0.3
    full_agreement: float = 0.2
    beta: float = 0.3


_TABLES = CombinationRecipe()
#: Not yet chosen for texts: ``llamdex-sim combination-recipe --data synthetic-texts`` does it.
_TEXTS = _TABLES
_ROBUSTNESS = Robustness()


def combination_recipe(schema: Schema) -> CombinationRecipe:
    """The project's own constants for records of a schema: tables' experts, and texts', are trained differently."""
    return _TEXTS if schema.is_text else _TABLES


@dataclass(frozen=True, slots=True)
class Weighed:
    """Experts' weights in the combination.

    Attributes:
        weights_i: a_i, in records; from ``least_experts`` on capped, and less, or 0, for one that is heard less.
        heard_i: how far each is heard for its agreement with the others, 0 to 1.
        scales_i: what the evidence of each is multiplied by, 0 to 1: below 1 where it is too loud.
        pooled_C: the classes' shares over the records of all silos.
        beta: of ``Robustness``; 0 where there are too few experts.
    """

    weights_i: NDArray[np.float64]
    heard_i: NDArray[np.float64]
    scales_i: NDArray[np.float64]
    pooled_C: NDArray[np.float64]
    beta: float

    @classmethod
    def of(
        cls,
        precisions_i: NDArray[np.float64],
        counts_iC: NDArray[np.float64],
        public_inC: NDArray[np.float64] | None = None,
        robustness: Robustness = _ROBUSTNESS,
    ) -> "Weighed":
        """Weigh experts.

        Args:
            precisions_i: above 0.
            counts_iC: their class counts.
            public_inC: their evidence on public records; None hears all.
            robustness: what is done against poisoned ones.
        """
        heard_i = scales_i = np.ones(len(precisions_i))
        if len(precisions_i) < robustness.least_experts:
            pooled_C = counts_iC.sum(axis=0)
            return cls(precisions_i, heard_i, scales_i, pooled_C / pooled_C.sum(), 0.0)
        weights_i = capped(precisions_i, robustness.heaviest)
        if public_inC is not None:
            spreads_i = spreads(public_inC)
            quiet_i = capped(spreads_i, robustness.loudest)
            scales_i = np.divide(quiet_i, spreads_i, out=np.ones(len(spreads_i)), where=spreads_i > 0.0)
            said_inC = public_inC * scales_i[:, None, None]
            heard_i = heard(said_inC, weights_i, robustness.least_agreement, robustness.full_agreement)
        totals_i = counts_iC.sum(axis=1)
        shares_iC = counts_iC / totals_i[:, None]
        own_i = capped(totals_i, robustness.heaviest) * heard_i
        pooled_C = np.tensordot(own_i / own_i.sum(), shares_iC, 1)
        pooled_C = between_quantiles(pooled_C, shares_iC, own_i, robustness.beta)
        return cls(weights_i * heard_i, heard_i, scales_i, pooled_C / pooled_C.sum(), robustness.beta)

    def summed(self, values_inC: NDArray[np.float64]) -> NDArray[np.float64]:
        """W times the experts' mean, too loud ones turned down, the mean held between quantiles."""
        if not self.beta:
            plain_nC: NDArray[np.float64] = np.tensordot(self.weights_i, values_inC, 1)
            return plain_nC
        scaled_inC = values_inC * self.scales_i[:, None, None]
        total = self.weights_i.sum()
        mean_nC = np.tensordot(self.weights_i, scaled_inC, 1) / total
        summed_nC: NDArray[np.float64] = between_quantiles(mean_nC, scaled_inC, self.weights_i, self.beta) * total
        return summed_nC

    def reach(self, values_inC: NDArray[np.float64], poisoned: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The least and the greatest mean there could be, had any ``poisoned`` of the experts said anything else.

        Args:
            values_inC: what the experts say.
            poisoned: how many of them are not believed, at least one. Weights and scales are taken as they are.

        Raises:
            InputError: they hold as much weight as lies beyond a quantile: the mean could be anything.
        """
        share = largest_share(self.weights_i, poisoned)
        if share >= self.beta:
            raise combination_error(f"less than {self.beta:.3f} of the weight with those experts", f"{share:.3f}")
        scaled_inC = values_inC * self.scales_i[:, None, None]
        levels = self.beta - share, 1.0 - self.beta + share
        low_nC, high_nC = quantiles(scaled_inC, self.weights_i, levels)
        return low_nC, high_nC


@dataclass(frozen=True, slots=True)
class Evidence:
    """What several experts of one schema say about n records, before it is combined.

    Attributes:
        log_odds_inC: of each expert, each record and class, the expert's own prior taken off.
        sizes_i: e_i, in records.
        noises_i: s_i, in records.
        counts_iC: the experts' class counts.
        public_inC: as ``log_odds_inC``, of public records; None where there are too few experts to compare.
    """

    log_odds_inC: NDArray[np.float64]
    sizes_i: NDArray[np.float64]
    noises_i: NDArray[np.float64]
    counts_iC: NDArray[np.float64]
    public_inC: NDArray[np.float64] | None = None

    @property
    def pooled_C(self) -> NDArray[np.float64]:  # noqa: N802 - shape suffix
        """The classes' shares over the records of all silos."""
        return self.weighed().pooled_C

    def weighed(self, recipe: CombinationRecipe = _TABLES, robustness: Robustness = _ROBUSTNESS) -> Weighed:
        """The experts' weights under some constants."""
        precisions_i = precisions(self.sizes_i, self.noises_i, recipe)
        return Weighed.of(precisions_i, self.counts_iC, self.public_inC, robustness)

    def combined(
        self,
        prior: NDArray[np.float64] | None = None,
        recipe: CombinationRecipe = _TABLES,
        weighed: Weighed | None = None,
    ) -> NDArray[np.float64]:
        """The classes' probabilities, [n, C].

        Args:
            prior: as of ``combine``.
            recipe: the formula's constants.
            weighed: ``weighed()`` with the same constants, where it is at hand.
        """
        weighed = weighed or self.weighed(recipe)
        evidence_nC = weighed.summed(self.log_odds_inC) * recipe.gain / (weighed.weights_i.sum() + recipe.silence)
        _, records, classes = self.log_odds_inC.shape
        shares = weighed.pooled_C if prior is None else _require_prior(prior, records, classes)
        log_prior = recipe.site * np.log(shares) + (1.0 - recipe.site) * np.log(weighed.pooled_C)
        probabilities: NDArray[np.float64] = np.exp(log_softmax(evidence_nC + log_prior))
        return probabilities


def precisions(
    sizes_i: NDArray[np.float64], noises_i: NDArray[np.float64], recipe: CombinationRecipe
) -> NDArray[np.float64]:
    """a_i of the formula."""
    found: NDArray[np.float64] = sizes_i * sizes_i / (sizes_i + recipe.noise_weight * noises_i**2)
    return found


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
    sizes = [float(expert.class_counts_C.sum()) * (1.0 - float((expert.prior**2).sum())) / 2.0 for expert in experts]
    return np.array(sizes), np.array([_noise_in_records(guarantee) for guarantee in guarantees])


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
