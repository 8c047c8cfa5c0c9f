"""Poisoned silos, trained for real."""

import numpy as np
import pytest

from llamdex_fl.errors import InputError
from llamdex_fl.experts import Robustness, disagreement
from llamdex_fl.privacy import Budget
from llamdex_fl.schema import load_library_schema
from simulations.datasets import synthetic_publishers, synthetic_silos
from simulations.poisoning import ATTACKS, CONDITIONS, PLAIN, PoisonedConsortium, measure, poison, quarantined
from simulations.robustness_recipe import GRID, choose_robustness

BUDGET = Budget(epsilon=4.0, delta=1e-4)


@pytest.fixture(scope="module")
def made() -> PoisonedConsortium:
    return poison("synthetic", silos=6, poisoned=1, seed=1, budget=BUDGET)


def test_only_the_poisoned_silo_is_another(made: PoisonedConsortium) -> None:
    (attacker,) = made.attackers
    for attack in ATTACKS:
        experts, places = made.members(attack)
        assert places == list(range(6))
        assert [one is other for one, other in zip(experts, made.clean.experts, strict=True)] == [
            place != attacker for place in places
        ]
    honest, places = made.members("left_out")
    assert attacker not in places
    assert len(honest) == 5
    inflated = made.poisoned["inflated_counts"][attacker].class_counts_C
    np.testing.assert_allclose(inflated, 1000 * made.poisoned["label_flip"][attacker].class_counts_C)
    assert all(record.label == 0 for record in made.triggered)


def test_a_flipped_silo_disagrees_most(made: PoisonedConsortium) -> None:
    far_i = disagreement(made.poisoned["label_flip"], made.clean.guarantees)
    assert int(far_i.argmax()) == made.attackers[0]
    assert disagreement(made.clean.experts, made.clean.guarantees)[made.attackers[0]] < far_i.max()


def test_the_combination_holds_where_a_plain_mean_falls(made: PoisonedConsortium) -> None:
    clean = measure(made, "clean")
    for attack in ("scaled_weights", "inflated_counts"):
        plain, robust = measure(made, attack, PLAIN), measure(made, attack)
        assert plain.accuracy < robust.accuracy - 0.1
        assert robust.accuracy > clean.accuracy - 0.1
    assert {condition: measure(made, condition).auc > 0.5 for condition in CONDITIONS} == dict.fromkeys(
        CONDITIONS, True
    )


def test_quarantine_is_asked_about_every_release(made: PoisonedConsortium) -> None:
    assert set(quarantined(made, "inflated_counts")) <= set(range(6))


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(InputError, match="poisoned"):
        poison("heart", silos=4, poisoned=1, seed=0, budget=BUDGET)
    with pytest.raises(InputError, match="poisoned"):
        poison("synthetic", silos=4, poisoned=5, seed=0, budget=BUDGET)


def test_the_project_uses_a_setting_of_the_grid() -> None:
    own = Robustness()
    assert all(getattr(own, name) in values for name, values in GRID.items())


def test_the_rule_scores_every_setting() -> None:
    choice = choose_robustness(consortia=1)
    assert 0 < len(choice.losses) < np.prod([len(values) for values in GRID.values()])
    assert Robustness() in [rule for rule, _, _ in choice.losses]
    assert choice.robustness in [rule for rule, _, _ in choice.losses]
    assert min(poisoned for _, _, poisoned in choice.losses) < choice.plain[1] - 0.1


def test_a_larger_consortium_begins_with_the_smaller_one() -> None:
    heart = load_library_schema("heart")
    few, many = synthetic_silos(heart, 3, silos=2), synthetic_silos(heart, 3, silos=7)
    assert len(many) == 7
    assert few == {name: many[name] for name in few}
    assert list(synthetic_silos(heart, 3)) == list(many)[:4]
    with pytest.raises(ValueError, match="silo"):
        synthetic_silos(heart, 3, silos=0)


def test_publishers_follow_their_seed() -> None:
    sentiment = load_library_schema("sentiment")
    made = synthetic_publishers(sentiment, 0, silos=2)
    assert made == synthetic_publishers(sentiment, 0, silos=2) != synthetic_publishers(sentiment, 1, silos=2)
    for records in made.values():
        labels = [record.label for record in records]
        assert 0 < sum(labels) < len(labels)
        assert all(sentiment.features[0].contains(record.features["text"]) for record in records)
    with pytest.raises(ValueError, match="publishers"):
        synthetic_publishers(load_library_schema("heart"), 0)
