"""``report.html`` of a run: one file, plots and all, that needs no network."""

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from llamdex_fl.envelope import write_atomically

__all__ = ["page", "write_page"]

#: More silos than this are no rows of a plot: the best, the middle ones and the worst say enough.
_MANY = 12
_LABELS = {
    "assembled": "assembled (ours)",
    "reference": "the same without faults",
    "dp_fedavg": "DP-FedAvg",
    "dp_fedavg_site": "DP-FedAvg, site known",
    "pooled_dp": "pooled, DP",
    "pooled_dp_silo": "pooled, DP, site known",
    "pooled": "pooled, no privacy",
    "pooled_boosting": "pooled boosting, no privacy",
    "alone_own": "each asks its own expert",
}
_AXES = {
    "epsilon": "epsilon of each release",
    "silos": "number of silos",
    "alpha": "alpha: the smaller, the more skewed",
}

Report = Mapping[str, Any]


def write_page(report: Report, path: Path) -> None:
    """Write the page, whole or not at all."""
    write_atomically(path, page(report).encode())


def page(report: Report) -> str:
    """The page of a report.

    Args:
        report: what ``report.json`` has.
    """
    import jinja2  # noqa: PLC0415 - of the demo's extra

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((files("simulations.harness") / "report.html").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        plots=_plots(report),
        said=headline(report),
        label=label,
        rows=_rows(report),
        number=_number,
        bound=_bound(report["privacy"]["epsilon"], report["privacy"]["delta"]),
    )


def label(name: str) -> str:
    """What a way is called in plots and tables."""
    return _LABELS.get(name, name.replace("_", " "))


def headline(report: Report) -> list[str]:
    """The answer in a few sentences."""
    ours, silos = report["auc"].get("assembled"), report["auc"]["alone"]
    if ours is None:
        return ["No expert may speak: there is nothing to compare."]
    said = [
        (
            f"Assembled, {report['silos']} silos are right on {100 * report['accuracy']['assembled']:.1f} % of "
            f"held-out records (majority {100 * report['majority']:.1f} %), AUC {ours:.3f}."
        )
    ]
    found = report["paired"]["assembled_less"]
    best = report["paired"]["best_silo"]
    if best is not None:
        said.append(_against(f"the best silo alone, {best} (AUC {silos[best]:.3f})", found[f"alone: {best}"]))
    said += [_against(label(name), found[name]) for name in ("dp_fedavg", "dp_fedavg_site") if name in found]
    if "reference" in report["accuracy"]:
        drop = report["accuracy"]["reference"] - report["accuracy"]["assembled"]
        said.append(f"What went wrong on purpose cost {100 * drop:.1f} points of accuracy.")
    worse = report["own_records"]["worse_off"]
    asked = len(report["own_records"]["silos"])
    said.append(
        f"On its own records, {len(worse)} of {asked} silos did better with its own expert alone than with the assembly"
        + (f", {surely} of them surely (the whole interval says so)." if (surely := _surely(report)) else ".")
    )
    return said


def _surely(report: Report) -> int:
    return len(report["own_records"]["surely_worse_off"])


def _against(whom: str, found: Mapping[str, Any]) -> str:
    area, right = found["auc"], found["accuracy"]
    p = "" if area["p_wilcoxon"] is None else f", p {area['p_wilcoxon']:.3f} by Wilcoxon's signed ranks"
    span = "" if area["low"] is None else f" ({area['low']:+.3f} to {area['high']:+.3f}{p})"
    return (
        f"AUC less that of {whom}: {area['mean']:+.3f}{span}, above in {area['wins']} of {area['seeds']} seeds; "
        f"accuracy {100 * right['mean']:+.1f} points ({100 * right['low']:+.1f} to {100 * right['high']:+.1f})."
    )


def _bound(epsilon: float, delta: float) -> float:
    """Of any attack's true less its false positive rate (Kairouz, Oh and Viswanath, arXiv 1311.0776)."""
    return (math.exp(epsilon) - 1.0 + 2.0 * delta) / (math.exp(epsilon) + 1.0)


def _rows(report: Report) -> list[dict[str, str]]:
    """The table of ways: name, accuracy, AUC with intervals, cost."""
    figures = ("accuracy", "auc")
    ways = [way for way in report["auc"] if way != "alone"]
    return [
        *(_row(label(name), *(_figure(report, figure, name) for figure in figures)) for name in ways),
        *(
            _row(label(name), *((own[figure], own[f"{figure}_interval"]) for figure in figures))
            for name, own in report["variants"].items()
        ),
        *(
            _row(f"{silo} alone", *(_figure(report, figure, silo, alone=True) for figure in figures))
            for silo in _chosen(report)
        ),
    ]


def _row(name: str, right: tuple[Any, Any], area: tuple[Any, Any]) -> dict[str, str]:
    return {"name": name, "accuracy": _number(*right, 100.0, 1), "auc": _number(*area, 1.0, 3)}


def _figure(report: Report, figure: str, name: str, *, alone: bool = False) -> tuple[float, Sequence[float] | None]:
    means, spans = report[figure], report[f"{figure}_interval"]
    return (means["alone"][name], spans["alone"][name]) if alone else (means[name], spans[name])


def _number(mean: float | None, span: Sequence[float] | None, times: float, digits: int) -> str:
    if mean is None:
        return "-"
    between = "" if span is None else f" ({times * span[0]:.{digits}f} to {times * span[1]:.{digits}f})"
    return f"{times * mean:.{digits}f}{between}"


def _chosen(report: Report) -> list[str]:
    """All silos, or, of many, the best, the middle ones and the worst."""
    order = sorted(report["auc"]["alone"], key=lambda silo: -report["auc"]["alone"][silo])
    if len(order) <= _MANY:
        return order
    middle = len(order) // 2
    return [*order[:3], *order[middle - 1 : middle + 2], *order[-3:]]


def _plots(report: Report) -> dict[str, str]:
    """By name, what there is to plot."""
    from simulations.plots import Mark, dots, lines, whole_bars  # noqa: PLC0415 - of the demo's extra

    made: dict[str, str] = {}
    for figure, axis in (("auc", "AUC on held-out records of all silos"), ("accuracy", "accuracy there, %")):
        marks = [
            Mark(
                label=label(name),
                mean=report[figure][name],
                interval=report[f"{figure}_interval"][name],
                kind="ours" if name == "assembled" else "other",
            )
            for name in report[figure]
            if name != "alone"
        ]
        for silo in _chosen(report):
            mean, span = _figure(report, figure, silo, alone=True)
            marks.append(Mark(label=f"{silo} alone", mean=mean, interval=span, kind="alone"))
        if marks:
            made[figure] = dots(marks, axis, percent=figure == "accuracy")
    if marks := _worse(report):
        made["own"] = dots(
            marks,
            "accuracy on the silo's own records: assembled less its own expert, points",
            percent=True,
            zero=True,
        )
    costs = {name: own for name, own in report["costs"].items() if "boosting" not in name and name != "alone_own"}
    made["bytes"] = whole_bars(
        {label(name): own["bytes_sent"] / 1000 for name, own in costs.items()},
        "what leaves the silos in a run, kB (logarithmic)",
        form="{:,.1f} kB",
        logarithmic=True,
    )
    made["seconds"] = whole_bars(
        {label(name): own["seconds"] for name, own in costs.items()},
        "CPU seconds a seed: ours with sealing, transport and checks; the others training alone",
        form="{:,.1f} s",
    )
    for axis, points in report["sweep"].items():
        for figure, y_axis in (("accuracy", "accuracy, %"), ("auc", "AUC")):
            made[f"{axis}_{figure}"] = lines(
                _series(points, figure),
                _AXES[axis],
                y_axis,
                percent=figure == "accuracy",
                logarithmic=True,
                ours=label("assembled"),
            )
    made |= _scale(report["scale"]["points"])
    if len(report["growth"]) > _MANY:
        took = [(float(silos), seconds, None) for silos, seconds, _ in report["growth"]]
        held = [(float(silos), peak / 1e6, None) for silos, _, peak in report["growth"]]
        made["growth_seconds"] = lines({"seconds": took}, "silos done", "seconds since the round began", ours="seconds")
        made["growth_memory"] = lines({"memory": held}, "silos done", "most memory, MB", ours="memory")
    return made


def _scale(points: Sequence[Mapping[str, float]]) -> dict[str, str]:
    from simulations.plots import lines  # noqa: PLC0415 - of the demo's extra

    if not points:
        return {}
    silos = [point["silos"] for point in points]

    def series(name: str, times: float) -> list[tuple[float, float, None]]:
        return [(count, times * point.get(name, 0.0), None) for count, point in zip(silos, points, strict=True)]

    cpu = {
        "silos' and harness's process": series("rounds_cpu_s", 1.0),
        "provider's process": series("provider_cpu_s", 1.0),
        "founding (clock)": series("founding_s", 1.0),
        "whole round (clock)": series("rounds_s", 1.0),
    }
    memory = {
        "silos' and harness's process": series("peak_bytes", 1e-6),
        "provider's process": series("provider_peak_bytes", 1e-6),
    }
    ours = "silos' and harness's process"
    return {
        "scale_seconds": lines(cpu, "silos, each run in processes of its own", "CPU seconds", ours=ours),
        "scale_memory": lines(memory, "silos, each run in processes of its own", "most memory, MB", ours=ours),
    }


def _worse(report: Report) -> list[Any]:
    from simulations.plots import Mark  # noqa: PLC0415 - of the demo's extra

    known = {silo: own for silo, own in report["own_records"]["silos"].items() if own["difference"] is not None}
    order = sorted(known, key=lambda silo: -known[silo]["difference"])
    if len(order) > 2 * _MANY:
        order = [*order[:_MANY], *order[-_MANY:]]
    return [
        Mark(
            label=silo,
            mean=known[silo]["difference"],
            interval=known[silo]["difference_interval"],
            kind="ours" if known[silo]["difference"] >= 0.0 else "other",
        )
        for silo in order
    ]


def _series(points: Sequence[Mapping[str, Any]], figure: str) -> dict[str, list[Any]]:
    names = [name for name in points[0]["ways"] if "boosting" not in name]
    return {
        label(name): [
            (point["value"], point["ways"][name][figure], point["ways"][name][f"{figure}_interval"]) for point in points
        ]
        for name in names
    }
