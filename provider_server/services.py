"""The gRPC side of the upload service: streams, deadlines, status codes; nothing is decided here.

Deciding is ``provider_server.intake``'s, doing is ``provider_server.desk``'s. A refusal gives its status and its
one public sentence; everything else about it stays in the provider's log.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from llamdex_fl.envelope import Answer, Chunk, DocumentError, Header, RefusedError
from llamdex_fl.wire import convert
from llamdex_fl.wire.v1 import consortium_service_pb2 as consortium_pb2
from llamdex_fl.wire.v1 import consortium_service_pb2_grpc as consortium_pb2_grpc
from llamdex_fl.wire.v1 import upload_service_pb2 as pb2
from llamdex_fl.wire.v1 import upload_service_pb2_grpc as pb2_grpc
from provider_server.desk import Desk
from provider_server.guard import peer
from provider_server.spool import Stream

__all__ = ["ConsortiumService", "UploadService", "add_to_server"]

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class UploadService(pb2_grpc.UploadServiceServicer):
    """Serves one desk."""

    def __init__(self, desk: Desk) -> None:
        """Serve ``desk``."""
        self._desk = self.desk = desk
        self._limits = desk.config.limits
        #: The stream of each upload; a newer one takes the place of an older one, whose sender has gone.
        self._streams: dict[str, asyncio.Task[int]] = {}
        # One at a time: the checks of a commit are the only heavy work, and a queue is fairer than a race.
        self._committing = asyncio.Lock()

    async def BeginUpload(self, request: pb2.BeginUploadRequest, _context: object) -> pb2.BeginUploadResponse:  # noqa: N802 - the proto's name
        """Open a session."""
        wish = convert.read_begin_request(request)
        return convert.begin_response(await asyncio.to_thread(self._desk.begin, peer.get(), wish))

    async def GetUploadStatus(  # noqa: N802 - the proto's name
        self, request: pb2.GetUploadStatusRequest, _context: object
    ) -> pb2.GetUploadStatusResponse:
        """Say where a session stands."""
        upload_id = convert.read_status_request(request)
        return convert.status_response(await asyncio.to_thread(self._desk.progress, peer.get(), upload_id))

    async def CommitUpload(self, request: pb2.CommitUploadRequest, _context: object) -> pb2.CommitUploadResponse:  # noqa: N802 - the proto's name
        """Check the whole, and give the receipt."""
        silo, (upload_id, release_id, known) = peer.get(), convert.read_commit_request(request)
        async with self._committing:
            work = asyncio.to_thread(self._desk.commit, silo, upload_id, release_id, known)
            committed = await _within(self._limits.commit_seconds, work)
            _LOG.info("silo %s: receipt %s", silo, committed.receipt.receipt_id)
            await asyncio.to_thread(self._desk.review)
        return convert.commit_response(committed)

    async def UploadExpert(  # noqa: N802 - the proto's name
        self, requests: AsyncIterator[pb2.UploadExpertRequest], _context: object
    ) -> pb2.UploadExpertResponse:
        """Take a header, then chunks in order."""
        silo = peer.get()
        async with _deadline(self._limits.stream_seconds):
            header = await self._next(requests, self._limits.header_seconds)
            if not isinstance(header, Header):
                raise DocumentError("The stream does not begin with a header.", expected="a header", got="no header")
            await self._displace(header.upload_id, silo)
            stream = await asyncio.to_thread(self._desk.receive, silo, header)
            # A task of its own, since a newer stream of the same upload may end it: gRPC would leave the older
            # call without an answer if its handler itself were cancelled.
            task = asyncio.create_task(self._take(requests, stream, silo))
            self._streams[header.upload_id] = task
            try:
                return convert.upload_response(await task)
            except asyncio.CancelledError:
                current = asyncio.current_task()
                if current is None or current.cancelling():
                    raise
                raise _displaced() from None
            finally:
                stream.close()
                if self._streams.get(header.upload_id) is task:
                    del self._streams[header.upload_id]

    async def _take(self, requests: AsyncIterator[pb2.UploadExpertRequest], stream: Stream, silo: str) -> int:
        seconds = self._limits.chunk_seconds
        async with _deadline(seconds) as timer:
            clock = asyncio.get_running_loop().time
            begun = clock()
            async for message in requests:
                part = convert.read_upload_request(message)
                if not isinstance(part, Chunk):
                    raise DocumentError("The stream has a second header.", expected="chunks", got="a header")
                # Between two chunks too: a stream may last half an hour, and its silo be revoked meanwhile.
                self._desk.current_keyring().member(silo)
                stream.write(part)
                # Not at every chunk, which come by the thousand: the pause may be a hundredth shorter than allowed.
                if (now := clock()) > begun + seconds / 100:
                    begun = now
                    timer.reschedule(now + seconds)
        return await asyncio.to_thread(stream.finish)

    async def _next(self, requests: AsyncIterator[pb2.UploadExpertRequest], seconds: float) -> Header | Chunk | None:
        async with _deadline(seconds):
            message = await anext(requests, None)
        return None if message is None else convert.read_upload_request(message)

    async def _displace(self, upload_id: str, silo: str) -> None:
        """End the older stream of an upload; its sender's connection is gone, or it would not come again."""
        older = self._streams.get(upload_id)
        # Refuses with NOT_FOUND whoever does not own the upload, before anything else is said and anything is ended.
        await asyncio.to_thread(self._desk.progress, silo, upload_id)
        if older is not None:
            older.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await older


class ConsortiumService(consortium_pb2_grpc.ConsortiumServiceServicer):
    """What every enrolled silo may read of one desk."""

    def __init__(self, desk: Desk) -> None:
        """Serve ``desk``."""
        self._desk = desk

    async def ReadLog(  # noqa: N802 - the proto's name
        self, request: consortium_pb2.ReadLogRequest, _context: object
    ) -> AsyncIterator[consortium_pb2.ReadLogResponse]:
        """Give the log's head, then its entries."""
        head, proof = await asyncio.to_thread(self._desk.read_log, request.known_tree_size)
        yield convert.log_head_response(head.envelope, proof)
        for payload, statement in await asyncio.to_thread(self._desk.log_entries, head.size):
            yield convert.log_entry_response(payload, statement)

    async def ReadEnrolment(  # noqa: N802 - the proto's name
        self, request: consortium_pb2.ReadEnrolmentRequest, _context: object
    ) -> AsyncIterator[consortium_pb2.ReadEnrolmentResponse]:
        """Give root, keyring and certificate, if the silo does not have them."""
        reply = await asyncio.to_thread(
            self._desk.read_enrolment, peer.get(), request.keyring_version, request.certificate_digest
        )
        for part in convert.enrolment_responses(reply):
            yield part


def add_to_server(service: UploadService, server: object) -> None:
    """Register the services; here, because messages and stubs are touched in this module only."""
    pb2_grpc.add_UploadServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]  # generated
    consortium_pb2_grpc.add_ConsortiumServiceServicer_to_server(  # type: ignore[no-untyped-call]  # generated
        ConsortiumService(service.desk), server
    )


def _displaced() -> RefusedError:
    return RefusedError(
        Answer.ABORTED,
        "A newer stream of this upload took the place of this one.",
        expected="one stream an upload",
        got="a second one",
        next_step="ask for the upload's status and go on from there",
    )


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """As ``asyncio.timeout``, but what is raised is an answer."""
    try:
        async with asyncio.timeout(seconds) as timer:
            yield timer
    except TimeoutError:
        raise RefusedError(
            Answer.DEADLINE_EXCEEDED,
            "The call took too long.",
            expected="messages without long pauses",
            got="none in time",
            next_step="try again over a better connection; the upload can be resumed",
        ) from None


async def _within(seconds: float, work: Awaitable[_T]) -> _T:
    async with _deadline(seconds):
        return await work
