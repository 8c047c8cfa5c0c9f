"""``llamdex-sim bench-channel``, ``-privacy`` and ``-connectors``: what each costs beside going without."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["bench_channel", "bench_connectors", "bench_privacy"]


@app.command("bench-channel")
def bench_channel(
    *,
    out: Annotated[Path | None, typer.Option(help="Write the JSON document to this file too.")] = None,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Turns of raw and sealed; the best of them counts.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Time a sealed 100 MB upload beside raw mTLS gRPC streaming of the same bytes, and weigh 100 and 500 MB.

    Starts a provider, a raw receiver and a silo as processes on this machine. Takes about two minutes, both cores and
    2 GB of disk; other work on the machine makes all figures worse.
    """
    from simulations.benchmarks.channel import measure_channel  # noqa: PLC0415 - keeps --help fast

    result = measure_channel(rounds=rounds)
    _write(out, result)
    if as_json:
        console.print_json(result)
        return
    with_digest = "throughput {throughput_ratio:.2f}, CPU {cpu_ratio:.2f}".format(**result["with_digest"])
    sealed, raw = result["sealed_mb_per_s"], result["raw_mb_per_s"]
    memory = ", ".join(f"{size} {mib:.0f} MiB" for size, mib in result["peak_memory_mib"].items())
    console.stdout.print(
        f"throughput {result['throughput_ratio']:.2f} of raw ({sealed:.0f} of {raw:.0f} MB/s), "
        f"CPU {result['cpu_ratio']:.2f} of raw; with the digest, which is computed before: {with_digest}; "
        f"peak memory {memory}",
        highlight=False,
        soft_wrap=True,
    )


@app.command("bench-privacy")
def bench_privacy(
    *,
    out: Annotated[Path | None, typer.Option(help="Write the JSON document to this file too.")] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Turns of private and plain; their median counts.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Time a DP-SGD step of the tabular expert beside a plain one, Edgeworth estimates, and certified calibrations.

    Takes about a minute of one core. No record is read: the records are drawn.
    """
    from simulations.benchmarks.privacy import measure_privacy  # noqa: PLC0415 - keeps --help fast

    with console.progress() as shown:
        task = shown.add_task("privacy", total=None)
        result = measure_privacy(
            rounds=rounds, on_part=lambda done, parts: shown.update(task, completed=done, total=parts)
        )
    _write(out, result)
    if as_json:
        console.print_json(result)
        return
    table = Table("what", "figure", "at most")
    targets = result["targets"]
    for records, row in result["step"].items():
        timed = f"{row['private_ms']:.2f} ms over {row['plain_ms']:.2f} ms: {row['ratio']:.2f}"
        table.add_row(f"private step, {records} records", timed, f"{targets['step_ratio']:g}")
    for records, row in result["text_step"].items():
        timed = f"{row['private_ms']:.1f} ms over {row['plain_ms']:.1f} ms: {row['ratio']:.2f}"
        table.add_row(f"private step, {records} texts", timed, f"{targets['text_step_ratio']:g}")
    for steps, milliseconds in result["estimate_ms"].items():
        table.add_row(f"estimate, {steps} steps", f"{milliseconds:.1f} ms", f"{targets['estimate_ms']:g} ms")
    for training, seconds in result["calibration_seconds"].items():
        table.add_row(f"calibration, {training}", f"{seconds:.2f} s", f"{targets['calibration_seconds']:g} s")
    console.stdout.print(table)


@app.command("bench-connectors")
def bench_connectors(
    *,
    out: Annotated[Path | None, typer.Option(help="Write the JSON document to this file too.")] = None,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Turns of base LLM and assembly; medians count.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Time an assembly beside its base LLM, weigh both, time the injector's training, and hold its odds to experts'.

    Takes about ten minutes of one core. No record is read: questions and probabilities are made up.
    """
    from simulations.benchmarks.connectors import measure_connectors  # noqa: PLC0415 - keeps --help fast

    with console.progress() as shown:
        task = shown.add_task("connectors", total=None)
        result = measure_connectors(
            rounds=rounds,
            on_section=lambda section, done, parts: shown.update(
                task, description=section, completed=done, total=parts
            ),
        )
    _write(out, result)
    if as_json:
        console.print_json(result)
    else:
        _show_connectors(result)


def _show_connectors(result: dict[str, Any]) -> None:
    table = Table("what", "base LLM alone", "assembled", "ratio", "bound")
    targets, step = result["targets"], result["injector_step"]
    for name, unit in (("ttft", "ms"), ("per_token", "ms"), ("peak_memory", "mib")):
        row, bound = result[name], targets[f"{name}.ratio"]
        figures = (f"{row[f'{which}_{unit}']:.0f} {unit}" for which in ("base", "assembled"))
        table.add_row(name, *figures, f"{row['ratio']:.3f}", f"at most {bound:g}")
    console.stdout.print(table)
    steps = "{suffix_ms:.0f} ms through the suffix, {whole_ms:.0f} ms through the whole: {speedup:.1f} times".format(
        **step
    )
    console.stdout.print(f"injector's step: {steps} (at least {targets['injector_step.speedup']:g})", highlight=False)
    odds = Table("schema", "calibration error", "by the injector alone", "lean", "whole sentences", "asked again")
    for name, row in result["calibration"].items():
        odds.add_row(
            name, *(f"{row[key]:.3f}" for key in ("ece", "ece_injector", "lean", "sentence_rate", "asked_again_rate"))
        )
    console.stdout.print(odds)
    ability = Table("without a route", "base LLM alone", "assembled")
    for name in ("perplexity", "arithmetic_accuracy", "completion_accuracy"):
        ability.add_row(name, *(f"{result['general_ability'][name][which]:.3f}" for which in ("base", "assembled")))
    console.stdout.print(ability)

    unlike = Table("unlike what is committed", "expected", "got")
    for name, figure in result["figures"].items():
        if not figure["good"]:
            got = "-" if figure["got"] is None else f"{figure['got']:.3f}"
            unlike.add_row(name, f"{figure['expected']:g} ± {figure['tolerance']:g}", got)
    if unlike.row_count:
        console.stdout.print(unlike)


def _write(out: Path | None, result: Any) -> None:  # noqa: ANN401 - a JSON document
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
