"""``llamdex-sim paper``: the published experiment made again."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from llamdex_fl import console
from llamdex_fl.errors import LlamdexError
from simulations.cli.compare import settings_of
from simulations.cli.main import app

if TYPE_CHECKING:
    from simulations.paper import Cell, Plan

__all__ = ["paper"]


@app.command()
def paper(  # noqa: PLR0913 - each is an option
    more: Annotated[
        list[str] | None,
        typer.Argument(help="More data sets, methods and epsilons, so that --datasets titanic wine works."),
    ] = None,
    *,
    datasets: Annotated[
        list[str] | None, typer.Option(help="titanic, wine, bank, nursery (all without it); also heart and pima.")
    ] = None,
    methods: Annotated[list[str] | None, typer.Option(help="As of llamdex-sim compare; by commas or several.")] = None,
    epsilons: Annotated[list[str] | None, typer.Option(help="0.5, 1, 2, 4 and 8 without it; by commas too.")] = None,
    llm_epsilons: Annotated[list[str] | None, typer.Option(help="At which of them LLMs are run: 1 without it.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many: 0, 1, 2 ...")] = 3,
    questions: Annotated[int, typer.Option(min=1, help="Held-out records that an LLM is asked about, a seed.")] = 40,
    tuning_steps: Annotated[int, typer.Option(min=1, help="Of the LLM on synthetic questions, four each.")] = 60,
    mst_iterations: Annotated[int, typer.Option(min=0, help="Of MST's inference; 0 for dpmm's own 5,000.")] = 300,
    aim_iterations: Annotated[int, typer.Option(min=0, help="Of AIM's inference; 0 for dpmm's own 1,000.")] = 100,
    base_llm: Annotated[
        str | None, typer.Option(help="A directory that transformers loads; else the packaged LLM.")
    ] = None,
    provider: Annotated[
        Path | None,
        typer.Option(help="Home of a provider with connectors, out/demo-all/provider: what its LLM says of ours, too."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Under which paper/ with cells and report is made.")] = Path("out/sim"),
    resume: Annotated[
        bool, typer.Option("--resume/--again", help="Go on with what is kept, or run these cells again.")
    ] = True,
    report_only: Annotated[bool, typer.Option(help="Run nothing: write the report of what is kept.")] = False,
    check: Annotated[
        bool, typer.Option(help="Exit code 1 if a figure is not what is committed, within its tolerance.")
    ] = False,
    expect: Annotated[
        Path | None, typer.Option(help="Write the accuracies found, with tolerances, to this file: for committing.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for a program.")] = False,
) -> None:
    """Make the published experiment again: ours against private synthesis and LLMs, over epsilon.

    Hours in all, so every cell (data set, method, epsilon, seed) is kept as soon as it is done, and the same command
    goes on after an interruption. A cell is run again once the code that it comes from is another. What was not run is
    null in the report; exit code 1 if a cell failed.
    """
    from simulations.harness.report import require_report  # noqa: PLC0415 - loads much, and --help must not
    from simulations.paper import PaperSettings, run_paper  # noqa: PLC0415

    require_report()
    plan = _plan([datasets or [], methods or [], epsilons or []], more or [], llm_epsilons or [], seeds)
    if provider is not None and not methods:
        plan = replace(plan, methods=[*plan.methods, "assembled_llm"])
    settings = PaperSettings(
        out=out.resolve(),
        plan=plan,
        # What an LLM says by itself is in no table here, and would double its time.
        methods=settings_of(questions, tuning_steps, mst_iterations, aim_iterations, base_llm, provider, said=False),
        base_llm=base_llm or "packaged",
        connectors=_digest(provider),
        again=not resume,
        report_only=report_only,
    )
    with console.stages() as stages:
        report = run_paper(settings, _told(stages), _failed)
    if as_json:
        console.print_json(report)
    else:
        _show(report, settings.out / "paper")
    if expect is not None:
        _expect(expect, report)
    if report["cells"]["failed"] or (check and report["expected"]["outside"]):
        raise typer.Exit(1)


def _expect(path: Path, report: dict[str, Any]) -> None:
    from simulations.demo.consortium import write_json  # noqa: PLC0415 - loads much
    from simulations.paper.expected import expected_document  # noqa: PLC0415

    write_json(path, expected_document(report))


def _digest(provider: Path | None) -> str | None:
    """Hex SHA-256 of a provider's connectors: what a cell that was asked through them is kept with."""
    if provider is None:
        return None
    from provider_server.config import load_provider_config  # noqa: PLC0415 - loads much

    digest = hashlib.sha256()
    for path in sorted(load_provider_config(provider).connectors.rglob("*")):
        if path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _plan(given: list[list[str]], more: list[str], llm_epsilons: list[str], seeds: int) -> "Plan":
    from simulations.alternatives import COHORTS, METHODS  # noqa: PLC0415 - loads torch
    from simulations.alternatives.synthesis import has_environment, needs_environment  # noqa: PLC0415
    from simulations.paper import DATA_SETS, EPSILONS, Plan  # noqa: PLC0415
    from simulations.paper import METHODS as PUBLISHED  # noqa: PLC0415

    datasets, methods, epsilons = ([part for text in own for part in text.split(",")] for own in given)
    for part in more:
        (methods if part in METHODS else datasets if part in COHORTS else epsilons).append(part)
    for names, known, option in ((datasets, COHORTS, "--datasets"), (methods, METHODS, "--methods")):
        if unknown := [name for name in names if name not in known]:
            raise typer.BadParameter(f"expected {', '.join(known)}, not {unknown[0]}", param_hint=option)
    if not methods:
        methods = list(PUBLISHED)
        if not has_environment():
            console.stderr.print("MST and AIM are left out: they need make synthesis-env.", highlight=False)
            methods = [name for name in methods if not needs_environment(name)]
    return Plan(
        data_sets=datasets or DATA_SETS,
        methods=methods,
        epsilons=_numbers(epsilons, "--epsilons") or EPSILONS,
        seeds=seeds,
        llm_epsilons=_numbers([part for text in llm_epsilons for part in text.split(",")], "--llm-epsilons") or (1.0,),
    )


def _numbers(texts: list[str], option: str) -> tuple[float, ...]:
    try:
        numbers = tuple(dict.fromkeys(float(text) for text in texts))
    except ValueError as error:
        raise typer.BadParameter("expected numbers, such as 0.5 1 2", param_hint=option) from error
    if not all(0.05 <= number <= 16.0 for number in numbers):  # noqa: PLR2004 - as of llamdex-sim compare
        raise typer.BadParameter("expected numbers from 0.05 to 16", param_hint=option)
    return numbers


def _told(stages: Any) -> Any:  # noqa: ANN401 - functions of the console and of run_paper
    def told(cell: "Cell | None", done: int, total: int, left_s: float, stale: list[str]) -> None:
        stages("cells", done, total)
        if cell is not None:
            left = f"about {left_s / 60:.0f} min left" if left_s >= 60 else "less than a minute left"  # noqa: PLR2004
            again = f" (again: it was made with another {_few(stale)})" if stale else ""
            console.stderr.print(f"{done + 1} of {total}: {cell}{again}; {left}", highlight=False, markup=False)

    return told


def _few(paths: list[str]) -> str:
    return ", ".join(paths[:2]) + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")  # noqa: PLR2004


def _failed(cell: "Cell", error: LlamdexError) -> None:
    console.stderr.print(
        f"{cell} failed: {error.problem} ({error.got}; {error.next_step})", highlight=False, markup=False
    )


def _show(report: dict[str, Any], out: Path) -> None:
    from simulations.paper.page import verdict  # noqa: PLC0415 - loads matplotlib

    keys = ("ours", "ours_llm", "best_synthesis", "llm_on_synthetic", "expert_api", "plain_llm")
    table = Table("", *keys, title="Accuracy on held-out records at epsilon 1 a table, %")
    for name, fixed in report["at_epsilon_1"].items():
        own = {**fixed, "ours_llm": report["ours_llm_at_epsilon_1"][name]}
        table.add_row(name, *("-" if own[key] is None else f"{100 * own[key]:.1f}" for key in keys))
    console.stdout.print(table)
    for name, gaps in report["ours_less"].items():
        console.stdout.print(verdict(name, gaps), highlight=False, markup=False)
    cells = report["cells"]
    console.stdout.print(f"{cells['run']} of {cells['wanted']} cells of this plan are done.", highlight=False)
    if cells["stale"]:
        console.stdout.print(
            f"{len(cells['stale'])} are kept but stale, and are no figures here: other code or settings made them.",
            highlight=False,
        )
    expected = report["expected"]
    console.stdout.print(
        f"{expected['checked']} figures compared with the committed ones, {len(expected['outside'])} outside their "
        "tolerance.",
        highlight=False,
    )
    for own in expected["outside"]:
        console.stdout.print(
            f"  {own['data_set']} {own['method']} epsilon {own['epsilon']} seed {own['seed']}: "
            f"{100 * own['here']:.1f} here, {100 * own['expected']:.1f} expected",
            highlight=False,
        )
    for name in ("report.html", "report.json", "results.parquet"):
        if (out / name).exists():
            console.stdout.print(str(out / name), highlight=False, markup=False)
