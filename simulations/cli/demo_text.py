"""``llamdex-sim demo-text``: text experts of four silos behind the shared injector."""

from pathlib import Path
from typing import Annotated

import typer

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["demo_text"]


@app.command("demo-text")
def demo_text(
    out: Annotated[Path, typer.Option(help="Where the consortium lives and the report goes.")] = Path("out/demo-text"),
    seed: Annotated[int, typer.Option(min=0, help="Fixes which texts are held out and how questions are worded.")] = 0,
    epsilon: Annotated[float, typer.Option(min=0.1, help="Of each silo's release.")] = 2.0,
    questions: Annotated[int, typer.Option(min=4, help="Held-out texts that are asked about through the LLM.")] = 160,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for a program.")] = False,
) -> None:
    """Let four publishers train private experts on texts, and ask the assembled LLM whether writers liked something.

    Interrupted, it goes on from where it was. Run again, it keeps experts and connectors.
    """
    from simulations.text_demo import TextDemoSettings, report_line, run_text_demo  # noqa: PLC0415 - torch, not for --help

    settings = TextDemoSettings(out=out.resolve(), seed=seed, epsilon=epsilon, questions=questions)
    with console.stages() as on_progress:
        report = run_text_demo(settings, on_progress)
    if as_json:
        console.print_json(report)
        return
    console.stdout.print(report_line(report), highlight=False)
    console.stdout.print(f"{out / 'report.json'}", highlight=False)
