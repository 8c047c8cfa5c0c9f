"""``llamdex-sim bench-harness`` and ``bench-scenarios``: the harness's own cost, and scenarios as they should end."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["bench_harness", "bench_scenarios"]


@app.command("bench-harness")
def bench_harness(
    *,
    out: Annotated[Path | None, typer.Option(help="Write the JSON document to this file too.")] = None,
    silos: Annotated[int, typer.Option(min=2, max=1000, help="That do nothing.")] = 200,
    turns: Annotated[int, typer.Option(min=1, max=50, help="Turns of loop and harness; medians count.")] = 5,
    real_silos: Annotated[
        int, typer.Option(min=0, max=200, help="That train and upload as well; 0 leaves this part out.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Time the scenario harness beside a plain loop of the same work, in turns.

    Takes a few minutes of one core; other work on the machine makes all figures worse.
    """
    from simulations.benchmarks.scenario_overhead import measure_scenario_overhead  # noqa: PLC0415 - loads torch

    result = measure_scenario_overhead(silos=silos, turns=turns, real_silos=real_silos)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if as_json:
        console.print_json(result)
        return
    console.stdout.print(
        f"harness {result['overhead_ms']:.2f} ms of CPU a silo over a plain loop, without work (at most "
        f"{result['targets']['overhead_ms']:g})",
        highlight=False,
        soft_wrap=True,
    )
    if real := result["real_work"]:
        console.stdout.print(
            f"with real work: loop {real['loop_cpu_ms']} ms, harness {real['harness_cpu_ms']} ms, turn by turn; "
            f"median difference {real['difference_cpu_ms']:.2f} ms",
            highlight=False,
            soft_wrap=True,
        )


@app.command("bench-scenarios")
def bench_scenarios(
    *,
    out: Annotated[Path, typer.Option(help="Under which the runs are made.")] = Path("out/bench/scenarios"),
    every: Annotated[bool, typer.Option("--all", help="The long ones too.")] = False,
    homes: Annotated[Path | None, typer.Option(help="As of run; /dev/shm saves the waiting for the disk.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run scenarios and compare their figures with those that are committed.

    Exit code 1 if a figure is out of its tolerance, or something did not hold that must hold.
    """
    from simulations.benchmarks.scenarios import measure_scenarios  # noqa: PLC0415 - loads torch

    with console.stages() as told:
        result = measure_scenarios(out.resolve(), told, quick=not every, homes=homes)
    out.mkdir(parents=True, exist_ok=True)
    (out / "scenarios.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if as_json:
        console.print_json(result)
    else:
        table = Table("scenario", "figure", "expected", "got", "")
        for name, own in result["scenarios"].items():
            held = "[green]held[/]" if own["held"] else "[bold red]did not hold[/]"
            table.add_row(name, "must hold", "", "", held)
            for path, figure in own["figures"].items():
                wanted = f"{figure['expected']:.3f} ± {figure['tolerance']:g}"
                got = "none" if figure["got"] is None else f"{figure['got']:.3f}"
                table.add_row("", path, wanted, got, "[green]good[/]" if figure["good"] else "[bold red]out[/]")
        console.stdout.print(table)
    if not result["passed"]:
        raise typer.Exit(1)
