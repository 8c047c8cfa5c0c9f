"""What a silo reads from its provider: newer keys of the consortium, and the log."""

import hashlib
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import grpc

from llamdex_fl.envelope import EnrolmentReply, Passphrase, SignedEnvelope
from llamdex_fl.errors import ChannelError
from llamdex_fl.wire import convert
from llamdex_fl.wire.v1 import consortium_service_pb2_grpc
from silo_client.config import SiloConfig
from silo_client.connection import open_channel, read_error
from silo_client.enrolment import SiloIdentity, load_identity, take

__all__ = ["read_log", "refresh", "renewed"]

_SECONDS = 60.0
_REPLY_LIMIT = 32 << 20
_ENTRIES_LIMIT = 1_000_000


def refresh(
    identity: SiloIdentity,
    config: SiloConfig,
    passphrase: Passphrase | None = None,
    *,
    channel: grpc.Channel | None = None,
) -> bool:
    """Fetch root, keyring and certificate if the provider has newer ones, and use them from now on.

    What comes is believed because of the root that this silo pinned, not because of the connection.

    Args:
        identity: what the silo has.
        config: the silo's.
        passphrase: of the silo's private keys.
        channel: an open one to ask over; None opens one.

    Returns:
        Whether something was taken; then the identity must be loaded again.

    Raises:
        TransientError: the provider does not answer.
        ProviderIdentityError: the other end is somebody else.
        RefusedError: it refuses, for example because this silo is revoked.
        KeyringError: what came must not be trusted; nothing was changed.
    """
    request = convert.enrolment_request(identity.keyring.version, hashlib.sha256(identity.tls_certificate).digest())
    text = b""
    try:
        with nullcontext(channel) if channel else open_channel(identity, config) as asked:
            stub = consortium_service_pb2_grpc.ConsortiumServiceStub(asked)  # type: ignore[no-untyped-call]  # generated
            for message in stub.ReadEnrolment(request, timeout=_SECONDS):
                text += message.part
                if len(text) > _REPLY_LIMIT:
                    raise _too_much("an enrolment reply", _REPLY_LIMIT)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            # A provider of an older version: its keyring comes by file.
            return False
        raise read_error(error) from error
    if not text:
        return False
    take(config, EnrolmentReply.from_json(text.decode("utf-8", "replace")), passphrase=passphrase)
    return True


def renewed(
    identity: SiloIdentity,
    config: SiloConfig,
    passphrase: Passphrase | None = None,
    *,
    channel: grpc.Channel | None = None,
) -> SiloIdentity:
    """The identity to go on with, after ``refresh``; an expired one is good for no more than asking.

    Raises:
        KeyringError: root or keyring has expired, and the provider has no newer one.
        TransientError, ProviderIdentityError, RefusedError: as ``refresh``.
    """
    if refresh(identity, config, passphrase, channel=channel) or datetime.now(UTC) >= identity.expires_at:
        return load_identity(config, passphrase)
    return identity


def read_log(
    identity: SiloIdentity, config: SiloConfig, known_tree_size: int
) -> tuple[SignedEnvelope, tuple[bytes, ...], list[tuple[bytes, SignedEnvelope | None]]]:
    """Read the provider's log; nothing in it is verified yet.

    Returns:
        The signed head; the proof that it extends the tree of ``known_tree_size``; and every entry's payload, with
        the signed statement where it is a release's.

    Raises:
        TransientError, ProviderIdentityError, RefusedError: as ``refresh``.
    """
    try:
        with open_channel(identity, config) as channel:
            stub = consortium_service_pb2_grpc.ConsortiumServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            messages: Iterator[Any] = iter(stub.ReadLog(convert.log_request(known_tree_size), timeout=_SECONDS))
            head, proof = convert.read_log_head_response(_first(messages))
            entries = []
            for message in messages:
                entries.append(convert.read_log_entry_response(message))
                if len(entries) > _ENTRIES_LIMIT:
                    raise _too_much("a log", _ENTRIES_LIMIT)
    except grpc.RpcError as error:
        raise read_error(error) from error
    return head, proof, entries


def _first(messages: Iterator[Any]) -> Any:  # noqa: ANN401 - of grpc
    try:
        return next(messages)
    except StopIteration:
        raise ChannelError(
            "The provider gave no log.",
            expected="the log's head",
            got="nothing",
            next_step="compare the versions of both ends",
        ) from None


def _too_much(what: str, limit: int) -> ChannelError:
    return ChannelError(
        f"The provider sends too large {what}.",
        expected=f"at most {limit}",
        got="more",
        next_step="ask the consortium",
    )
