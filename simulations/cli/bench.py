"""``llamdex-sim bench-channel`` and ``bench-privacy``: what the channel and privacy cost, beside going without."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["bench_channel", "bench_privacy"]


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
    memory = ", ".join(f"{size} {mib:.0f} MiB" for size, mib in result["peak_memory_mib"].items())
    console.stdout.print(
        f"throughput {result['throughput_ratio']:.2f} of raw ({result['sealed_mb_per_s']:.0f} of "
        f"{result['raw_mb_per_s']:.0f} MB/s), CPU {result['cpu_ratio']:.2f} of raw, peak memory {memory}",
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


def _write(out: Path | None, result: Any) -> None:  # noqa: ANN401 - a JSON document
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
