"""The figures of a consortium, by the real path, against what the assembly must reach."""

import numpy as np
import pytest

from llamdex_fl.experts import auc
from simulations.consortium_value import run_seed


def test_auc_counts_pairs() -> None:
    scores, positive = np.array([0.1, 0.4, 0.35, 0.8, 0.4]), np.array([False, False, True, True, True])
    pairs = [(p, n) for p in scores[positive] for n in scores[~positive]]
    assert auc(scores, positive) == pytest.approx(sum(1.0 if p > n else 0.5 * (p == n) for p, n in pairs) / len(pairs))


def test_one_seed_of_the_four_hospitals() -> None:
    result = run_seed("heart", 0)
    assert result.epsilon <= 1.0
    assert set(result.alone) == {"cleveland", "hungary", "switzerland", "va-long-beach"}
    alone = [figures.auc for figures in result.alone.values()]
    assert result.assembled.auc >= max(alone)
    assert result.assembled.auc > sum(alone) / 4
    assert result.assembled.accuracy >= 0.76
    assert result == run_seed("heart", 0)


@pytest.mark.slow
def test_ten_seeds_of_the_four_hospitals() -> None:
    results = [run_seed("heart", seed) for seed in range(10)]
    best = np.mean([max(figures.auc for figures in result.alone.values()) for result in results])
    assert np.mean([result.assembled.auc for result in results]) >= best + 0.005
    assert np.mean([result.assembled.accuracy for result in results]) >= 0.79
    assert min(result.assembled.accuracy for result in results) >= 0.76
