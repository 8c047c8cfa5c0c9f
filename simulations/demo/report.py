"""The demo's report: ``report.json`` for programs, ``report.html`` (self-contained) for people."""

import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl

mpl.use("svg")  # no screen is needed, and none is asked for

from matplotlib import pyplot as plt  # after the choice of the backend

__all__ = ["summary_rows", "write_report"]

_COLOURS = {"alone": "#8aa1b8", "assembled": "#1b6ca8", "other": "#c9c9c9", "limit": "#b03a2e"}


def write_report(report: Mapping[str, Any], out: Path) -> tuple[Path, Path]:
    """Write both files, whole or not at all, and return their paths."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((files("simulations.demo") / "report.html").read_text(encoding="utf-8"))
    plots = {"accuracy": _accuracy(report), "epsilon": _epsilon(report), "timings": _timings(report)}
    written = []
    for name, text in (
        ("report.json", json.dumps(report, indent=1, allow_nan=False) + "\n"),
        ("report.html", template.render(report=report, plots=plots)),
    ):
        beside = out / f".{name}.part"
        beside.write_text(text, encoding="utf-8")
        beside.replace(out / name)
        written.append(out / name)
    return written[0], written[1]


def _accuracy(report: Mapping[str, Any]) -> str:
    silos = report["silos"]
    base = report["base_llm"]
    others = {
        f"base LLM, as it speaks ({base['questions']} asked)": base["accuracy"] or 0.0,
        f"base LLM, made to choose ({base['questions']} asked)": base["forced_choice_accuracy"] or 0.0,
        "majority": report["majority_rate"],
    }
    names = [silo["id"] for silo in silos] + ["assembled LLM", *others]
    values = [silo["alone_accuracy"] for silo in silos] + [report["assembled"]["accuracy"], *others.values()]
    colours = [_COLOURS["alone"]] * len(silos) + [_COLOURS["assembled"], *[_COLOURS["other"]] * len(others)]
    figure, axes = plt.subplots(figsize=(7, 3.2))
    bars = axes.barh(names[::-1], [100 * value for value in values[::-1]], color=colours[::-1])
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy on held-out patients of all four hospitals, %")
    return _svg(figure)


def _epsilon(report: Mapping[str, Any]) -> str:
    silos = report["silos"]
    figure, axes = plt.subplots(figsize=(7, 2.4))
    bars = axes.barh([s["id"] for s in silos][::-1], [s["epsilon"] for s in silos][::-1], color=_COLOURS["alone"])
    axes.bar_label(bars, fmt="%.3f", padding=3)
    axes.axvline(1.0, color=_COLOURS["limit"], linestyle="--", linewidth=1)
    axes.set_xlim(0, 1.2)
    axes.set_xlabel(f"epsilon spent at delta = {silos[0]['delta']:g} (dashed: what the policy allows a release)")
    return _svg(figure)


def _timings(report: Mapping[str, Any]) -> str:
    stages = {name.removesuffix("_s"): value for name, value in report["timings"].items() if name != "total_s"}
    figure, axes = plt.subplots(figsize=(7, 2.6))
    bars = axes.barh(list(stages)[::-1], list(stages.values())[::-1], color=_COLOURS["assembled"])
    axes.bar_label(bars, fmt="%.0f s", padding=3)
    axes.margins(x=0.15)
    axes.set_xlabel("seconds")
    return _svg(figure)


def _svg(figure: Any) -> str:  # noqa: ANN401 - matplotlib's classes are not typed here
    figure.tight_layout()
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def summary_rows(report: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """What the terminal shows at the end: (measure, value)."""
    assembled, inference = report["assembled"], report["inference"]
    rows = [
        (f"{silo['id']} alone", f"{100 * silo['alone_accuracy']:.1f} %  AUC {silo['alone_auc']:.3f}")
        for silo in report["silos"]
    ]
    rows += [
        ("assembled, from the question's text", _score(assembled["accuracy"], assembled["auc"])),
        (
            "the same experts on the true features",
            _score(assembled["expert_accuracy_true_features"], assembled["expert_auc_true_features"]),
        ),
        ("base LLM alone, by what it says", _percent(report["base_llm"]["accuracy"])),
        ("base LLM alone, by its likelier outcome", _percent(report["base_llm"]["forced_choice_accuracy"])),
        ("majority", _percent(report["majority_rate"])),
        ("reader, exact match", _percent(report["reader"]["exact_match"])),
        ("routing", _percent(report["routing"]["accuracy"])),
        (
            "inference, base and assembled",
            f"{inference['base_ms']:.0f} ms, {inference['assembled_ms']:.0f} ms, ratio {inference['ratio']:.2f}",
        ),
        ("epsilon a hospital, at most", f"{max(silo['epsilon'] for silo in report['silos']):.3f}"),
        ("time", f"{report['timings']['total_s']:.0f} s"),
    ]
    return rows


def _score(accuracy: float, auc: float) -> str:
    return f"{100 * accuracy:.1f} %  AUC {auc:.3f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
