"""The review's report: ``report.json`` for programs, ``report.html`` (self-contained) for the reviewer."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from llamdex_fl.envelope import write_atomically

__all__ = ["write_report"]


def write_report(report: Mapping[str, Any], out: Path) -> tuple[Path, Path]:
    """Write both files, each whole or not at all, and return their paths."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((files("simulations.review") / "report.html").read_text(encoding="utf-8"))
    written = []
    for name, text in (
        ("report.json", json.dumps(report, indent=1, allow_nan=False) + "\n"),
        ("report.html", template.render(report=report)),
    ):
        write_atomically(out / name, text.encode())
        written.append(out / name)
    return written[0], written[1]
