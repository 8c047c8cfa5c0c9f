"""What the sealed upload costs beside raw mTLS gRPC streaming of the same bytes, and how much memory it takes.

A sealed upload is the whole of it, as the product does it: digest, seal into a spool file, begin, stream, open,
spool, digest, checks, log, receipt, verified at the silo. A raw one streams a file of the same size in messages of the
same size to a receiver that keeps nothing. Both run in turns, so that a busy machine troubles them alike; what counts
is the best of the rounds. Memory is measured apart, in fresh processes for each size.
"""

import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llamdex_fl.errors import ProcessError
from llamdex_fl.release import Offer
from llamdex_fl.schema import load_library_schema
from provider_server.config import load_provider_config
from provider_server.registry import Registry
from provider_server.setup import add_schema, enrol, init_provider
from silo_client.enrolment import join, make_keys
from simulations.benchmarks.channel_ends import peak_rss, rss
from simulations.local_consortium.supervisor import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TARGETS", "measure_channel"]

#: What docs/envelope.md promises: sealed over raw throughput at least, sealed over raw CPU at most, and by how much
#: the peak memory of 500 MB may lie over that of 100 MB.
TARGETS = {"throughput_ratio": 0.40, "cpu_ratio": 1.9, "memory_difference_mib": 10.0}

_ROUNDS = 5
_MEGABYTES = 100
_SIZES = (100, 500)
_ENDS = [sys.executable, "-m", "simulations.benchmarks.channel_ends"]
_LIMITS = "\n[limits]\nplaintext_bytes = 1073741824\nsessions_per_silo = 50\nuploads_per_silo_and_day = 1000\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Homes:
    """A founded consortium of one silo."""

    provider: Path
    silo: Path

    @classmethod
    def found(cls, directory: Path) -> Self:
        provider, silo = directory / "provider", directory / "silo"
        address = f"127.0.0.1:{free_port('127.0.0.1', None)}"
        fingerprint = init_provider(provider, provider="prov", trust_domain="bench.example", address=address)
        with (provider / "provider.toml").open("a", encoding="utf-8") as file:
            file.write(_LIMITS)
        add_schema(provider, load_library_schema("heart"))
        silo.mkdir()
        lines = {"silo": "a", "data": "data.csv", "provider": "prov", "provider_address": address}
        text = "".join(f'{key} = "{value}"\n' for key, value in lines.items())
        (silo / "silo.toml").write_text(text, encoding="utf-8")
        (reply,) = enrol(provider, [make_keys(silo)])
        join(silo, reply, fingerprint)
        return cls(provider=provider, silo=silo)

    def offer(self) -> Offer:
        """Open a round."""
        offer = Offer(
            provider="prov",
            purpose="answer",
            schema_digest=load_library_schema("heart").digest(),
            architecture="benchmark/v1",
            base_model_digest="22" * 32,
            epsilon=1.0,
            delta=1e-4,
            challenge=secrets.token_hex(32),
        )
        with Registry(load_provider_config(self.provider).registry) as registry:
            registry.open_round(offer)
        return offer

    def clean(self) -> None:
        """Remove artefacts of rounds that are over: they would fill the disk."""
        for path in (self.provider / "artefacts").glob("*.safetensors"):
            path.unlink()


def measure_channel(*, rounds: int = _ROUNDS, megabytes: int = _MEGABYTES, sizes: tuple[int, ...] = _SIZES) -> Any:  # noqa: ANN401 - a JSON document
    """Run the benchmark; minutes of both cores and about 2 GB of disk.

    Args:
        rounds: turns of raw and sealed.
        megabytes: of each transfer that is timed, 10^6 bytes.
        sizes: of the uploads whose memory is measured.

    Returns:
        A JSON document with ``throughput_ratio``, ``cpu_ratio``, ``peak_memory_mib``, the rounds, and the machine.
    """
    with tempfile.TemporaryDirectory(prefix="llamdex-bench-") as directory:
        homes = _Homes.found(Path(directory))
        raw, sealed, digest = _turns(homes, rounds, megabytes)
        memory = {f"{size}MB": _peak_memory(homes, size) for size in sizes}
    digested = [
        {name: value + extra[name] for name, value in own.items()} for own, extra in zip(sealed, digest, strict=True)
    ]
    return {
        "megabytes": megabytes,
        "throughput_ratio": _faster(raw, sealed),
        "cpu_ratio": _dearer(raw, sealed),
        "with_digest": {"throughput_ratio": _faster(raw, digested), "cpu_ratio": _dearer(raw, digested)},
        "peak_memory_mib": {size: round(max(ends.values()), 1) for size, ends in memory.items()},
        "peak_memory_mib_by_end": memory,
        "sealed_mb_per_s": round(megabytes / _least(sealed, "seconds"), 1),
        "raw_mb_per_s": round(megabytes / _least(raw, "seconds"), 1),
        "targets": TARGETS,
        "rounds": {"raw": raw, "sealed": sealed, "digest": digest},
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "note": "throughput: best of the rounds; CPU: all of them; other work on the machine lowers both kinds",
    }


def _turns(homes: _Homes, rounds: int, megabytes: int) -> tuple[list[dict[str, float]], ...]:
    """Seconds of the raw streams, of the sealed uploads, and of the digests that were computed before them."""
    results: dict[str, list[dict[str, float]]] = {"raw": [], "sealed": [], "digest": []}
    with ExitStack() as stack:
        provider, _ = stack.enter_context(_started("provider", homes.provider, megabytes))
        receiver, said = stack.enter_context(_started("raw", homes.provider, megabytes))
        silo, _ = stack.enter_context(_started("silo", homes.silo, megabytes))
        # One round more than is counted: the first one of each kind loads and connects.
        for number in range(rounds + 1):
            offer = homes.offer()
            digest = _ask(silo, {"keep": number, "offer": asdict(offer)})
            if number:
                results["digest"].append(digest)
            for kind, server, order in (
                ("raw", receiver, {"raw": said["address"]}),
                ("sealed", provider, {"resume": offer.challenge}),
            ):
                before = _cpu_seconds(server)
                result = _ask(silo, order)
                result["cpu_seconds"] += _cpu_seconds(server) - before
                if number:
                    results[kind].append(result)
            homes.clean()
    return tuple(
        [{name: round(value, 4) for name, value in result.items()} for result in results[kind]] for kind in results
    )


def _peak_memory(homes: _Homes, megabytes: int) -> dict[str, float]:
    """Peak resident memory above the idle process, MiB, at each end, over one upload in fresh processes."""
    offer = homes.offer()
    with _started("silo", homes.silo, megabytes) as (writer, _):
        _ask(writer, {"keep": 1, "offer": asdict(offer)})
    with (
        _started("provider", homes.provider, megabytes) as (provider, _),
        _started("silo", homes.silo, megabytes) as (silo, _),
    ):
        idle = {"silo": rss(silo.pid), "provider": rss(provider.pid)}
        _ask(silo, {"resume": offer.challenge})
        peaks = {"silo": peak_rss(silo.pid), "provider": peak_rss(provider.pid)}
    homes.clean()
    return {end: round(peak - idle[end], 1) for end, peak in peaks.items()}


def _faster(raw: list[dict[str, float]], sealed: list[dict[str, float]]) -> float:
    """Throughput as a share of the raw stream's, best of the rounds."""
    return round(_least(raw, "seconds") / _least(sealed, "seconds"), 3)


def _dearer(raw: list[dict[str, float]], sealed: list[dict[str, float]]) -> float:
    """Processor time as a multiple of the raw stream's, of all rounds together: no lucky round of either decides."""
    return round(sum(own["cpu_seconds"] for own in sealed) / sum(own["cpu_seconds"] for own in raw), 3)


@contextmanager
def _started(kind: str, home: Path, megabytes: int) -> "Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]":
    """A process of ``channel_ends`` and the first thing that it said; it is ended afterwards."""
    process = subprocess.Popen(
        [*_ENDS, kind, str(home), str(megabytes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process, _answer(process)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _ask(process: "subprocess.Popen[str]", order: dict[str, Any]) -> dict[str, Any]:
    if process.stdin is None:
        raise AssertionError("started with a pipe")
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    return _answer(process)


def _answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    line = "" if process.stdout is None else process.stdout.readline()
    if not line:
        raise ProcessError(
            "A process of the benchmark ended too early.",
            expected="an answer",
            got=f"exit status {process.poll()}",
            next_step="read what it wrote above",
        )
    answer: dict[str, Any] = json.loads(line)
    return answer


def _cpu_seconds(server: "subprocess.Popen[str]") -> float:
    """User and system time of a server so far."""
    return float(_ask(server, {})["cpu_seconds"])


def _least(rounds: list[dict[str, float]], name: str) -> float:
    return min(result[name] for result in rounds)
