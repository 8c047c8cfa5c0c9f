"""``llamdex-sim bench-channel``: what the sealed upload costs beside raw gRPC."""

import json
from pathlib import Path
from typing import Annotated

import typer

from llamdex_fl import console
from simulations.cli.main import app

__all__ = ["bench_channel"]


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
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
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
