"""How weights behave beside others'."""

from pathlib import Path
from typing import Any

import numpy as np

from llamdex_fl import weights
from llamdex_fl.privacy.guarantee import Guarantee, LaplaceCounts
from provider_server.config import Limits
from provider_server.quarantine import judge

# The type of the fixture lives in a conftest, which cannot be imported.
Bench = Any
GUARANTEE = Guarantee(
    epsilon=0.5, delta=1e-5, mechanisms=(LaplaceCounts(epsilon=0.5),), accountant="pld", accountant_version="x"
)


def test_behaviour(tmp_path: Path):
    def expert(weight: list[float], counts: float = 500.0) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        tensors = {"weight": np.array(weight, np.float32), "class_counts": np.array([counts, counts], np.float32)}
        weights.save(path, tensors)
        return path

    others = [expert([1, 2, 3]), expert([2, 2, 3]), expert([1, 3, 3])]
    limits = Limits()
    assert judge(expert([1, 2, 2]), others, limits) == ""
    assert "points against" in judge(expert([-1, -2, -3]), others, limits)
    assert judge(expert([-1, -2, -3]), others[:2], limits) == ""
    assert judge(expert([0, 0, 0]), others, limits) == ""
    assert judge(expert([-1, -2, -3, 0]), others, limits) == ""
    assert "out of scale" in judge(expert([1e4, 1, 1]), others, limits)
    assert "out of scale" in judge(expert([1, 1, 1], counts=1e9), others, limits)
