"""Who is unlike a whole company: turned signs and noise are found, honest small or skewed sites are left alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamdex_fl import weights
from provider_server.company import LEAST, agreements, odd_ones

Bench = Any  # the type of the fixture lives in a conftest, which cannot be imported
WIDTH = 120


def _expert(folder: Path, signal: float, noise: int, *, counts: tuple[float, float] = (60.0, 60.0)) -> Path:
    truth = np.random.default_rng(0).normal(size=(2, WIDTH))
    drawn = np.random.default_rng(noise).normal(size=(2, WIDTH))
    tensors = {
        "weight": (signal * truth + 2.0 * drawn).astype(np.float32),
        # Everybody's offsets are alike and large: alone they would make all agree.
        "bias": np.array([30.0, -30.0], np.float32),
        "class_counts": np.array(counts, np.float32),
    }
    path = folder / f"{noise}.safetensors"
    weights.save(path, tensors)
    return path


def _company(folder: Path, count: int) -> list[Path]:
    return [_expert(folder, 1.0, noise) for noise in range(1, count + 1)]


def test_who_points_elsewhere_is_odd(tmp_path: Path):
    paths = [*_company(tmp_path, 10), _expert(tmp_path, -1.0, 90), _expert(tmp_path, 0.0, 91)]
    odd = odd_ones(paths, 0.5)
    assert odd is not None
    assert set(odd) == {10, 11}
    assert odd[10].startswith("it is unlike")


def test_small_companies_and_small_members_are_not_judged(tmp_path: Path):
    turned = _expert(tmp_path, -1.0, 90)
    assert odd_ones([*_company(tmp_path, LEAST - 2), turned], 0.5) is None
    skewed = _expert(tmp_path, 0.0, 92, counts=(119.0, 1.0))
    assert odd_ones([*_company(tmp_path, 10), skewed], 0.5) == {}


def test_where_sites_differ_widely_only_who_is_far_outside_is_odd(tmp_path: Path):
    # Signals from faint to strong: the faint ones have less than half of the middle agreement.
    paths = [_expert(tmp_path, noise / 8, noise) for noise in range(1, 17)]
    found = agreements(np.array([weights.load(path)["weight"].ravel().astype(np.float64) for path in paths]))
    assert float(found.min()) < 0.5 * float(np.median(found))
    assert odd_ones(paths, 0.5) == {}


def test_a_company_that_agrees_on_nothing_has_no_odd_one(tmp_path: Path):
    paths = [_expert(tmp_path, 0.0, noise) for noise in range(1, 400)]
    assert odd_ones(paths, 0.5) is None


def test_agreement_of_nothing_is_whole():
    found = agreements(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]))
    np.testing.assert_allclose(found, [1.0, 1.0, 1.0, -1.0])


@pytest.mark.parametrize("likeness", [0.5])
def test_another_kind_of_expert_is_no_company(tmp_path: Path, likeness: float):
    other = tmp_path / "other.safetensors"
    weights.save(other, {"weight": np.ones(3, np.float32), "class_counts": np.ones(2, np.float32)})
    assert odd_ones([*_company(tmp_path, 9), other], likeness) is None
