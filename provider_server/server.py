"""Build and run the upload service: mTLS, gRPC's own limits, health, shutdown."""

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from llamdex_fl.envelope import Passphrase, issuing_ca
from llamdex_fl.errors import CertificateError, LlamdexError, PortInUseError
from llamdex_fl.wire.convert import MAX_MESSAGE_BYTES
from provider_server.config import Limits, ProviderConfig
from provider_server.desk import Checks, Desk
from provider_server.guard import Guard
from provider_server.keyring_writer import moment
from provider_server.keys import load_provider_keys
from provider_server.registry import Registry
from provider_server.services import UploadService, add_to_server

__all__ = ["serve", "server_options"]

_LOG = logging.getLogger(__name__)
_GRACE_SECONDS = 5.0
_IDENTITY_ONLY = 1
_STREAMS_PER_CONNECTION = 1000
_CALLS_AT_THE_GUARD = 8


def serve(
    config: ProviderConfig,
    checks: Checks,
    *,
    ready: Callable[[str], None],
    passphrase: Passphrase | None = None,
) -> None:
    """Run the upload service until SIGTERM or SIGINT.

    Args:
        config: the provider's.
        checks: what the desk needs from the learning column.
        ready: called once with the address that is listened on.
        passphrase: of the private keys.

    Raises:
        PortInUseError: another process holds the address.
        CertificateError: the TLS certificate is damaged or expired, or not its key's.
        ConfigError, KeyringError: the provider's home is not complete.
    """
    with Registry(config.registry) as registry:
        keys = load_provider_keys(config, passphrase)
        desk = Desk(config, registry, keys, checks)
        desk.review()

        def saw(silo: str, certificate: bytes) -> None:
            # Known when a CA is to be retired: who would be locked out.
            ca = issuing_ca(certificate, desk.current_keyring().ca.encode())
            registry.sightings.note(silo, ca, moment())

        asyncio.run(_run(desk, ready, saw))


async def _run(desk: Desk, ready: Callable[[str], None], saw: Callable[[str, bytes], None]) -> None:
    config = desk.config
    server = grpc.aio.server(
        interceptors=[Guard(desk.current_keyring, config.limits, saw)],
        options=server_options(config.limits),
        # The guard counts, and tells who is refused to come again; this bounds what reaches the guard.
        maximum_concurrent_rpcs=_CALLS_AT_THE_GUARD * config.limits.rpcs,
        compression=grpc.Compression.NoCompression,
    )
    add_to_server(UploadService(desk), server)
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    port = _bind(server, config.address, _credentials(desk))
    await server.start()
    address = f"{config.address.rsplit(':', 1)[0]}:{port}"
    _LOG.info("provider %s listens on %s", config.provider, address)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not from a thread other than the main one; a test that runs the server there stops it otherwise.
        with contextlib.suppress(ValueError, RuntimeError):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    # Only now: whoever waits for it may stop the server at once.
    ready(address)
    await stopped.wait()
    await healthy.enter_graceful_shutdown()
    await server.stop(_GRACE_SECONDS)


def _credentials(desk: Desk) -> grpc.ServerCredentials:
    """Credentials that are looked up for each new connection: a rotated certificate or CA counts at once."""

    def present() -> tuple[tuple[bytes, bytes], bytes]:
        return desk.tls_pair(), desk.current_keyring().ca.encode()

    given, one_at_a_time = present(), threading.Lock()

    def fetched() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        try:
            with one_at_a_time:
                now = present()
                if now == given:
                    # Nothing new. To hand over the same again is not only slow: gRPC frees what it replaces while
                    # another connection may still be using it, and ends the process (grpc/grpc issue 36693).
                    return None
                given = now
        except (LlamdexError, OSError):
            # gRPC goes on with the credentials it has; the calls themselves say what is wrong with the keyring.
            _LOG.exception("the TLS credentials cannot be read again")
            return None
        return _configuration(*now)

    return grpc.dynamic_ssl_server_credentials(_configuration(*given), fetched, require_client_authentication=True)


def _configuration(pair: tuple[bytes, bytes], ca: bytes) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([pair], ca)


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError:
        port = 0
    if not port and _is_free(address):
        # gRPC says the same of an address that is taken and of credentials that it does not take.
        raise CertificateError(
            "TLS does not take the provider's certificate, its key, or the consortium's CA.",
            expected="a P-256 certificate with its key, and a CA",
            got="others",
            next_step="restore keys and keyring from a backup, or rotate the TLS key: llamdex-provider rotate HOME tls",
        )
    if not port:
        raise PortInUseError(
            f"The upload service cannot listen on {address}.",
            expected="an address of this machine that no other process holds",
            got="one that is taken, or not of this machine",
            next_step="stop the other process, or change address in provider.toml",
        )
    return int(port)


def _is_free(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(name)
    except OSError:
        return False
    return True


def server_options(limits: Limits) -> list[tuple[str, int]]:
    """What gRPC itself bounds: sizes, compression, streams, pings."""
    return [
        # Without it, two servers on one port share its connections instead of failing.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_metadata_size", 8 * 1024),
        ("grpc.absolute_max_metadata_size", 16 * 1024),
        # Otherwise a small compressed message may unpack to a large one.
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
        # Far over what is granted: calls over the limit are answered, where gRPC would reset the excess unanswered.
        ("grpc.max_concurrent_streams", max(_STREAMS_PER_CONNECTION, 2 * limits.rpcs)),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 3),
        ("grpc.max_connection_idle_ms", 300_000),
        ("grpc.server_handshake_timeout_ms", 10_000),
    ]
