"""How the guard reads messages; whom it lets in is tried against real connections (tests/integration)."""

import asyncio
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from llamdex_fl.envelope import Chunk
from llamdex_fl.wire import convert
from llamdex_fl.wire.v1 import upload_service_pb2 as pb2
from provider_server.config import Limits
from provider_server.guard import Guard


def parser_of(method: str) -> Any:  # noqa: ANN401 - of grpc
    async def handler(_details: object) -> Any:  # noqa: ANN401 - of grpc
        return grpc.stream_unary_rpc_method_handler(
            lambda _messages, _context: None, pb2.UploadExpertRequest.FromString
        )

    def keyring() -> Any:  # noqa: ANN401 - never called
        raise AssertionError("nobody is let in here")

    guarded = asyncio.run(Guard(keyring, Limits()).intercept_service(handler, SimpleNamespace(method=method)))
    return guarded.request_deserializer


def test_chunks_of_an_upload_are_read_without_a_copy() -> None:
    data = convert.chunk_request_bytes(Chunk(3, b"x" * 1000))
    assert isinstance(parser_of(convert.UPLOAD_EXPERT)(data), Chunk)
    assert isinstance(parser_of("/another/Method")(data), pb2.UploadExpertRequest)


@pytest.mark.parametrize("method", [convert.UPLOAD_EXPERT, "/another/Method"])
def test_bytes_that_are_no_message_do_not_raise_in_grpc(method: str) -> None:
    assert type(parser_of(method)(b"\x12\xff")).__name__ == "_Malformed"
