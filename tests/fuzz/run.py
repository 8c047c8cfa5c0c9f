"""Run the fuzz targets for a time, or for a number of executions, and print one JSON document.

``python tests/fuzz/run.py --seconds 60`` (what a review does), ``python tests/fuzz/run.py --executions 1000000
--out docs/review/fuzz.json`` (what ``make fuzz`` does). Exit code 1 if anything crashed; the inputs that did lie under
``out/fuzz``.
"""

import argparse
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["run_fuzzers"]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VECTORS = HERE.parent / "vectors"
#: Shares of the executions or of the time. The upload's state machine is slow: it has a share of the time, and an
#: own number of executions.
_SHARES = {
    "canonical": 14,
    "statement": 10,
    "dsse": 12,
    "keyring": 8,
    "root": 4,
    "receipt": 8,
    "enrolment_request": 6,
    "enrolment_reply": 4,
    "spool": 6,
    "safetensors": 14,
    "merkle": 4,
    "wire": 10,
}
_MACHINE = "upload"
_MACHINE_RUNS, _MACHINE_SHARE = 400, 0.15
_EXECUTED = re.compile(rb"stat::number_of_executed_units:\s*(\d+)")


def run_fuzzers(*, seconds: float | None = None, executions: int | None = None) -> dict[str, Any]:
    """Run all targets, one after another, in one thread each.

    Args:
        seconds: for all targets together; or
        executions: of all targets together.

    Returns:
        ``executions``, ``crashes``, ``seconds``, and both for each target.
    """
    started, targets = time.monotonic(), {}
    # In memory where that is to be had: a disk is slow, and may stall. The targets leave their files to us.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a folder of its own is made there
    with tempfile.TemporaryDirectory(prefix="llamdex-fuzz-corpus-", dir=memory) as directory:
        _write_corpus(Path(directory))
        for name, share in {**_SHARES, _MACHINE: 0}.items():
            if executions is not None:
                runs = _MACHINE_RUNS if name == _MACHINE else -(-executions * share // sum(_SHARES.values()))
                bound = [f"-runs={runs}", "-max_total_time=600"]
            else:
                part = _MACHINE_SHARE if name == _MACHINE else (1 - _MACHINE_SHARE) * share / sum(_SHARES.values())
                bound = [f"-max_total_time={max(1, round((seconds or 60) * part))}"]
            targets[name] = _run_one(name, bound, Path(directory) / name)
    return {
        "executions": sum(result["executions"] for result in targets.values()),
        "crashes": sum(result["crashes"] for result in targets.values()),
        "seconds": round(time.monotonic() - started, 1),
        "targets": targets,
    }


def _run_one(name: str, bound: list[str], corpus: Path) -> dict[str, Any]:
    artefacts = ROOT / "out" / "fuzz"
    artefacts.mkdir(parents=True, exist_ok=True)
    corpus.mkdir(exist_ok=True)
    started = time.monotonic()
    options = ["-print_final_stats=1", "-rss_limit_mb=2048", "-timeout=1200", "-max_len=16384", "-verbosity=0"]
    options.append(f"-artifact_prefix={artefacts}/{name}-")
    done = subprocess.run(
        [sys.executable, str(HERE / "targets.py"), name, *bound, *options, str(corpus)],
        check=False,
        capture_output=True,
        cwd=ROOT,
        env={
            **os.environ,
            "TMPDIR": str(corpus.parent),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        },
    )
    found = _EXECUTED.findall(done.stderr)
    result: dict[str, Any] = {
        "executions": int(found[-1]) if found else 0,
        "crashes": int(done.returncode != 0),
        "seconds": round(time.monotonic() - started, 1),
    }
    if done.returncode:
        result["output"] = done.stderr[-3000:].decode(errors="replace")
    return result


def _write_corpus(directory: Path) -> None:
    """Good and tampered vectors are where each target begins."""
    for name in (*_SHARES, _MACHINE):
        (directory / name).mkdir()

    def put(target: str, data: bytes) -> None:
        folder = directory / target
        (folder / f"{len(list(folder.iterdir()))}").write_bytes(data[:16384])

    for path in sorted((VECTORS / "ldx1").iterdir()) + sorted((VECTORS / "tampered").iterdir()):
        for target, data in _seeds(path):
            put(target, data)
    for steps in (b"\0\x02\x02\x02\x06\x07", b"\0\x02\x09\0\x02\x02\x06\x07\x07", b"\0\x05\x07", b"\x0b\0\x02\x04\x08"):
        put(_MACHINE, steps)
    for kind in range(8):
        put("wire", bytes([kind]) + b"\x0a\x10" + bytes(16) + b"\x12\x20" + bytes(32))


def _seeds(path: Path) -> list[tuple[str, bytes]]:
    """What a vector is good for: targets, each with the bytes that it begins with."""
    kind, data = path.name.split("-")[0].split(".")[0], path.read_bytes()
    if path.suffix in {".safetensors", ".ldx"}:
        return [("safetensors" if path.suffix == ".safetensors" else "spool", data)]
    document = json.loads(data)
    if kind in {"keyring", "root"}:
        # A document, or a chain of them.
        return [(kind, base64.b64decode(each["payload"])) for each in document.get("roots", [document])]
    if kind == "receipt":
        return [("receipt", data), ("dsse", json.dumps(document["receipt"]).encode())]
    if kind == "header":
        payload = base64.b64decode(document["statement"]["payload"])
        return [("statement", payload), ("canonical", payload)]
    if path.name.startswith("enrolment-reply"):
        return [("enrolment_reply", data)]
    return [("enrolment_request", data)] if kind in {"enrolment", "request"} else []


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], check=False, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip()


def _main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz every parser and the upload's state machine.")
    parser.add_argument("--seconds", type=float, help="for all targets together")
    parser.add_argument("--executions", type=int, help="of all targets together, instead of a time")
    parser.add_argument("--out", type=Path, help="write the result, with date and commit, to this file too")
    arguments = parser.parse_args()
    result = run_fuzzers(seconds=arguments.seconds, executions=arguments.executions)
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        document = {"date": now, "commit": _commit(), **result}
        arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["crashes"] else 0


if __name__ == "__main__":
    sys.exit(_main())
