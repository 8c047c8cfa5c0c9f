"""The largest resident memory of a process that answers with the base LLM alone, and of one that has an assembly."""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulations.benchmarks.connectors.parts import Parts

__all__ = ["measure"]

_MIB = 1024
_TOKENS = 16
_EACH = 2


def measure(parts: "Parts", rounds: int) -> dict[str, Any]:
    """``peak_memory``: of a child process each, that answers the same questions one by one.

    As a provider does, the child loads the reader first, from files.
    """
    with tempfile.TemporaryDirectory() as folder:
        parts.assembly.reader.save(Path(folder))
        base, own = (
            [_child(what, Path(folder), parts.injector_folder) for _ in range(min(rounds, 2))]
            for what in ("base", "assembled")
        )
    return {
        "peak_memory": {
            "base_mib": round(max(base), 1),
            "assembled_mib": round(max(own), 1),
            "ratio": round(max(own) / max(base), 3),
        }
    }


def _child(what: str, reader: Path, injector: Path) -> float:
    command = [sys.executable, "-m", __name__, what, str(reader), str(injector)]
    # One thread, as everything here: each thread has buffers of its own.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.split()[-1])


def _asked() -> list[tuple[str, str]]:
    from simulations.benchmarks.connectors.parts import SCHEMAS, questions  # noqa: PLC0415 - only in a child

    rng = random.Random(1)  # noqa: S311 - questions, not keys
    return [(name, sample(rng)) for name in SCHEMAS for sample in [questions(name)] for _ in range(_EACH)]


def _answer_alone() -> None:
    from llamdex_fl.assembly.base_alone import answer_alone  # noqa: PLC0415 - only in a child
    from llamdex_fl.base_llm.base import load_base_llm  # noqa: PLC0415

    base = load_base_llm()
    for _, question in _asked():
        answer_alone(base, [question], max_new_tokens=_TOKENS, min_new_tokens=_TOKENS)


def _answer_assembled(reader_folder: Path, injector: Path) -> None:
    from llamdex_fl.base_llm.base import load_base_llm  # noqa: PLC0415 - only in a child
    from llamdex_fl.connectors.texts import load_reader  # noqa: PLC0415
    from simulations.benchmarks.connectors.parts import assembled  # noqa: PLC0415

    reader = load_reader(reader_folder)
    assembly = assembled(load_base_llm(), reader, injector)
    for name, question in _asked():
        reading = assembly.reader.read([question], schema=name)[0]
        probability_N = assembly.consult(name, [reading.features])[0]
        assembly.speak([(question, name, probability_N)], _TOKENS, min_new_tokens=_TOKENS)


def _peak_mib() -> float:
    """Not getrusage's: that counts what a parent held before the program was started, too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(float(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / _MIB


if __name__ == "__main__":
    if sys.argv[1] == "base":
        _answer_alone()
    else:
        _answer_assembled(Path(sys.argv[2]), Path(sys.argv[3]))
    sys.stdout.write(f"{_peak_mib()}\n")
