"""What every call passes before its handler: identity, quota, well-formed messages; and how errors leave.

Order: transport and identity (``provider_server.transport``), then the silo's number of calls at a time. A refusal
becomes its gRPC status with one public sentence. A message that does not parse is INVALID_ARGUMENT, where gRPC by
itself says INTERNAL. Any other error is INTERNAL with a fixed text; its detail is in the provider's log only.
"""

import contextvars
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from llamdex_fl.envelope import Answer, DocumentError, Keyring, RefusedError
from llamdex_fl.errors import KeyringError
from provider_server.transport import identify

__all__ = ["Guard", "peer"]

_LOG = logging.getLogger(__name__)

#: The silo whose call is being handled.
peer: contextvars.ContextVar[str] = contextvars.ContextVar("peer")


class _Malformed:
    """Stands for a message that does not parse, until the handler asks for it."""


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is not followed by mypy
    """Stands before every handler of the server.

    Args:
        keyring: gives the present keyring.
        rpcs_per_silo: calls of one silo at a time.
    """

    def __init__(self, keyring: Callable[[], Keyring], rpcs_per_silo: int) -> None:
        """Guard with a keyring."""
        self._keyring = keyring
        self._rpcs_per_silo = rpcs_per_silo
        self._running: Counter[str] = Counter()

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:  # noqa: ANN401 - a handler of grpc, which mypy does not follow
        """Wrap the handler of a method; None, where there is none, stays UNIMPLEMENTED."""
        handler = await continuation(details)
        if handler is None:
            return None
        options = {
            "request_deserializer": _tolerant(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming:
            if handler.response_streaming:
                return None
            return grpc.stream_unary_rpc_method_handler(self._unary(handler.stream_unary, details), **options)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._streaming(handler.unary_stream, details), **options)
        return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, details), **options)

    def _unary(self, behaviour: Callable[[Any, Any], Awaitable[Any]], details: Any) -> Callable[..., Awaitable[Any]]:  # noqa: ANN401 - of grpc
        async def guarded(request: Any, context: Any) -> Any:  # noqa: ANN401 - of grpc
            with _answers(details.method) as outcome, self._admitted(context):
                return await behaviour(_well_formed(request), context)
            return await context.abort(*outcome)

        return guarded

    def _streaming(self, behaviour: Callable[[Any, Any], Any], details: Any) -> Callable[..., Awaitable[None]]:  # noqa: ANN401 - of grpc
        async def guarded(request: Any, context: Any) -> None:  # noqa: ANN401 - of grpc
            with _answers(details.method) as outcome, self._admitted(context):
                responses = behaviour(_well_formed(request), context)
                if not hasattr(responses, "__aiter__"):
                    # A coroutine that writes by itself, as the health service does.
                    await responses
                    return
                async for response in responses:
                    await context.write(response)
                return
            await context.abort(*outcome)

        return guarded

    @contextmanager
    def _admitted(self, context: Any) -> Iterator[None]:  # noqa: ANN401 - of grpc
        silo = identify(context.auth_context(), self._keyring())
        if self._running[silo] >= self._rpcs_per_silo:
            raise RefusedError(
                Answer.RESOURCE_EXHAUSTED,
                "Too many calls at a time.",
                expected=f"at most {self._rpcs_per_silo}",
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
    except KeyringError as error:
        _LOG.error("%s: %s", method, error)
        outcome += [grpc.StatusCode.UNAVAILABLE, "The provider's keyring is not usable now."]
    except Exception:  # noqa: BLE001 - whatever it is, its text must not reach the other end
        _LOG.exception("%s by %s", method, peer.get("?"))
        outcome += [grpc.StatusCode.INTERNAL, "The provider failed; its log says why."]


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:  # noqa: ANN401 - a message
        try:
            return deserialize(data)
        except DecodeError:
            return _Malformed()

    return read


def _well_formed(request: Any) -> Any:  # noqa: ANN401 - a message or an iterator of messages
    if hasattr(request, "__aiter__"):
        return _each_well_formed(request)
    if isinstance(request, _Malformed):
        raise DocumentError("The message does not parse.", expected="the protocol's message", got="other bytes")
    return request


async def _each_well_formed(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _well_formed(request)
