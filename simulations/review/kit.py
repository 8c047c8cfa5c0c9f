"""The reviewer's kit: all hostile cases, bit flips, a capture, other suites and a scan of the code, in one report.

Nothing is taken from an earlier run but the figures of runs that take hours (``simulations.review.measured``), which
are told with their date and commit.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simulations.review.bit_flips import BitFlips, flip_in_process
from simulations.review.capture import Capture, capture
from simulations.review.case import Arena, Outcome, carry_out
from simulations.review.measured import last_measured
from simulations.review.table import CAPTURE_ID, CASES, FLIPS_ID, THREATS

__all__ = ["Settings", "carry_out_review"]

#: Told as the review goes on: what is done, steps done, steps planned.
Told = Callable[[str, int, int], None]
_PART_SECONDS = 900
#: ``make fuzz`` runs them for as long as it takes.
_FUZZ_SECONDS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a review does.

    Attributes:
        out: where the report goes.
        root: of the source tree, for the other suites, the scan and the committed figures.
        flips: bits flipped in the provider's own code.
        thorough: whether to try all that the cases could try; a sample otherwise, and no slow case.
    """

    out: Path
    root: Path
    flips: int = 100_000
    thorough: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """Something that others wrote and a review runs, as a process."""

    name: str
    needs: str
    arguments: tuple[str, ...]


_PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
_PARTS = (
    _Part(name="test vectors", needs="tests/vectors", arguments=(*_PYTEST, "tests/vectors")),
    _Part(
        name=f"fuzzers, for {_FUZZ_SECONDS} s",
        needs="tests/fuzz/run.py",
        arguments=("tests/fuzz/run.py", "--seconds", str(_FUZZ_SECONDS)),
    ),
    _Part(
        name="hostile bundle at the silo",
        needs="tests/attacks/test_hostile_bundle.py",
        arguments=(*_PYTEST, "-rs", "tests/attacks/test_hostile_bundle.py"),
    ),
    _Part(
        name="bandit",
        needs="pyproject.toml",
        arguments=(
            *("-m", "bandit", "-q", "-c", "pyproject.toml", "--severity-level", "medium", "-r"),
            *("llamdex_fl", "silo_client", "provider_server"),
        ),
    ),
)


def carry_out_review(settings: Settings, told: Told) -> dict[str, Any]:
    """Carry all of it out; the report's content, of which ``passed`` says whether all of it did.

    Raises:
        OSError: the report's directory cannot be written.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="llamdex-review-", ignore_cleanup_errors=True) as directory:
        arena = Arena(Path(directory), thorough=settings.thorough)
        try:
            outcomes = _cases(arena, settings, told)
            flips = flip_in_process(arena, settings.flips, told=lambda done, of: told("bit flips", done, of))
            told("capture", 0, 1)
            caught = capture(arena)
            told("capture", 1, 1)
        finally:
            arena.close()
    parts = []
    for number, part in enumerate(_PARTS):
        told("other suites, bandit", number, len(_PARTS))
        parts.append(_run(part, settings.root))
    told("other suites, bandit", len(_PARTS), len(_PARTS))
    rows = sorted([*map(_row, outcomes), *_own_rows(flips, caught)], key=lambda row: int(row["id"]))
    measured = last_measured([settings.out, settings.root / "out" / "bench", settings.root / "docs" / "review"])
    return {
        "passed": all(row["pass"] for row in rows) and all(part["result"] != "failed" for part in parts),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(settings.root),
        "thorough": settings.thorough,
        "seconds": round(time.monotonic() - started, 1),
        "cases": rows,
        "bit_flips": asdict(flips),
        "capture": asdict(caught),
        "threats": _threats(rows),
        "parts": parts,
        **measured,
    }


def _cases(arena: Arena, settings: Settings, told: Told) -> list[Outcome]:
    chosen = [case for case in CASES if settings.thorough or not case.slow]
    outcomes = []
    for number, case in enumerate(chosen):
        told("hostile cases", number, len(chosen))
        outcomes.append(carry_out(case, arena))
    told("hostile cases", len(chosen), len(chosen))
    return outcomes


def _row(outcome: Outcome) -> dict[str, Any]:
    case = outcome.case
    return {
        "id": case.id,
        "case": case.case,
        "expected": case.expected,
        "got": outcome.got,
        "pass": outcome.passed,
        "control": case.control,
        "tries": [
            {"what": each.what, "expected": each.expected or case.expected, "got": each.got} for each in outcome.tries
        ],
    }


def _own_rows(flips: BitFlips, caught: Capture) -> list[dict[str, Any]]:
    pieces = sum(caught.pieces.values())
    return [
        {
            "id": CAPTURE_ID,
            "case": f"{pieces} pieces of weights, private keys and records sought in an upload that was captured",
            "expected": "0 found",
            "got": f"{sum(caught.found.values())} found"
            if all(caught.control.values())
            else "the search finds nothing",
            "pass": caught.clean,
            "control": "The release is sealed before it leaves; records and keys stay",
            "tries": [],
        },
        {
            "id": FLIPS_ID,
            "case": f"{flips.tried} bits flipped at random, in the provider's own code",
            "expected": "0 accepted",
            "got": f"{flips.accepted} accepted",
            "pass": flips.accepted == 0 < flips.tried,
            "control": "Every bit is under a signature or a tag",
            "tries": [],
        },
    ]


def _threats(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    by_id = {row["id"]: row for row in rows}
    table = []
    for threat in THREATS:
        carried_out = [by_id[number] for number in threat.cases if number in by_id]
        failed = [row["id"] for row in carried_out if not row["pass"]]
        table.append(
            {
                "threat": threat.threat,
                "control": threat.control,
                "tests": [row["id"] for row in carried_out],
                "result": "held" if not failed else "failed: " + ", ".join(map(str, failed)),
            }
        )
    return table


def _run(part: _Part, root: Path) -> dict[str, str]:
    if not (root / part.needs).exists():
        return {"name": part.name, "result": "not there", "detail": part.needs}
    ended = subprocess.run(
        [sys.executable, *part.arguments], cwd=root, check=False, capture_output=True, text=True, timeout=_PART_SECONDS
    )
    lines = [line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
    if ended.returncode:
        return {"name": part.name, "result": "failed", "detail": "\n".join(lines[-40:])}
    return {"name": part.name, "result": "passed", "detail": lines[-1][:300] if lines else "nothing to report"}


def _commit(root: Path) -> str:
    """The commit of the source tree, with a + where it was changed since; empty without git."""
    try:
        ended = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=root,
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
    except OSError:
        return ""
    found = re.fullmatch(r"[0-9a-f]{7,40}\+?", ended.stdout.strip())
    return found.group() if found else ""
