"""The privacy benchmark, once: its figures mean nothing here, its document does."""

import pytest

from simulations.benchmarks.privacy import TARGETS, measure_privacy


@pytest.mark.slow
def test_the_document():
    told: list[tuple[int, int]] = []
    result = measure_privacy(rounds=1, on_part=lambda done, parts: told.append((done, parts)))
    assert told[-1] == (14, 14)
    assert result["step_ratio"] == max(row["ratio"] for row in result["step"].values()) > 0
    assert result["text_step_ratio"] == max(row["ratio"] for row in result["text_step"].values()) > 0
    assert set(result["estimate_ms"]) == {"100", "10000", "1000000"}
    assert len(result["calibration_seconds"]) == 7
    assert result["targets"] == TARGETS
