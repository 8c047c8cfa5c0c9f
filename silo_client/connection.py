"""The silo's connection to its provider: mutual TLS with the key that the keyring names, and what errors mean."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from llamdex_fl.envelope import Answer, RefusedError, provider_name, spki_digest
from llamdex_fl.errors import ChannelError, ProviderIdentityError, ProviderUnreachableError
from llamdex_fl.wire import convert
from silo_client.config import SiloConfig
from silo_client.enrolment import SiloIdentity

__all__ = ["CONNECT_SECONDS", "TransientError", "open_channel", "read_error", "unreachable"]

CONNECT_SECONDS = 10.0
_TRANSIENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
_DOUBTFUL = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class TransientError(Exception):
    """Try again: the provider did not answer, or not to the end."""

    def __init__(self, text: str, *, doubtful: bool = False, final: Exception | None = None) -> None:
        """Say what happened, whether it may be our own fault, and what to raise when trying ends."""
        super().__init__(text)
        self.doubtful = doubtful
        self.final = final


@contextmanager
def open_channel(identity: SiloIdentity, config: SiloConfig) -> Iterator[grpc.Channel]:
    """A connection to the provider, once its certificate is the keyring's.

    Raises:
        TransientError: it does not answer.
        ProviderIdentityError: the other end is somebody else.
    """
    keyring = identity.keyring
    name = provider_name(keyring.trust_domain, keyring.provider.provider)
    _require_provider(config.provider_address, name, identity)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=keyring.ca.encode(),
        private_key=identity.tls_key,
        certificate_chain=identity.tls_certificate,
    )
    options = [
        ("grpc.ssl_target_name_override", name),
        ("grpc.max_receive_message_length", convert.MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", convert.MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Retries are ours: gRPC's own would send chunks that the provider may have already.
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    ]
    with grpc.secure_channel(config.provider_address, credentials, options) as channel:
        yield channel


def _require_provider(address: str, name: str, identity: SiloIdentity) -> None:
    """Compare the provider's certificate with the keyring before any call.

    gRPC checks the same chain and name again but calls every failure UNAVAILABLE, so without this look a forged
    provider would be indistinguishable from one that is down.
    """
    host, port = address.rsplit(":", 1)
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS) as connection,
            identity.tls.wrap_socket(connection, server_hostname=name) as secured,
        ):
            certificate = secured.getpeercert(binary_form=True) or b""
    except ssl.SSLCertVerificationError as error:
        raise _stranger(address, error.verify_message) from error
    except ssl.SSLError as error:
        if error.reason in {"WRONG_VERSION_NUMBER", "TLSV1_ALERT_PROTOCOL_VERSION", "RECORD_LAYER_FAILURE"}:
            raise _stranger(address, "no TLS 1.3") from error
        raise TransientError(f"TLS failed: {error.reason}") from error
    except OSError as error:
        raise TransientError(error.strerror or type(error).__name__) from error
    keyring = identity.keyring
    digest = spki_digest(certificate)
    if digest not in keyring.provider.spki or digest in keyring.revoked:
        raise _stranger(address, "another key than the keyring's")


def read_error(error: grpc.RpcError) -> Exception:
    """What a failed call means: to be tried again, a refusal, or another protocol."""
    code, text = error.code(), str(error.details())[:300]
    refusal = None
    if code.name in Answer.__members__:
        refusal = RefusedError(
            Answer[code.name],
            f"The provider refuses: {text}",
            expected="what docs/envelope.md asks for",
            got=code.name,
            next_step="see the table in docs/envelope.md; the provider's log has the detail",
        )
    # A provider that has too much to do at the moment says so; another RESOURCE_EXHAUSTED, of a quota, may stay.
    busy = any(key == convert.RETRY_AFTER for key, _ in error.trailing_metadata() or ())
    if code in _TRANSIENT or busy:
        return TransientError(f"{code.name}: {text}")
    if code in _DOUBTFUL:
        failed = ChannelError(
            f"The provider failed: {text}",
            expected="an answer of the protocol",
            got=code.name,
            next_step="ask the provider for its log; the release stays in the spool",
        )
        return TransientError(f"{code.name}: {text}", doubtful=True, final=refusal or failed)
    return refusal or ChannelError(
        f"The provider does not speak this protocol: {text}",
        expected="the upload service of the same version",
        got=code.name,
        next_step="compare the versions of both ends",
    )


def unreachable(config: SiloConfig, got: str) -> ProviderUnreachableError:
    """The error for a provider that does not answer in time."""
    return ProviderUnreachableError(
        f"The provider {config.provider} does not answer at {config.provider_address}.",
        expected="its upload service",
        got=got,
        next_step="try again later: the release waits in the spool and is sent as it is",
    )


def _stranger(address: str, got: str) -> ProviderIdentityError:
    return ProviderIdentityError(
        f"The server at {address} is not the provider of the keyring.",
        expected="a certificate of the consortium's CA with the provider's key",
        got=got,
        next_step="check provider_address in silo.toml; if it is right, tell the consortium: nothing was sent",
    )
