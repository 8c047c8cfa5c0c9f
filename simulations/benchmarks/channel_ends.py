"""The processes that the channel benchmark starts: a provider, a raw receiver, and a silo that sends to either.

Each prints one line of JSON when it is ready and one for each line that it reads, and ends when its input ends. The
provider and the silo are the product's own code; the raw receiver counts bytes that come over the same kind of server,
with the same certificates and options, and keeps none of them.
"""

import asyncio
import json
import os
import resource
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.wrappers_pb2 import BytesValue, UInt64Value

from llamdex_fl import weights
from llamdex_fl.envelope import CHUNK_SIZE, provider_name
from llamdex_fl.privacy import certified_epsilon, certify
from llamdex_fl.privacy.guarantee import LaplaceCounts
from llamdex_fl.release import Offer, Release
from provider_server.config import load_provider_config
from provider_server.desk import Checks
from provider_server.keys import load_provider_keys
from provider_server.server import serve, server_options
from silo_client.config import SiloConfig, load_silo_config
from silo_client.enrolment import load_identity
from silo_client.uplink import keep, resume

__all__ = ["TENSOR", "peak_rss", "rss", "serve_provider", "serve_raw", "serve_silo", "shape_of"]

TENSOR = "weight"
_METHOD = "/llamdex.benchmark.Raw/Stream"
_HEADER_BYTES = 80


def shape_of(megabytes: int) -> tuple[int]:
    """The shape of one float32 tensor that makes a file of this many MB (10^6 bytes), header and all."""
    return ((megabytes * 1_000_000 - _HEADER_BYTES) // 4,)


def rss(pid: int) -> float:
    """Resident memory of a process now, MiB."""
    return _status(pid, "VmRSS")


def peak_rss(pid: int) -> float:
    """The most resident memory that a process ever had, MiB."""
    return _status(pid, "VmHWM")


def serve_provider(home: Path, megabytes: int) -> None:
    """Run the product's upload service, which expects one tensor of this size."""
    shape = shape_of(megabytes)
    checks = Checks(tensor_shapes=lambda _architecture, _schema: {TENSOR: shape}, certify_epsilon=certified_epsilon)
    serve(load_provider_config(home), checks, ready=lambda address: _say({"address": address}))


def serve_raw(home: Path) -> None:
    """Run a receiver that counts bytes, with the provider's certificates and gRPC options."""
    asyncio.run(_raw(home))


async def _raw(home: Path) -> None:
    config = load_provider_config(home)
    keys = load_provider_keys(config)

    async def count(requests: AsyncIterator[BytesValue], _context: object) -> UInt64Value:
        total = 0
        async for part in requests:
            total += len(part.value)
        return UInt64Value(value=total)

    handler = grpc.stream_unary_rpc_method_handler(count, BytesValue.FromString, UInt64Value.SerializeToString)
    service, method = _METHOD.strip("/").split("/")
    server = grpc.aio.server(options=server_options(config.limits), compression=grpc.Compression.NoCompression)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    ca = (config.keys / "ca-certificate.pem").read_bytes()
    credentials = grpc.ssl_server_credentials([keys.tls_pair()], ca, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    _say({"address": f"127.0.0.1:{port}"})
    await server.wait_for_termination()


def serve_silo(home: Path, megabytes: int) -> None:
    """Do what is asked for: ``{"raw": ADDRESS}``, ``{"keep": n, "offer": {...}}`` or ``{"resume": CHALLENGE}``.

    ``keep`` says how long the release's digest takes, which is computed there and not in ``resume``.
    """
    config = load_silo_config(home)
    tensor: np.ndarray[Any, np.dtype[np.float32]] | None = None
    _say({"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        if "raw" in order:
            _say(_timed(partial(_send_raw, config, order["raw"], _sample(home, megabytes))))
        elif "resume" in order:
            _say(_timed(partial(resume, config, order["resume"])))
        else:
            if tensor is None:
                tensor = np.ones(shape_of(megabytes), np.float32)
            # Each run sends other bytes, so that nothing is there already.
            tensor[0] = 1.0 + order["keep"]
            offer = Offer(**order["offer"])
            release = _release(offer, tensor)
            keep(release, offer, config)
            _say(_timed(partial(weights.digest, weights.encode(release.tensors))))


def _sample(home: Path, megabytes: int) -> Path:
    path = home / "raw.bytes"
    if not path.exists():
        path.write_bytes(bytes(1_000_000) * megabytes)
    return path


def _release(offer: Offer, tensor: np.ndarray[Any, np.dtype[np.float32]]) -> Release:
    guarantee = certify((LaplaceCounts(epsilon=0.1),), offer.delta)
    return Release(
        schema_digest=offer.schema_digest,
        architecture=offer.architecture,
        tensors={TENSOR: tensor},
        guarantee=guarantee,
    )


def _send_raw(config: SiloConfig, address: str, path: Path) -> None:
    identity = load_identity(config)
    keyring = identity.keyring
    credentials = grpc.ssl_channel_credentials(keyring.ca.encode(), identity.tls_key, identity.tls_certificate)
    options = [("grpc.ssl_target_name_override", provider_name(keyring.trust_domain, keyring.provider.provider))]

    def chunks() -> Iterator[BytesValue]:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_SIZE):
                yield BytesValue(value=chunk)

    with grpc.secure_channel(address, credentials, options) as channel:
        call = channel.stream_unary(_METHOD, BytesValue.SerializeToString, UInt64Value.FromString)
        received = call(chunks(), timeout=300)
    if received.value != path.stat().st_size:
        raise AssertionError("the raw receiver did not get every byte")


def _timed(action: Any) -> dict[str, float]:  # noqa: ANN401 - whatever is timed
    cpu = _processor_seconds()
    started = time.perf_counter()
    action()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "cpu_seconds": _processor_seconds() - cpu}


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no {name} in the status of a process")


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _answer_parent() -> None:
    """Say the processor time so far for each line; end when the benchmark, which holds the other end, is gone."""

    def answer() -> None:
        for _line in sys.stdin:
            _say({"cpu_seconds": _processor_seconds()})
        # The servers keep nothing that the benchmark needs afterwards.
        os._exit(0)

    threading.Thread(target=answer, daemon=True).start()


def _processor_seconds() -> float:
    """User and system time of this process; from the kernel's exact account, where /proc counts in hundredths."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _main() -> None:
    kind, home, megabytes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if kind == "silo":
        serve_silo(home, megabytes)
        return
    _answer_parent()
    if kind == "provider":
        serve_provider(home, megabytes)
    else:
        serve_raw(home)


if __name__ == "__main__":
    _main()
