"""Plots for reports: drawn by matplotlib without a screen, and given as SVG to be put into a page.

Needs the demo's extra. Colours can be told apart by the colour-blind (Okabe and Ito's), and ours is always the same.
"""

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

mpl.use("svg")  # no screen is needed, and none is asked for

from matplotlib import pyplot as plt  # after the choice of the backend

__all__ = ["Mark", "dots", "lines", "svg", "whole_bars"]

_OURS, _OTHER, _FAINT = "#0072b2", "#d55e00", "#8aa1b8"
_CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666", "#000000")
_DASHES = ("-", "--", "-.", ":")
_KINDS = {"ours": _OURS, "other": _OTHER, "alone": _FAINT}


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A mean with its interval, if it has one.

    Attributes:
        kind: ``ours``, ``other`` or ``alone``.
    """

    label: str
    mean: float
    interval: Sequence[float] | None = None
    kind: str = "other"


def dots(marks: Sequence[Mark], axis: str, *, percent: bool = False, zero: bool = False) -> str:
    """One row a mark, the first on top.

    Args:
        marks: at least one.
        axis: what is measured.
        percent: fractions are shown as percent.
        zero: draw a line at 0, for differences.
    """
    times = 100.0 if percent else 1.0
    figure, axes = plt.subplots(figsize=(7.4, 0.7 + 0.36 * len(marks)))
    for row, mark in enumerate(reversed(marks)):
        low, high = mark.interval or (mark.mean, mark.mean)
        colour = _KINDS[mark.kind]
        axes.plot([times * low, times * high], [row, row], color=colour, linewidth=2.2, solid_capstyle="round")
        axes.plot([times * mark.mean], [row], "o", color=colour, markersize=7 if mark.kind == "ours" else 5.5)
        text = f"{times * mark.mean:+.1f}" if zero and percent else f"{times * mark.mean:.{1 if percent else 3}f}"
        axes.annotate(text, (times * high, row), xytext=(7, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(marks)), [mark.label for mark in reversed(marks)])
    axes.set_ylim(-0.7, len(marks) - 0.3)
    axes.margins(x=0.14)
    if zero:
        axes.axvline(0.0, color="#444", linewidth=0.8, linestyle=":")
    axes.grid(axis="x", color="#e8e8e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(axis)
    return svg(figure, f"{axis}: " + ", ".join(f"{mark.label} {times * mark.mean:.3g}" for mark in marks))


def lines(  # noqa: PLR0913 - of a plot
    series: Mapping[str, Sequence[tuple[float, float, Sequence[float] | None]]],
    x_axis: str,
    y_axis: str,
    *,
    percent: bool = False,
    logarithmic: bool = False,
    ours: str = "assembled",
) -> str:
    """One line a series of (x, mean, interval).

    Args:
        series: by name.
        x_axis: what is varied.
        y_axis: what is measured.
        percent: fractions are shown as percent.
        logarithmic: of x.
        ours: whose line is the thick one.
    """
    times = 100.0 if percent else 1.0
    figure, axes = plt.subplots(figsize=(7.4, 3.6))
    colours = iter(colour for colour in _CYCLE * 3 if colour != _OURS)
    for number, (name, points) in enumerate(series.items()):
        colour = _OURS if name == ours else next(colours)
        xs, means = [x for x, _, _ in points], [times * mean for _, mean, _ in points]
        dash = "-" if name == ours else _DASHES[number % len(_DASHES)]
        axes.plot(
            xs, means, dash, color=colour, label=name, marker="o", markersize=4, linewidth=2.4 if name == ours else 1.4
        )
        bounds = [interval or (mean, mean) for _, mean, interval in points]
        axes.fill_between(
            xs, [times * low for low, _ in bounds], [times * high for _, high in bounds], color=colour, alpha=0.10, lw=0
        )
    if logarithmic:
        axes.set_xscale("log", base=2)
        ticks = sorted({x for points in series.values() for x, _, _ in points})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    axes.grid(color="#ececec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_axis)
    axes.set_ylabel(y_axis)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return svg(figure, f"{y_axis} over {x_axis}: {', '.join(series)}")


def whole_bars(values: Mapping[str, float], axis: str, *, form: str, logarithmic: bool = False) -> str:
    """Horizontal bars, the first on top; the first is ours.

    Args:
        values: by name; 0 has no bar.
        axis: what is measured.
        form: of the number beside a bar, such as ``{:.1f} s``.
        logarithmic: of the axis.
    """
    figure, axes = plt.subplots(figsize=(7.4, 0.8 + 0.34 * len(values)))
    names, numbers = list(values)[::-1], list(values.values())[::-1]
    bars = axes.barh(names, numbers, color=[_FAINT] * (len(names) - 1) + [_OURS], height=0.62)
    axes.bar_label(bars, [form.format(number) for number in numbers], padding=4, fontsize=9)
    if logarithmic and any(number > 0 for number in numbers):
        axes.set_xscale("log")
        least = min(number for number in numbers if number > 0)
        axes.set_xlim(least / 10, 8 * max(numbers))
    else:
        axes.margins(x=0.16)
    axes.set_xlabel(axis)
    return svg(figure, f"{axis}: " + ", ".join(f"{name} {form.format(number)}" for name, number in values.items()))


def svg(figure: Any, told: str) -> str:  # noqa: ANN401 - matplotlib's classes are not typed here
    """The figure as SVG, and no more of it; drawn again it is the same.

    Args:
        figure: is closed.
        told: what it shows, for whoever cannot see it.
    """
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": told, "font.size": 10}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    plt.close(figure)
    text = buffer.getvalue()
    return f'<svg role="img" aria-label="{html.escape(told)}" ' + text[text.index("<svg ") + len("<svg ") :]
