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

K, A, G and T were chosen by log-loss on synthetic consortia drawn from the schema (docs/adr/0004-expert-recipe.md), not
on any silo's records.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.errors import InputError
from llamdex_fl.experts.expert import Expert, log_softmax
from llamdex_fl.privacy import Guarantee, SampledGaussian
from llamdex_fl.schema import Value

__all__ = ["combine", "pooled_prior", "voices"]

_NOISE_WEIGHT = 1.5  # K
_SILENCE = 80.0  # A, in records
_GAIN = 3.0  # G
_SITE = 0.6  # T


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
    weights_i = _precisions(experts, guarantees)
    classes = len(experts[0].schema.target.labels)
    evidence_nC = np.zeros((len(records), classes))
    for weight, expert in zip(weights_i, experts, strict=True):
        evidence_nC += weight * (expert.log_odds(records) - _centred_log(expert.prior))
    evidence_nC *= _GAIN / (weights_i.sum() + _SILENCE)
    pooled_C = pooled_prior(experts)
    shares = pooled_C if prior is None else _require_prior(prior, len(records), classes)
    log_prior = _SITE * np.log(shares) + (1.0 - _SITE) * np.log(pooled_C)
    probabilities: NDArray[np.float64] = np.exp(log_softmax(evidence_nC + log_prior))
    return probabilities


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
    weights_i = _precisions(experts, guarantees)
    shares: NDArray[np.float64] = weights_i / weights_i.sum()
    return shares


def _precisions(experts: Sequence[Expert], guarantees: Sequence[Guarantee]) -> NDArray[np.float64]:
    if not experts or len(experts) != len(guarantees):
        raise _wrong("at least one expert and one guarantee each", f"{len(experts)} and {len(guarantees)}")
    digests = {expert.schema.digest() for expert in experts}
    if len(digests) != 1:
        raise _wrong("experts of one schema", f"{len(digests)} schemas")
    return np.array([_precision(expert, guarantee) for expert, guarantee in zip(experts, guarantees, strict=True)])


def _precision(expert: Expert, guarantee: Guarantee) -> float:
    records = float(expert.class_counts_C.sum())
    size = records * (1.0 - float((expert.prior**2).sum())) / 2.0
    return size * size / (size + _NOISE_WEIGHT * _noise_in_records(guarantee) ** 2)


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
