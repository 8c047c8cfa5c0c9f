"""The upload's state machine, a few orders of steps; ``make fuzz`` does many, and every parser."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def run_machine() -> Iterator[Callable[[bytes], None]]:
    spec = importlib.util.spec_from_file_location("fuzz_machine", HERE / "machine.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.run_machine
    module.close()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.binary(max_size=12))
def test_some_orders(run_machine: Callable[[bytes], None], steps: bytes):
    run_machine(steps)


@pytest.mark.parametrize(
    "steps",
    [
        b"\0\x02\x02\x02\x06\x07\x07",  # all well
        b"\0\x02\x09\0\x02\x02\x06\x09\x07\x09\x07",  # restarts in between
        b"\0\x05\0\x02\x07",  # a changed chunk burns
        b"\0\x02\x06\x07\0\x02\x02\x07",  # committed too early, then whole
        b"\0\x02\x02\x02\x06\x07\x06",  # finished again after the commit took the file away
        b"\x0b\0\x22\x04\x08\x12",  # a changed wrapped key, repeated chunks
    ],
)
def test_known_orders(run_machine: Callable[[bytes], None], steps: bytes):
    run_machine(steps)


def test_vectors_are_where_targets_begin(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("fuzz_run", HERE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module._write_corpus(tmp_path)
    begun = {folder.name for folder in tmp_path.iterdir() if any(folder.iterdir())}
    assert begun >= {"canonical", "dsse", "keyring", "receipt", "root", "safetensors", "spool", "statement", "wire"}
