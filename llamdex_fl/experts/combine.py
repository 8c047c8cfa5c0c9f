r"""Several experts of one schema, combined into one answer.

Each expert i answers with centred log-odds l_i(x), learned at a site whose classes have the shares p_i. What it
knows of the record, apart from how common a class is at its site, is its evidence l_i(x) - clr(log p_i). The
evidence of all is averaged, and the shares of whoever asks are put in::

    l(x) = T log p_asker + (1 - T) log p_pooled + G * W / (W + A) * mean_i (l_i(x) - clr(log p_i))
    W    = sum_i a_i, of which the weighted mean takes a_i / W
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

From five experts on, a minority cannot carry the answer (``Robustness``, docs/adr/0009-poisoned-experts.md). On public
records, an expert that contradicts the others is heard less or not at all, and one that is much louder than the middle
one is turned down; no expert weighs more than 1.5 times the middle one. For each record and class, the mean is then
held between two quantiles of what the experts say, so experts with less than a share of beta of the weight cannot take
it out of the range of the others' evidence, whatever they say. So it is with the pooled shares. Fewer experts are
averaged as they are: among four there is no minority to outvote.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.experts.evidence import Weighed
from llamdex_fl.experts.expert import Expert
from llamdex_fl.experts.panel import Panel
from llamdex_fl.privacy import Guarantee
from llamdex_fl.schema import Value

__all__ = ["combine", "pooled_prior", "voices"]


def combine(
    experts: Sequence[Expert],
    guarantees: Sequence[Guarantee],
    records: Sequence[Mapping[str, Value]],
    prior: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The classes' probabilities, as all experts together see them; whoever asks often keeps a ``Panel``.

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
    return Panel.of(experts, guarantees).combined(records, prior)


def pooled_prior(experts: Sequence[Expert]) -> NDArray[np.float64]:
    """The classes' noisy shares over the records of all silos, [C]: the prior for an asker whose own is unknown.

    From five experts on, few of them cannot move it beyond what the others say.
    """
    counts_iC = np.array([expert.class_counts_C for expert in experts])
    return Weighed.of(counts_iC.sum(axis=1), counts_iC).pooled_C


def voices(experts: Sequence[Expert], guarantees: Sequence[Guarantee]) -> NDArray[np.float64]:
    """Each expert's share in the combination; they sum to 1.

    Raises:
        InputError: as ``combine``.
    """
    weights_i = Panel.of(experts, guarantees).weighed.weights_i
    shares: NDArray[np.float64] = weights_i / weights_i.sum()
    return shares
