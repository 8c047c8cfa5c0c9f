"""The upload's state machine under random orders of calls, beside a model of what must hold.

Real desk, real registry, real files and keys; only the sockets are missing. Each byte of the input is one step: begin,
a header, a chunk (the right one, another, a changed one), finish, commit, status, a restart of the provider, time.
"""

import atexit
import importlib.util
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from llamdex_fl.envelope import Answer, Chunk, RefusedError, SealedFile

__all__ = ["close", "run_machine"]

_BENCH = Path(__file__).parents[1] / "unit" / "provider_server" / "conftest.py"
_STEPS_LIMIT = 40


@cache
def _bench() -> Any:  # noqa: ANN401 - a class of a conftest
    spec = importlib.util.spec_from_file_location("provider_bench", _BENCH)
    if spec is None or spec.loader is None:
        raise AssertionError("the bench is where it was")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    directory = tempfile.TemporaryDirectory(prefix="llamdex-fuzz-")
    bench = module.Bench(Path(directory.name))
    bench.directory = directory
    bench.machine_desk = bench.desk()
    atexit.register(close)
    return bench


def close() -> None:
    """Remove the consortium that the first run founded."""
    if _bench.cache_info().currsize:
        bench = _bench()
        _bench.cache_clear()
        bench.registry.close()
        bench.directory.cleanup()


class _Machine:
    """One upload, and what is known of it."""

    def __init__(self, bench: Any) -> None:  # noqa: ANN401 - see above
        self.bench, self.desk = bench, bench.machine_desk
        self.offer = bench.offer()
        self.sealed: SealedFile = bench.seal(self.desk, offer=self.offer)
        self.chunks = list(self.sealed.chunks(0))
        self.stream: Any = None
        self.receipts: set[str] = set()
        self.burned = self.expired = False
        self.before = len(bench.registry.log.leaves())

    def step(self, code: int) -> None:
        """Take one step; a refusal is an answer like any other."""
        kind, place = code % 10, code // 10
        try:
            if kind < 2:
                self._header(damaged=kind == 1 and place % 2 == 1)
            elif kind < 6:
                self._chunk(kind, place)
            elif kind == 6:
                if self.stream is not None:
                    self.stream.finish()
            elif kind == 7:
                committed = self.bench.commit(self.desk, self.sealed)
                if self.burned:
                    raise AssertionError("a burned upload was committed")
                self.receipts.add(committed.receipt.receipt_id)
            elif kind == 8:
                self.desk.progress("a" if place % 2 else "b", self.sealed.header.upload_id)
            else:
                self._restart()
        except RefusedError as error:
            # A stream that ends early is DATA_LOSS too, and may go on.
            if error.answer is Answer.DATA_LOSS and kind != 6:
                status = self.desk.progress("a", self.sealed.header.upload_id).status
                self.burned = self.burned or status == "burned"

    def end(self) -> None:
        """What must hold, whatever the steps were."""
        self._close()
        leaves = self.bench.registry.log.leaves()[self.before :]
        if len(leaves) != len(self.receipts) or len(leaves) > 1:
            raise AssertionError(f"{len(leaves)} log entries for {len(self.receipts)} receipts")
        status = self.desk.progress("a", self.sealed.header.upload_id).status
        if (status == "committed") != bool(leaves) or (self.burned and status != "burned"):
            raise AssertionError(f"{status} with {len(leaves)} log entries")
        self.sealed.path.unlink()
        # The next upload begins with a clean quota; more would outrun the keyring's year within a few hundred runs.
        self.bench.later(minutes=61)

    def _header(self, *, damaged: bool) -> None:
        self._close()
        header = self.sealed.header
        if damaged:
            header = replace(header, wrapped=bytes([header.wrapped[0] ^ 1]) + header.wrapped[1:])
        self.stream = self.desk.receive("a", header)
        if damaged and self.stream._opener is not None:
            raise AssertionError("a changed wrapped key was accepted")

    def _chunk(self, kind: int, place: int) -> None:
        if self.stream is None:
            return
        index = self.stream.next_index
        if kind == 4:
            index = place % (len(self.chunks) + 1)
        data = self.chunks[min(index, len(self.chunks) - 1)].ciphertext
        if kind == 5 and place == 0:
            data = data[:-1] + bytes([data[-1] ^ 1])
        expected = self.stream.next_index
        self.stream.write(Chunk(index, data))
        if index != expected or (kind == 5 and place == 0):
            raise AssertionError("a wrong chunk was accepted")

    def _restart(self) -> None:
        self._close()
        self.bench.registry.close()
        self.desk = self.bench.machine_desk = self.bench.desk()

    def _close(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None


def run_machine(data: bytes) -> None:
    """Run the steps that the bytes name, then check what must hold."""
    machine = _Machine(_bench())
    for code in data[:_STEPS_LIMIT]:
        machine.step(code)
    machine.end()
