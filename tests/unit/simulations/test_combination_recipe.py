"""Choosing the combination's constants: the rule, and that it is applied to synthetic consortia."""

import math

import numpy as np
import pytest

from llamdex_fl.experts import CombinationRecipe
from simulations.combination_recipe import GRID, choose_combination, least_loss, log_losses
from simulations.consortium_value import run_seed


def test_the_rule_takes_the_least_mean_and_compares_on_other_consortia() -> None:
    settings = [CombinationRecipe(gain=gain, site=site) for gain in (1.0, 2.0) for site in (0.2, 0.4)]
    present = CombinationRecipe(gain=9.0)
    choosing = np.array([[0.5, 0.3, 0.4, 0.6, 0.1], [0.5, 0.5, 0.3, 0.6, 0.1]])
    confirming = np.array([[0.0, 0.0, 0.5, 0.0, 0.6], [0.0, 0.0, 0.7, 0.0, 1.0]])
    choice = least_loss([*settings, present], choosing, confirming)
    assert choice.recipe == settings[2]  # not the present one, though it is least
    assert choice.log_loss == pytest.approx(0.35)
    assert choice.curves["gain"] == pytest.approx({1.0: 0.4, 2.0: 0.35})
    assert choice.curves["site"] == pytest.approx({0.2: 0.35, 0.4: 0.4})
    assert choice.confirmed == pytest.approx(0.6)
    assert choice.gained == pytest.approx(0.2)
    assert choice.gained_error == pytest.approx(0.1)


def test_log_loss_is_that_of_the_combination() -> None:
    (loss, muted) = log_losses(1000, [CombinationRecipe(), CombinationRecipe(gain=1e-9, site=0.0)])
    assert loss < muted < math.log(2) + 0.3
    assert run_seed("synthetic", 1000).assembled.accuracy > 0.6


def test_the_project_uses_a_setting_of_the_grid() -> None:
    present = CombinationRecipe()
    assert all(getattr(present, name) in values for name, values in GRID.items())


def test_the_whole_grid_is_tried() -> None:
    told: list[tuple[int, int]] = []
    choice = choose_combination(choosing=1, confirming=2, on_consortium=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert {name: tuple(curve) for name, curve in choice.curves.items()} == dict(GRID)
    assert all(min(curve.values()) == choice.log_loss for curve in choice.curves.values())


@pytest.mark.slow
def test_the_constants_are_those_that_the_rule_chooses() -> None:
    assert choose_combination(confirming=2).recipe == CombinationRecipe()
