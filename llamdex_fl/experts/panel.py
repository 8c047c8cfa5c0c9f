"""Experts of one schema that are asked together, again and again: what does not depend on the question, done once.

Experts of tables with one architecture are one matrix: a record is coded once for all of them, and one product has what
all of them say. Experts of texts share the pass through the frozen layers (``TextBase.recent``). Legend: i experts; n
records, C classes, D codes, P public records.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from llamdex_fl.experts.architecture import code_records
from llamdex_fl.experts.evidence import (
    CombinationRecipe,
    Evidence,
    Robustness,
    Weighed,
    combination_recipe,
    precisions,
    sizes_and_noises,
)
from llamdex_fl.experts.expert import Expert
from llamdex_fl.experts.linear_expert import LinearExpert
from llamdex_fl.experts.robust import agreements
from llamdex_fl.privacy import Guarantee
from llamdex_fl.schema import Schema, Value

__all__ = ["Panel", "disagreement", "public_records"]

_PUBLIC_RECORDS = 256
#: Fewer experts of an architecture are asked one by one, which gives the last bit of what each says alone.
_FEWEST_STACKED = 5
_SAID: WeakKeyDictionary[Expert, NDArray[np.float64]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Panel:
    """Several experts of one schema; made by ``of``.

    Attributes:
        experts, guarantees: in the same order.
        sizes_i, noises_i: e_i and s_i of the formula, in records.
        robustness: what is done against poisoned experts.
    """

    experts: tuple[Expert, ...]
    guarantees: tuple[Guarantee, ...]
    sizes_i: NDArray[np.float64]
    noises_i: NDArray[np.float64]
    robustness: Robustness

    @classmethod
    def of(
        cls, experts: Sequence[Expert], guarantees: Sequence[Guarantee], robustness: Robustness | None = None
    ) -> "Panel":
        """Put experts together; with another robustness than the project's, only to compare.

        Raises:
            InputError: no expert, not one guarantee each, or different schemas.
        """
        sizes_i, noises_i = sizes_and_noises(experts, guarantees)
        return cls(tuple(experts), tuple(guarantees), sizes_i, noises_i, robustness or Robustness())

    @property
    def schema(self) -> Schema:
        """Of all of them."""
        return self.experts[0].schema

    @property
    def recipe(self) -> CombinationRecipe:
        """The constants that the panel answers with."""
        return combination_recipe(self.schema)

    def evidence(self, records: Sequence[Mapping[str, Value]]) -> Evidence:
        """What every expert says about every record.

        Raises:
            RecordError: a record does not fit the schema.
        """
        return Evidence(self._log_odds(records), self.sizes_i, self.noises_i, self.counts_iC, self._public_inC)

    def combined(
        self, records: Sequence[Mapping[str, Value]], prior: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """The classes' probabilities, [n, C], as all experts together see them; ``combine`` has the arguments.

        Raises:
            InputError: a prior that is no distribution.
            RecordError: a record does not fit the schema.
        """
        return self.evidence(records).combined(prior, self.recipe, weighed=self.weighed)

    @cached_property
    def weighed(self) -> Weighed:
        """The experts' weights, and the pooled shares of the classes."""
        precisions_i = precisions(self.sizes_i, self.noises_i, self.recipe)
        return Weighed.of(precisions_i, self.counts_iC, self._public_inC, self.robustness)

    @cached_property
    def counts_iC(self) -> NDArray[np.float64]:  # noqa: N802 - shape suffix
        """The experts' class counts."""
        return np.array([expert.class_counts_C for expert in self.experts])

    @cached_property
    def _public_inC(self) -> NDArray[np.float64] | None:  # noqa: N802 - shape suffix
        """What the experts say of public records; None where they are too few to be compared."""
        if len(self.experts) < self.robustness.least_experts:
            return None
        return self._log_odds(public_records(self.schema))

    def agreement(self, records: Sequence[Mapping[str, Value]]) -> NDArray[np.float64]:
        """Correlation over some records of each expert's evidence with the mean of all others that are heard, [i].

        Raises:
            RecordError: a record does not fit the schema.
        """
        weighed = self.weighed
        return agreements(self._log_odds(records) * weighed.scales_i[:, None, None], weighed.weights_i)

    def _log_odds(self, records: Sequence[Mapping[str, Value]]) -> NDArray[np.float64]:
        """Each expert's log-odds of each record, its own prior taken off, [i, n, C]."""
        found_inC = np.empty((len(self.experts), len(records), len(self.schema.target.labels)))
        public = records is public_records(self.schema)
        for architecture, (places, weight_KD, bias_K) in self._stacks.items():
            codes_nD = code_records(architecture, self.schema, records)
            if len(places) < _FEWEST_STACKED:
                for place in places:
                    found_inC[place] = self._linear[place].log_odds_of(codes_nD)
                continue
            logits_niC = (codes_nD.astype(np.float64) @ weight_KD.T + bias_K).reshape(len(records), len(places), -1)
            found_inC[places] = (logits_niC - logits_niC.mean(axis=2, keepdims=True)).transpose(1, 0, 2)
        for place, expert in enumerate(self.experts):
            if place not in self._linear:
                found_inC[place] = _said_of_public(expert) if public else expert.log_odds(records)
        found_inC -= self._log_priors_iC[:, None, :]
        return found_inC

    @cached_property
    def _stacks(self) -> Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]:
        """By architecture of tables: places of its experts, and their weights and biases, K = experts x classes."""
        places: dict[str, list[int]] = {}
        for place, expert in self._linear.items():
            places.setdefault(expert.architecture, []).append(place)
        stacks = {}
        for architecture, own in places.items():
            linear = [self._linear[place] for place in own]
            weight_KD = np.concatenate([expert.weight_CD for expert in linear])
            stacks[architecture] = (np.array(own), weight_KD, np.concatenate([expert.bias_C for expert in linear]))
        return stacks

    @cached_property
    def _linear(self) -> Mapping[int, LinearExpert]:
        """Experts of tables, by place."""
        return {place: expert for place, expert in enumerate(self.experts) if isinstance(expert, LinearExpert)}

    @cached_property
    def _log_priors_iC(self) -> NDArray[np.float64]:  # noqa: N802 - shape suffix
        """Of each expert, centred."""
        logarithms_iC: NDArray[np.float64] = np.log(np.array([expert.prior for expert in self.experts]))
        centred_iC: NDArray[np.float64] = logarithms_iC - logarithms_iC.mean(axis=1, keepdims=True)
        return centred_iC


def disagreement(
    experts: Sequence[Expert],
    guarantees: Sequence[Guarantee],
    records: Sequence[Mapping[str, Value]] | None = None,
) -> NDArray[np.float64]:
    """How far each expert is from what the others say, [i]: 0 the same ranking of the records, 2 the opposite one.

    One less the correlation of its evidence with the mean of all others that are heard, so the scale of its weights
    does not show. An expert of nothing but noise is near 1, give or take .3 on tables; well beyond 1 it contradicts the
    others. Below five experts it says little.

    Args:
        experts: as of ``combine``.
        guarantees: as of ``combine``.
        records: on which they are compared; None for ``public_records`` of their schema. No private record has a place
            here.

    Raises:
        InputError: no expert, not one guarantee each, or different schemas.
        RecordError: a record does not fit the schema.
    """
    panel = Panel.of(experts, guarantees)
    distances: NDArray[np.float64] = 1.0 - panel.agreement(public_records(panel.schema) if records is None else records)
    return distances


def _said_of_public(expert: Expert) -> NDArray[np.float64]:
    """What an expert that is slow to ask says of the public records, asked once: it sits in many panels, one by one."""
    if expert not in _SAID:
        _SAID[expert] = expert.log_odds(public_records(expert.schema))
    return _SAID[expert]


@lru_cache(maxsize=32)
def public_records(schema: Schema) -> tuple[Mapping[str, Value], ...]:
    """Records drawn from a schema alone, always the same: every number and every category of a range as likely.

    Of a schema of texts, the made-up texts that come with the project.
    """
    if schema.is_text:
        (feature,) = schema.features
        lines = files("llamdex_fl.experts").joinpath("public_texts.txt").read_text(encoding="utf-8").splitlines()
        return tuple({feature.name: line} for line in lines)
    random = np.random.default_rng(0)
    columns = {
        feature.name: (
            random.choice(feature.categories, _PUBLIC_RECORDS).tolist()
            if feature.is_category
            else random.uniform(*feature.low_high(), _PUBLIC_RECORDS).tolist()
        )
        for feature in schema.features
    }
    return tuple(dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
