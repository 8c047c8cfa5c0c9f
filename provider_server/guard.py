"""What every call passes before its handler: identity, quota, well-formed messages; and how errors leave.

Order: transport and identity (``provider_server.transport``), then the silo's number of calls at a time, then the
message. gRPC would wait for the one message of a unary call before any of this, and without end; so each call is
taken as a stream, whose first message has a deadline. A refusal becomes its gRPC status with one public sentence. A
message that does not parse, or is missing, is INVALID_ARGUMENT, where gRPC by itself says INTERNAL. Any other error is
INTERNAL with a fixed text; its detail is in the provider's log only.
"""

import asyncio
import contextvars
import errno
import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from llamdex_fl.envelope import Answer, DocumentError, Keyring, RefusedError
from llamdex_fl.errors import KeyringError, LlamdexError
from llamdex_fl.wire import convert
from provider_server.config import Limits
from provider_server.transport import identify

__all__ = ["Guard", "peer"]

_LOG = logging.getLogger(__name__)
_RETRY_SECONDS = "1"
_FAILED = "The provider failed; its log says why."

#: The silo whose call is being handled.
peer: contextvars.ContextVar[str] = contextvars.ContextVar("peer")


class _BusyError(RefusedError):
    """Refused for what others do at this moment: worth another try, unlike a quota that is spent."""


class _Malformed:
    """Stands for a message that does not parse, until the handler asks for it."""


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is not followed by mypy
    """Stands before every handler of the server.

    Args:
        keyring: gives the present keyring.
        limits: how many calls at a time, and how long the one message of a unary call may take.
        saw: told each silo's certificate (PEM) when it shows another one than before.
    """

    def __init__(
        self,
        keyring: Callable[[], Keyring],
        limits: Limits,
        saw: Callable[[str, bytes], None] = lambda _silo, _pem: None,
    ) -> None:
        """Guard with a keyring."""
        self._keyring = keyring
        self._limits = limits
        self._saw = saw
        self._shown: dict[str, bytes] = {}
        self._running: Counter[str] = Counter()

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:  # noqa: ANN401 - a handler of grpc, which mypy does not follow
        """Wrap the handler of a method; None, where there is none, stays UNIMPLEMENTED."""
        handler = await continuation(details)
        if handler is None:
            return None
        upload = details.method == convert.UPLOAD_EXPERT
        parse = convert.parse_upload_request if upload else handler.request_deserializer
        options = {
            "request_deserializer": _tolerant(parse),
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming and handler.response_streaming:
            return None
        # On the wire a unary request is a stream of one message.
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._streaming(handler.unary_stream, details), **options)
        return grpc.stream_unary_rpc_method_handler(
            self._unary(handler.stream_unary or handler.unary_unary, details, stream=handler.request_streaming),
            **options,
        )

    def _unary(
        self,
        behaviour: Callable[[Any, Any], Awaitable[Any]],
        details: Any,  # noqa: ANN401 - of grpc
        *,
        stream: bool,
    ) -> Callable[..., Awaitable[Any]]:
        async def guarded(requests: Any, context: Any) -> Any:  # noqa: ANN401 - of grpc
            with _answers(details.method) as outcome, self._admitted(context):
                await self._look(context)
                messages = _each_well_formed(requests)
                return await behaviour(messages if stream else await self._only(messages), context)
            return await context.abort(*outcome)

        return guarded

    def _streaming(self, behaviour: Callable[[Any, Any], Any], details: Any) -> Callable[..., Awaitable[None]]:  # noqa: ANN401 - of grpc
        async def guarded(requests: Any, context: Any) -> None:  # noqa: ANN401 - of grpc
            with _answers(details.method) as outcome, self._admitted(context):
                await self._look(context)
                responses = behaviour(await self._only(_each_well_formed(requests)), context)
                if not hasattr(responses, "__aiter__"):
                    # A coroutine that writes by itself, as the health service does.
                    await responses
                    return
                async for response in responses:
                    await context.write(response)
                return
            await context.abort(*outcome)

        return guarded

    async def _only(self, messages: AsyncIterator[Any]) -> Any:  # noqa: ANN401 - a message
        """The one message of a unary call."""
        try:
            async with asyncio.timeout(self._limits.header_seconds):
                message = await anext(messages, None)
                more = message is not None and await anext(messages, None) is not None
        except TimeoutError:
            raise RefusedError(
                Answer.DEADLINE_EXCEEDED,
                "The call's message did not come in time.",
                expected=f"a message within {self._limits.header_seconds:g} s",
                got="none",
                next_step="try again over a better connection",
            ) from None
        if message is None or more:
            raise DocumentError(
                "The call does not have one message.", expected="one message", got="two" if more else "none"
            )
        return message

    async def _look(self, context: Any) -> None:  # noqa: ANN401 - of grpc
        """Take note of the certificate of an admitted silo, once; that this fails is no reason to refuse a call."""
        silo, (certificate,) = peer.get(), context.auth_context()["x509_pem_cert"]
        if self._shown.get(silo) == certificate:
            return
        try:
            await asyncio.to_thread(self._saw, silo, certificate)
        except (OSError, sqlite3.Error, LlamdexError):
            _LOG.exception("the certificate of %s is not noted", silo)
        else:
            self._shown[silo] = certificate

    @contextmanager
    def _admitted(self, context: Any) -> Iterator[None]:  # noqa: ANN401 - of grpc
        silo = identify(context.auth_context(), self._keyring())
        limits = self._limits
        if self._running[silo] >= limits.rpcs_per_silo or self._running.total() >= limits.rpcs:
            raise _BusyError(
                Answer.RESOURCE_EXHAUSTED,
                "Too many calls at a time.",
                expected=f"at most {limits.rpcs_per_silo} of a silo and {limits.rpcs} in all",
                got="more",
                next_step="wait for one to end",
            )
        self._running[silo] += 1
        peer.set(silo)
        try:
            yield
        finally:
            self._running[silo] -= 1
            if not self._running[silo]:
                del self._running[silo]


@contextmanager
def _answers(method: str) -> Iterator[list[Any]]:
    """Turn what is raised into a status and a sentence, which the caller finds in the list."""
    outcome: list[Any] = []
    try:
        yield outcome
    except RefusedError as error:
        _LOG.warning("%s by %s: %s: %s", method, peer.get("?"), error.answer.name, error)
        outcome += [getattr(grpc.StatusCode, error.answer.name), error.problem]
        if isinstance(error, _BusyError):
            outcome.append(((convert.RETRY_AFTER, _RETRY_SECONDS),))
    except KeyringError as error:
        _LOG.error("%s: %s", method, error)
        outcome += [grpc.StatusCode.UNAVAILABLE, "The provider's keyring is not usable now."]
    except (OSError, sqlite3.Error) as error:
        _LOG.exception("%s by %s", method, peer.get("?"))
        outcome += _out_of_room(error) or [grpc.StatusCode.INTERNAL, _FAILED]
    except Exception:  # noqa: BLE001 - whatever it is, its text must not reach the other end
        _LOG.exception("%s by %s", method, peer.get("?"))
        outcome += [grpc.StatusCode.INTERNAL, _FAILED]


def _out_of_room(error: OSError | sqlite3.Error) -> list[Any] | None:
    full = (
        error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        if isinstance(error, OSError)
        else getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    )
    return [grpc.StatusCode.RESOURCE_EXHAUSTED, "The provider has no room on its disk now."] if full else None


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:  # noqa: ANN401 - a message
        try:
            return deserialize(data)
        except DecodeError:
            return _Malformed()

    return read


async def _each_well_formed(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if isinstance(request, _Malformed):
            raise DocumentError("The message does not parse.", expected="the protocol's message", got="other bytes")
        yield request
