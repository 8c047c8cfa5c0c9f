"""The picture of ``llamdex-silo privacy compare``: epsilon over steps, as an SVG or a self-contained HTML page."""

import importlib.util
import io
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from llamdex_fl.errors import ConfigError

__all__ = ["require_plot", "write_plot"]

_LABELS = {
    "pld": "pld (certified)",
    "rdp": "rdp (upper bound)",
    "edgeworth_estimate": "Edgeworth, order 1 (estimate)",
    "gdp": "gdp (estimate)",
}


def require_plot(file: Path) -> None:
    """Refuse a file that cannot be written, before minutes are spent on what would stand in it.

    Raises:
        ConfigError: the name ends in neither .html nor .svg, its directory is missing, or matplotlib is.
    """
    if file.suffix not in {".html", ".svg"} or not file.parent.is_dir():
        raise ConfigError(
            f"The picture cannot be written to {file}.",
            expected="a name that ends in .html or .svg, in a directory that exists",
            got=file.name,
            next_step="give another --plot",
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "There is nothing to draw a picture with.",
            expected="matplotlib",
            got="no such package",
            next_step='install it with: pip install "llamdex-fl[demo]"; the table needs none',
        )


def write_plot(  # noqa: PLR0913 - a training has that many numbers
    file: Path,
    steps: Sequence[int],
    epsilons: Mapping[str, Sequence[float]],
    *,
    noise_multiplier: float,
    sampling_rate: float,
    delta: float,
) -> None:
    """Draw epsilon over steps, whole or not at all.

    Args:
        file: name of the picture; ``require_plot`` let it through.
        steps: numbers of steps.
        epsilons: by accountant, one for each number of steps.
        noise_multiplier: with which they were computed.
        sampling_rate: likewise.
        delta: likewise.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - not every silo has it

    figure = Figure(figsize=(7.0, 4.0), layout="tight")
    axes = figure.subplots()
    for name, values in epsilons.items():
        style = "--" if "estimate" in _LABELS[name] else "-"
        axes.plot(steps, values, style, marker="o", markersize=3, label=_LABELS[name])
    axes.set_xlabel("steps of DP-SGD")
    axes.set_ylabel(f"epsilon at delta {delta:g}")
    axes.set_ylim(bottom=0.0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    if file.suffix == ".html":
        told = (
            f"Noise multiplier {noise_multiplier:.4f}, sampling rate {sampling_rate:.6g}, delta {delta:g}; one record "
            "is added or removed. Dashed lines are estimates, which may be below the truth."
        )
        text = (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Epsilon over steps</title></head>\n'
            f"<body><h1>Epsilon over steps</h1>\n<p>{escape(told)}</p>\n{text[text.index('<svg') :]}\n</body></html>\n"
        )
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
