"""``llamdex-sim run``: a scenario of many silos on this machine."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["run"]


@app.command()
def run(  # noqa: PLR0913 - each is an option
    scenario: Annotated[Path, typer.Argument(help="A scenario's file, such as simulations/scenarios/hospitals.toml.")],
    *,
    out: Annotated[Path, typer.Option(help="Under which NAME/ with the report is made.")] = Path("out/sim"),
    seed: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="In place of the scenario's seeds; may be repeated.")
    ] = None,
    backend: Annotated[
        str, typer.Option(help="in-process: all silos here, one after another. ray: where Ray is installed.")
    ] = "in-process",
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted run; without it, begin anew.")] = False,
    homes: Annotated[
        Path | None,
        typer.Option(help="Where the homes lie meanwhile; /dev/shm, in memory, saves the waiting for the disk."),
    ] = None,
    keep: Annotated[bool, typer.Option(help="Keep the homes of provider and silos, to look into them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for a program.")] = False,
) -> None:
    """Run a scenario: real silos' code, a real provider on loopback, sealed uploads, and the faults that it declares.

    Leaves results.parquet, report.json and run.json. Exit code 1 if something did not hold that must hold.
    """
    from simulations.harness import RunSettings, run_scenario  # noqa: PLC0415 - loads torch, and --help must not

    settings = RunSettings(
        scenario=scenario,
        out=out.resolve(),
        seeds=tuple(seed or ()),
        resume=resume,
        keep=keep,
        backend=backend,
        homes=homes,
    )
    with console.stages() as told:
        report = run_scenario(settings, told)
    if as_json:
        console.print_json(report)
    else:
        _show(report, settings.out / report["scenario"])
    if not report["passed"]:
        raise typer.Exit(1)


def _show(report: dict[str, Any], out: Path) -> None:
    privacy = report["privacy"]
    seeds = ", ".join(str(seed) for seed in report["seeds"])
    console.stdout.print(
        f"{report['title']}\nseeds {seeds}; {report['silos']} silos; epsilon {privacy['epsilon']:g} at delta "
        f"{privacy['delta']:g} a release, for one {privacy['unit']} ({privacy['adjacency']})",
        highlight=False,
        markup=False,
    )
    table = Table("", "accuracy", "AUC", title="On held-out records, mean over the seeds")
    ways = [way for way in report["auc"] if way != "alone"]
    for way in ways:
        table.add_row(way, f"{100 * report['accuracy'][way]:.1f}", f"{report['auc'][way]:.3f}")
    alone = sorted(report["auc"]["alone"].items(), key=lambda pair: -pair[1])
    # A thousand silos are no table: the best, the middle one and the worst say enough.
    chosen = alone if len(alone) <= 8 else [alone[0], alone[len(alone) // 2], alone[-1]]  # noqa: PLR2004
    for silo, auc in chosen:
        table.add_row(f"{silo} alone", f"{100 * report['accuracy']['alone'][silo]:.1f}", f"{auc:.3f}")
    console.stdout.print(table)
    held = Table("must hold", "wanted", "got", "")
    for verdict in report["must_hold"]:
        mark = "[green]held[/]" if verdict["held"] else "[bold red]did not hold[/]"
        held.add_row(verdict["what"], verdict["wanted"], verdict["got"], mark)
    console.stdout.print(held)
    for name in ("results.parquet", "report.json", "run.json"):
        console.stdout.print(str(out / name), highlight=False, markup=False)
