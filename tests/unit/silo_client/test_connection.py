"""What a failed call means to a silo: to come again until the deadline, a few times, or not at all."""

from collections.abc import Mapping

import grpc
import pytest

from llamdex_fl.envelope import Answer, RefusedError
from llamdex_fl.wire import convert
from silo_client.connection import TransientError, read_error


class Failed(grpc.RpcError):
    """A call that ended with a status, as gRPC raises it."""

    def __init__(self, status: str, trailing: Mapping[str, str]) -> None:
        """End with this status and these trailing metadata."""
        super().__init__()
        self._status = grpc.StatusCode[status]
        self._trailing = trailing

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return "why"

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._trailing.items())


@pytest.mark.parametrize(
    ("failed", "doubtful"),
    [
        (Failed("UNAVAILABLE", {}), False),
        (Failed("DEADLINE_EXCEEDED", {}), False),
        (Failed("RESOURCE_EXHAUSTED", {convert.RETRY_AFTER: "1"}), False),
        (Failed("RESOURCE_EXHAUSTED", {}), True),
        (Failed("ABORTED", {}), True),
        (Failed("INTERNAL", {}), True),
    ],
)
def test_what_may_pass(failed: Failed, *, doubtful: bool):
    told = read_error(failed)
    assert isinstance(told, TransientError)
    assert told.doubtful is doubtful


def test_what_stays():
    told = read_error(Failed("FAILED_PRECONDITION", {}))
    assert isinstance(told, RefusedError)
    assert told.answer is Answer.FAILED_PRECONDITION
