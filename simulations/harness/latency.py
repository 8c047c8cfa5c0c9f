"""How long an assembled answer takes, beside the base LLM's own: the experts of a run, asked before its homes go.

In a process of its own, so that the LLM's memory is not taken for the run's. Injector and experts are the trained
ones; the reader is untrained, of the size that it has: for time, what it has learned makes no difference.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from llamdex_fl.errors import ProcessError

__all__ = ["answer_times"]

#: Asked before those that count: they allocate, and compute what is kept of prompts.
_UNCOUNTED = 2


def answer_times(provider_home: Path, schema: str, count: int) -> dict[str, Any]:
    """Time whole answers of base LLM and assembly in turns, in a process of its own.

    Args:
        provider_home: whose experts speak.
        schema: of the library, with wordings; all experts of the run have it.
        count: questions, drawn from the training wordings.

    Returns:
        What ``llamdex_fl.assembly.latency.latency_report`` says, with ``questions``, ``experts`` and ``note``.

    Raises:
        ProcessError: the process failed.
    """
    command = [sys.executable, "-m", "simulations.harness.latency", str(provider_home), schema, str(count)]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if ended.returncode:
        raise ProcessError(
            "The answers could not be timed.",
            expected="exit code 0",
            got=f"{ended.returncode}: {ended.stderr[-400:]}",
            next_step="fetch the base LLM (python -m simulations.datasets fetch), or leave [inference] out",
        )
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _measured(provider_home: Path, schema_name: str, count: int) -> dict[str, Any]:
    from llamdex_fl.assembly import AskedQuestion, AssembledLlamdex, Seat  # noqa: PLC0415 - of this process alone
    from llamdex_fl.assembly.latency import latency_report, timed_turn  # noqa: PLC0415
    from llamdex_fl.base_llm.base import load_base_llm  # noqa: PLC0415
    from llamdex_fl.base_llm.packaged import packaged_encoder  # noqa: PLC0415
    from llamdex_fl.connectors.injector import Injector  # noqa: PLC0415
    from llamdex_fl.connectors.reader import Reader, ReaderRecipe  # noqa: PLC0415
    from llamdex_fl.experts import Expert  # noqa: PLC0415
    from llamdex_fl.schema import load_library_schema  # noqa: PLC0415
    from provider_server.config import load_provider_config  # noqa: PLC0415
    from provider_server.fitting import fit_injector  # noqa: PLC0415
    from provider_server.registry import Registry  # noqa: PLC0415
    from provider_server.speaking import speaking_releases  # noqa: PLC0415
    from simulations.benchmarks.connectors.parts import questions  # noqa: PLC0415

    schema, base = load_library_schema(schema_name), load_base_llm()
    folder, _ = fit_injector(base)
    reader = Reader.untrained(packaged_encoder(), [schema], layers=ReaderRecipe().layers)
    assembly = AssembledLlamdex(base, reader, Injector.load(folder, base_digest=base.digest))
    config = load_provider_config(provider_home)
    newest: dict[str, Seat] = {}
    with Registry(config.registry) as registry:
        for record in speaking_releases(config, registry, schema.digest()):
            release, _ = registry.load_release(record.release_id)
            expert = Expert.from_tensors(schema, release.tensors, release.architecture)
            newest[record.silo] = Seat(record.silo, expert, release.guarantee)
    for own in newest.values():
        assembly.seat(schema.name, own)
    rng, sample, turns = random.Random(0), questions(schema.name), []  # noqa: S311 - questions, not keys
    for number in range(count + _UNCOUNTED):
        asked = AskedQuestion(identity=str(number), schema=schema.name, question=sample(rng), features={}, label=None)
        turn = timed_turn(assembly, asked, assembled_first=number % 2 == 1)
        if number >= _UNCOUNTED:
            turns.append(turn)
    note = "medians; one thread; base LLM and assembly in turns, the same number of tokens; reader untrained"
    return {**latency_report(turns), "questions": count, "experts": len(newest), "note": note}


if __name__ == "__main__":
    from silo_client.dp_optimizer import one_thread

    with one_thread():
        print(json.dumps(_measured(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))  # noqa: T201 - for the caller
