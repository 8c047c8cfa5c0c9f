"""Why an envelope is refused, in the protocol's own words.

``Answer`` has the names of gRPC's status codes, since docs/envelope.md gives each hostile case its answer in them;
nothing here knows gRPC. The texts of one answer do not tell an attacker which check failed where that would be an
oracle: whatever fails while a key is unwrapped or a chunk is opened reads the same.
"""

from enum import Enum

from llamdex_fl.errors import EnvelopeError

__all__ = ["Answer", "DocumentError", "RefusedError", "damaged"]


class Answer(Enum):
    """What the sender is told, by the name of a gRPC status code."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    NOT_FOUND = "NOT_FOUND"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    DATA_LOSS = "DATA_LOSS"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"


class RefusedError(EnvelopeError):
    """An envelope, or a step of the protocol, is refused.

    Attributes:
        answer: the status that the other end gets; ``problem`` is the text that goes with it, the other parts
            stay on this side.
    """

    exit_code = 2

    def __init__(self, answer: Answer, problem: str, *, expected: str, got: str, next_step: str) -> None:
        """Refuse with an answer."""
        self.answer = answer
        super().__init__(problem, expected=expected, got=got, next_step=next_step)


class DocumentError(RefusedError):
    """A signed or canonical document that does not parse."""

    def __init__(self, problem: str, *, expected: str, got: str) -> None:
        """Refuse a document as an invalid argument."""
        super().__init__(
            Answer.INVALID_ARGUMENT,
            problem,
            expected=expected,
            got=got,
            next_step="write it with llamdex_fl.envelope of the same version",
        )


def damaged() -> RefusedError:
    """The one refusal for everything that does not open: no reader learns which part was wrong."""
    return RefusedError(
        Answer.DATA_LOSS,
        "The envelope does not open.",
        expected="the bytes that were sealed for this upload",
        got="others",
        next_step="begin a new upload",
    )
