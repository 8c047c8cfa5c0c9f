"""DP-FedAvg through Flower's own strategy: its guarantee, its traffic, and that it learns."""

import numpy as np

from llamdex_fl.experts import one_against_rest
from llamdex_fl.privacy import Budget, check_guarantee
from llamdex_fl.schema import load_library_schema
from simulations.alternatives import Cohort, dp_fedavg, federated
from simulations.alternatives.dp_fedavg import _planned
from simulations.datasets import split, synthetic_silos

_BUDGET = Budget(epsilon=4.0, delta=1e-4)


def test_it_runs_repeats_and_stays_within_the_budget(small_cohort: Cohort) -> None:
    plain, site = dp_fedavg(small_cohort, _BUDGET, 1)
    assert [plain.method, site.method] == ["dp_fedavg", "dp_fedavg_site"]
    for own in (plain, site):
        assert own.spent is not None
        assert own.spent.epsilon <= 4.0
        assert (own.spent.adjacency, own.spent.unit, own.spent.table) == ("add_or_remove_one", "record", "each silo's")
        np.testing.assert_allclose(own.probabilities_mC.sum(axis=1), 1.0)
        assert own.probabilities_mC.shape == (40, 2)
    again = federated(small_cohort, _BUDGET, 1)
    np.testing.assert_array_equal(again.probabilities_mC, plain.probabilities_mC)
    # Four silos, sixty rounds, a float64 for each weight and some bytes around them.
    width = plain.bytes_sent / (4 * 60 * 2 * 8)
    assert 60 < width < 90


def test_the_guarantee_is_what_the_accountant_certifies(small_cohort: Cohort) -> None:
    for steps in (1, 5):
        plan = _planned("thermometer_linear/v1", small_cohort, _BUDGET, steps)
        assert plan.rounds * steps == plan.steps.steps
        assert check_guarantee(plan.guarantee) <= 4.0


def test_it_learns() -> None:
    schema = load_library_schema("heart")
    silos = {silo: split(records, 0) for silo, records in synthetic_silos(schema, 4).items()}
    cohort = Cohort(schema=schema, splits=silos)
    own = federated(cohort, _BUDGET, 1, local_steps=5)
    assert own.told == {"rounds": 12, "local_steps": 5}
    assert one_against_rest(own.probabilities_mC, cohort.labels_n) > 0.65


def test_another_seed_brings_another_noise(small_cohort: Cohort) -> None:
    one, other = (federated(small_cohort, _BUDGET, seed, local_steps=5) for seed in (1, 2))
    assert not np.array_equal(one.probabilities_mC, other.probabilities_mC)
