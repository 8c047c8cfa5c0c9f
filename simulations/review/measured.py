"""Figures that a review reports and does not measure itself: the newest of this machine's and of the committed ones.

A figure is read from JSON files, each an object with ``date`` (ISO 8601), ``commit`` and any of the names below. Long
runs write such files: ``make bench-channel`` to ``out/bench/``, ``make fuzz`` and ``make mutation`` to
``docs/review/``, where the last results are committed.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["FIGURES", "last_measured"]

#: What the report says besides its own results.
FIGURES = ("fuzz_executions", "mutation_score", "throughput_ratio", "cpu_ratio", "peak_memory_mib")
#: What the fuzzers' own file calls it.
_ALIASES = {"fuzz_executions": "executions"}


def last_measured(directories: Iterable[Path], *, besides: Iterable[str] = ("report.json",)) -> dict[str, Any]:
    """Each figure, and where it comes from.

    Args:
        directories: that may hold files with figures; a file that is no such object is passed over.
        besides: names of files that are not read.

    Returns:
        Each of ``FIGURES`` (None where nobody measured it), and under ``sources`` their file, date and commit.
    """
    best: dict[str, tuple[str, Any, Mapping[str, str]]] = {}
    for directory in directories:
        for path in sorted(directory.glob("*.json")):
            document = None if path.name in set(besides) else _read(path)
            if document is None:
                continue
            date = str(document.get("date") or _changed(path))
            source = {"file": path.name, "date": date, "commit": str(document.get("commit", ""))}
            for name in FIGURES:
                value = document.get(name, document.get(_ALIASES.get(name, name)))
                if value is not None and (name not in best or date > best[name][0]):
                    best[name] = (date, value, source)
    figures: dict[str, Any] = {name: best[name][1] if name in best else None for name in FIGURES}
    return {**figures, "sources": {name: source for name, (_, _, source) in best.items()}}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _changed(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
