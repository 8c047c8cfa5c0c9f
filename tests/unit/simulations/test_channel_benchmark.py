"""The channel benchmark, once, with small files: its figures mean nothing, its document and its processes do."""

import pytest

from simulations.benchmarks.channel import measure_channel


@pytest.mark.slow
def test_the_document():
    result = measure_channel(rounds=1, megabytes=1, sizes=(1, 2))
    assert result["throughput_ratio"] > 0
    assert result["cpu_ratio"] > 0
    assert set(result["peak_memory_mib"]) == {"1MB", "2MB"}
    assert len(result["rounds"]["sealed"]) == len(result["rounds"]["raw"]) == 1
