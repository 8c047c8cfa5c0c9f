"""``report.html`` of the experiment: one file, plots and all, that needs no network."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2

from simulations.plots import Mark, dots, lines

__all__ = ["page", "verdict"]

_LABELS = {
    "ours": "ours: experts assembled, on the true features",
    "ours_llm": "ours: what the LLM says, from the question's text",
    "best_synthesis": "best synthesis, then a simple model",
    "llm_on_synthetic": "LLM tuned on synthetic questions",
    "plain_llm": "plain LLM",
    "expert_api": "expert's answer in the prompt",
    "majority": "majority",
}
_KEYS = ("ours", "ours_llm", "best_synthesis", "llm_on_synthetic", "expert_api", "plain_llm")
#: Of the plots over epsilon.
_LINES = ("assembled", "pooled_dp")

_Report = Mapping[str, Any]


def page(report: _Report) -> str:
    """The page of a report.

    Args:
        report: what ``report.json`` has.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((files("simulations.paper") / "paper.html").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        keys=_KEYS,
        labels=_LABELS,
        share=_share,
        plots={name: _plots(report, name) for name in report["data_sets"]},
        rows={name: _at_one(report, name) for name in report["at_epsilon_1"]},
        verdicts={name: verdict(name, own) for name, own in report["ours_less"].items()},
    )


def verdict(name: str, gaps: Mapping[str, Any]) -> str:
    """Who is ahead on a data set, in a sentence."""
    gap = gaps["best_synthesis"]
    if gap is None:
        return f"{name}: ours and synthesis were not both run at epsilon 1."
    points = (
        f"{100 * gap['mean']:+.1f} points ({100 * gap['low']:+.1f} to {100 * gap['high']:+.1f}, {gap['seeds']} seeds)"
    )
    if gap["low"] > 0.0:
        return f"{name}: ours is ahead of the best synthesis by {points}."
    if gap["high"] < 0.0:
        return f"{name}: synthesis wins; ours less it is {points}."
    return f"{name}: no difference that is more than chance between ours and the best synthesis, {points}."


def _at_one(report: _Report, name: str) -> dict[str, Any]:
    return {**report["at_epsilon_1"][name], "ours_llm": report["ours_llm_at_epsilon_1"][name]}


def _plots(report: _Report, name: str) -> dict[str, str]:
    own = {**_at_one(report, name), "majority": report["data_sets"][name]["majority"]}
    marks = [
        Mark(
            label=_LABELS[key],
            mean=own[key],
            interval=(report["at_epsilon_1_interval"][name].get(key) or {}).get("accuracy_interval"),
            kind={"ours": "ours", "ours_llm": "ours", "majority": "alone"}.get(key, "other"),
        )
        for key in (*_KEYS, "majority")
        if own[key] is not None
    ]
    made = {"at_one": dots(marks, f"{name}: accuracy on held-out records at epsilon 1, %", percent=True)}
    series = _series(report["over_epsilon"][name])
    if series:
        made["over_epsilon"] = lines(
            series, "epsilon of each release", f"{name}: accuracy, %", percent=True, logarithmic=True
        )
    return made


def _series(
    by_epsilon: Mapping[str, Mapping[str, Any]],
) -> dict[str, list[tuple[float, float, Sequence[float] | None]]]:
    """Ours, one DP expert on all records, and every route by synthesis in silos."""
    found: dict[str, list[tuple[float, float, Sequence[float] | None]]] = {}
    for epsilon, methods in by_epsilon.items():
        if epsilon == "none":
            continue
        for method, point in methods.items():
            if method in _LINES or (method.startswith("synthesis_") and "_single_owner" not in method):
                found.setdefault(method, []).append((float(epsilon), point["accuracy"], point["accuracy_interval"]))
    return {name: sorted(points, key=lambda point: point[0]) for name, points in found.items()}


def _share(value: float | None) -> str:
    return "not run" if value is None else f"{100 * value:.1f}"
