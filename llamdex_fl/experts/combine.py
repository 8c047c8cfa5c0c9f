r"""Several experts of one schema, combined into one answer.

Each expert i answers with centred log-odds l_i(x), learned at a site whose classes have the shares p_i. What it
knows of the record, apart from how common a class is at its site, is its evidence l_i(x) - clr(log p_i). The
evidence of all is averaged, and the shares of whoever asks are put in::

    l(x) = T log p_asker + (1 - T) log p_pooled + G * sum_i a_i (l_i(x) - clr(log p_i)) / (sum_i a_i + A)
    a_i  = e_i^2 / (e_i + K s_i^2)
    e_i  = n_i (1 - sum_c p_ic^2) / 2          (two classes: n+ n- / n, about the rarer class's count)
    s_i  = sigma_i / (q_i sqrt(m_i))           (the known noise of DP-SGD, counted in records)

clr subtracts the mean over classes. n_i and p_i are noisy counts that the silo released under DP, sigma, q and m
stand in its guarantee: nothing else is asked of a silo. a_i is the precision of an estimate whose signal grows with
e_i while its variance is that of e_i records plus that of the mechanism: with little noise an expert counts by its
size, with much noise by the square of it. A is the precision of "no evidence", so few or noisy experts speak
softly; G undoes the shrinkage of single experts, which were trained with an L2 penalty. T is below 1 because sites
differ partly in their patients, and what shows in the features has been counted as evidence already.

K, A, G and T (``CombinationRecipe``) are the setting of a grid with the least log-loss on synthetic consortia drawn
from the schema; ``llamdex-sim combination-recipe`` chooses it again, and no silo's record has a part in it
(docs/adr/0004-expert-recipe.md).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import InputError
from llamdex_fl.experts.architecture import code_records
from llamdex_fl.experts.expert import Expert, log_softmax
from llamdex_fl.experts.linear_expert import LinearExpert
from llamdex_fl.privacy import Guarantee, SampledGaussian
from llamdex_fl.schema import Value

__all__ = ["CombinationRecipe", "Evidence", "combine", "pooled_prior", "voices"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CombinationRecipe:
    """The four constants of the formula above.

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


_RECIPE = CombinationRecipe()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What several experts of one schema say about n records, before it is combined.

    Attributes:
        log_odds_inC: of each expert, each record and class, the expert's own prior taken off.
        sizes_i: e_i, in records.
        noises_i: s_i, in records.
        pooled_C: ``pooled_prior``.
    """

    log_odds_inC: NDArray[np.float64]
    sizes_i: NDArray[np.float64]
    noises_i: NDArray[np.float64]
    pooled_C: NDArray[np.float64]

    @classmethod
    def gather(
        cls, experts: Sequence[Expert], guarantees: Sequence[Guarantee], records: Sequence[Mapping[str, Value]]
    ) -> "Evidence":
        """Ask every expert about every record.

        Raises:
            InputError: no expert, not one guarantee each, or different schemas.
            RecordError: a record does not fit the schema.
        """
        sizes_i, noises_i = _sizes_and_noises(experts, guarantees)
        own_i = zip(_log_odds(experts, records), experts, strict=True)
        log_odds_inC = np.array([log_odds_nC - _centred_log(expert.prior) for log_odds_nC, expert in own_i])
        return cls(log_odds_inC, sizes_i, noises_i, pooled_prior(experts))

    def combined(
        self, prior: NDArray[np.float64] | None = None, recipe: CombinationRecipe = _RECIPE
    ) -> NDArray[np.float64]:
        """The classes' probabilities, [n, C]; arguments as of ``combine``."""
        weights_i = _precisions(self.sizes_i, self.noises_i, recipe.noise_weight)
        evidence_nC = np.tensordot(weights_i, self.log_odds_inC, 1) * recipe.gain / (weights_i.sum() + recipe.silence)
        _, records, classes = self.log_odds_inC.shape
        shares = self.pooled_C if prior is None else _require_prior(prior, records, classes)
        log_prior = recipe.site * np.log(shares) + (1.0 - recipe.site) * np.log(self.pooled_C)
        probabilities: NDArray[np.float64] = np.exp(log_softmax(evidence_nC + log_prior))
        return probabilities


def combine(
    experts: Sequence[Expert],
    guarantees: Sequence[Guarantee],
    records: Sequence[Mapping[str, Value]],
    prior: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The classes' probabilities, as all experts together see them.

    Args:
        experts: at least one, all of one schema.
        guarantees: each expert's guarantee, in the same order.
        records: n records.
        prior: shares of the classes where the question comes from, [C] or one row a record [n, C]: the asker's own
            silo's ``expert.prior`` where it is known. None takes ``pooled_prior``.

    Returns:
        probabilities_nC; rows sum to 1.

    Raises:
        InputError: no expert, not one guarantee each, different schemas, or a prior that is no distribution.
        RecordError: a record does not fit the schema.
    """
    return Evidence.gather(experts, guarantees, records).combined(prior)


def pooled_prior(experts: Sequence[Expert]) -> NDArray[np.float64]:
    """The classes' noisy shares over the records of all silos, [C]: the prior for an asker whose own is unknown."""
    counts_C = np.sum([expert.class_counts_C for expert in experts], axis=0)
    shares: NDArray[np.float64] = counts_C / counts_C.sum()
    return shares


def voices(experts: Sequence[Expert], guarantees: Sequence[Guarantee]) -> NDArray[np.float64]:
    """Each expert's share in the combination; they sum to 1.

    Raises:
        InputError: as ``combine``.
    """
    weights_i = _precisions(*_sizes_and_noises(experts, guarantees), _RECIPE.noise_weight)
    shares: NDArray[np.float64] = weights_i / weights_i.sum()
    return shares


def _log_odds(experts: Sequence[Expert], records: Sequence[Mapping[str, Value]]) -> Iterator[NDArray[np.float64]]:
    """Each expert's ``log_odds``; records are coded once for all experts of an architecture."""
    codes: dict[str, NDArray[np.float32]] = {}
    for expert in experts:
        if isinstance(expert, LinearExpert):
            own = expert.architecture
            if own not in codes:
                codes[own] = code_records(own, expert.schema, records)
            yield expert.log_odds_of(codes[own])
        else:
            yield expert.log_odds(records)


def _sizes_and_noises(
    experts: Sequence[Expert], guarantees: Sequence[Guarantee]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not experts or len(experts) != len(guarantees):
        raise _wrong("at least one expert and one guarantee each", f"{len(experts)} and {len(guarantees)}")
    # Of one object as a rule: a digest takes milliseconds, and this is asked for every question.
    schemas = {id(expert.schema): expert.schema for expert in experts}
    digests = {schema.digest() for schema in schemas.values()} if len(schemas) > 1 else schemas.keys()
    if len(digests) != 1:
        raise _wrong("experts of one schema", f"{len(digests)} schemas")
    sizes = [float(expert.class_counts_C.sum()) * (1.0 - float((expert.prior**2).sum())) / 2.0 for expert in experts]
    return np.array(sizes), np.array([_noise_in_records(guarantee) for guarantee in guarantees])


def _precisions(
    sizes_i: NDArray[np.float64], noises_i: NDArray[np.float64], noise_weight: float
) -> NDArray[np.float64]:
    precisions: NDArray[np.float64] = sizes_i * sizes_i / (sizes_i + noise_weight * noises_i**2)
    return precisions


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


def _centred_log(shares_C: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithms = np.log(shares_C)
    centred: NDArray[np.float64] = logarithms - logarithms.mean()
    return centred


def _require_prior(prior: NDArray[np.float64], records: int, classes: int) -> NDArray[np.float64]:
    shares = np.asarray(prior, np.float64)
    if shares.shape not in {(classes,), (records, classes)}:
        raise _wrong(f"a prior of shape ({classes},) or ({records}, {classes})", str(shares.shape))
    if not (bool((shares > 0.0).all()) and np.allclose(shares.sum(axis=-1), 1.0, atol=1e-6)):
        raise _wrong("a prior above 0 whose rows sum to 1", "another")
    return shares


def _wrong(expected: str, got: str) -> InputError:
    return InputError(
        "These experts cannot be combined.", expected=expected, got=got, next_step="mend what is handed to combine"
    )
