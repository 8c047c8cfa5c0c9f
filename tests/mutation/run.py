"""Mutate the verification paths and count the mutants that the tests kill: ``make mutation``.

Works on a copy of the sources in a temporary folder, since mutmut rewrites what it mutates. Prints one JSON document:
``mutation_score`` (killed or timed out, of all that were tried), the numbers behind it, and the mutants that survived.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_COPIED = ("llamdex_fl", "tests/vectors", "tests/unit/llamdex_fl", "tests/fixtures", "tests/conftest.py")
_LINE = re.compile(r"^\s+(\S+): (\S.*)$", re.MULTILINE)
#: What mutmut counts as found out.
_KILLED = {"killed", "timeout", "caught by type check"}


def run_mutation(*, children: int, seconds: int, only: list[str]) -> dict[str, Any]:
    """Run mutmut on the modules of ``setup.cfg``.

    Args:
        children: mutants that are tried at a time.
        seconds: then it is stopped, and what was tried by then counts.
        only: patterns of mutants' names; all if empty.
    """
    with tempfile.TemporaryDirectory(prefix="llamdex-mutation-") as name:
        directory = Path(name)
        for part in _COPIED:
            target = directory / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / part, target)
        shutil.copy(HERE / "setup.cfg", directory)
        shutil.copy(ROOT / "pyproject.toml", directory)
        mutmut = [sys.executable, "-m", "mutmut"]
        environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with (directory / "mutmut.log").open("wb") as log:
            process = subprocess.Popen(
                [*mutmut, "run", "--max-children", str(children), *only],
                cwd=directory,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                complete = process.wait(timeout=seconds) == 0
            except subprocess.TimeoutExpired:
                complete = False
                process.terminate()
                process.wait(timeout=60)
        results = subprocess.run(
            [*mutmut, "results", "--all", "true"],
            check=False,
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
        )
        states = dict(_LINE.findall(results.stdout))
        if not set(states.values()) - {"not checked"}:
            sys.stderr.write((directory / "mutmut.log").read_text(errors="replace")[-3000:] + results.stderr[-2000:])
    return _summary(states, complete=complete)


def _summary(states: dict[str, str], *, complete: bool) -> dict[str, Any]:
    tried = {name: state for name, state in states.items() if state != "not checked"}
    killed = [name for name, state in tried.items() if state in _KILLED]
    modules: dict[str, Counter[str]] = {}
    for name, state in tried.items():
        module = name.split(".x")[0]
        modules.setdefault(module, Counter())["killed" if state in _KILLED else "survived"] += 1
    return {
        "mutation_score": round(len(killed) / max(1, len(tried)), 4),
        "mutants": len(states),
        "tried": len(tried),
        "killed": len(killed),
        "complete": complete and len(tried) == len(states),
        "not_mutated": "texts of errors",
        "modules": {module: dict(counts) for module, counts in sorted(modules.items())},
        "survived": sorted(f"{name}: {state}" for name, state in tried.items() if state not in _KILLED),
    }


def _main() -> int:
    parser = argparse.ArgumentParser(description="Mutation testing of the verification paths.")
    parser.add_argument("--out", type=Path, help="write the result, with date and commit, to this file too")
    parser.add_argument("--children", type=int, default=2, help="mutants that are tried at a time")
    parser.add_argument("--seconds", type=int, default=5400, help="stop after this time")
    parser.add_argument("only", nargs="*", help="patterns of mutants' names")
    arguments = parser.parse_args()
    result = run_mutation(children=arguments.children, seconds=arguments.seconds, only=arguments.only)
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["git", "rev-parse", "HEAD"], check=False, capture_output=True, text=True, cwd=ROOT)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        document = {"date": now, "commit": done.stdout.strip(), **result}
        arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    sys.stdout.write(json.dumps(result) + "\n")
    return 0 if result["tried"] else 1


if __name__ == "__main__":
    sys.exit(_main())
