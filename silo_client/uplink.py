"""Send a release: begin, seal once, stream, commit, verify the receipt; again and again until it is done.

The release is on the silo's disk before anything is sent (``silo_client.outbox``), so a crash at either end is
followed by ``resume``, which sends the same sealed bytes. A new envelope, with new keys, is made only if the provider
refused the old one for good or its challenge has expired. While the provider is down it is tried again until a
deadline; a provider that shows another certificate than the keyring's is never tried.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc

from llamdex_fl import weights
from llamdex_fl.envelope import (
    Answer,
    Passphrase,
    Receipt,
    RefusedError,
    SealedFile,
    Sealing,
    SealOrder,
    TreeHead,
    Wish,
    start_sealing,
    verify_receipt,
    verify_successor,
)
from llamdex_fl.privacy.guarantee import Guarantee
from llamdex_fl.release import Offer, Release
from llamdex_fl.wire import convert
from llamdex_fl.wire.v1 import upload_service_pb2, upload_service_pb2_grpc
from silo_client.config import SiloConfig
from silo_client.connection import CONNECT_SECONDS, TransientError, open_channel, read_error, unreachable
from silo_client.enrolment import SiloIdentity, load_identity
from silo_client.membership import renewed
from silo_client.outbox import Outbox

__all__ = ["connect", "keep", "resume", "stored_receipt", "upload"]

_T = TypeVar("_T")
_CALL_SECONDS = 60.0
_STREAM_SECONDS = 1800.0
_COMMIT_SECONDS = 180.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
#: New envelopes in one upload, after the first was refused for good.
_FRESH_STARTS = 2
#: Tries of what may be our own fault or may pass.
_DOUBTFUL_TRIES = 5


def keep(release: Release, offer: Offer, config: SiloConfig) -> None:
    """Write a release to the spool without sending it; from then on ``resume`` sends it, whatever happens.

    Raises:
        RefusedError: ALREADY_EXISTS, another release is on its way as the answer to this offer.
    """
    outbox = Outbox(config)
    with outbox.locked():
        outbox.put(release, offer)


def upload(
    release: Release,
    offer: Offer,
    config: SiloConfig,
    *,
    deadline_s: float = 600.0,
    passphrase: Passphrase | None = None,
) -> Receipt:
    """Send a release as the answer to an offer, and return the verified receipt.

    Called again with the same release and offer it goes on where it stopped, or returns the receipt it has.

    Args:
        release: what leaves the silo; written to the spool before anything is sent.
        offer: what it answers.
        config: the silo's.
        deadline_s: for how long an absent provider is tried again.
        passphrase: of the silo's private keys.

    Raises:
        ProviderUnreachableError: the deadline passed; the release stays in the spool, see ``resume``.
        ProviderIdentityError: the other end is not the keyring's provider.
        RefusedError: the provider refuses the release.
        ReceiptError: the receipt or the log does not verify.
        KeyringError, ConfigError: the silo's own keys or keyring are not usable.
    """
    outbox = Outbox(config)
    identity = load_identity(config, passphrase, expired=True)
    with outbox.locked():
        before = outbox.receipt(offer.challenge, identity.keyring.known_log_keys)
        if before is None:
            outbox.put(release, offer)
        elif before.artefact_digest != weights.digest(weights.encode(release.tensors)):
            raise RefusedError(
                Answer.ALREADY_EXISTS,
                "Another release has answered this offer.",
                expected="one release an offer",
                got="a second one",
                next_step="wait for the next round",
            )
        receipt = _deliver(outbox, identity, config, offer.challenge, deadline_s, passphrase)
    if receipt is None:
        raise AssertionError("what was put into the outbox is there")
    return receipt


def resume(
    config: SiloConfig, challenge: str, *, deadline_s: float = 600.0, passphrase: Passphrase | None = None
) -> Receipt | None:
    """Go on with the upload that answers the offer of this challenge; None if there is none.

    Needs neither the release nor the records: everything is in the spool. Raises as ``upload``.
    """
    outbox = Outbox(config)
    identity = load_identity(config, passphrase, expired=True)
    with outbox.locked():
        return _deliver(outbox, identity, config, challenge, deadline_s, passphrase)


def stored_receipt(config: SiloConfig, challenge: str, *, passphrase: Passphrase | None = None) -> Receipt | None:
    """The receipt of an upload that arrived; None if there is none.

    Raises:
        ReceiptError: the file is damaged.
    """
    return Outbox(config).receipt(challenge, load_identity(config, passphrase, expired=True).keyring.known_log_keys)


def _deliver(  # noqa: PLR0913, PLR0917 - what upload and resume share
    outbox: Outbox,
    identity: SiloIdentity,
    config: SiloConfig,
    challenge: str,
    deadline_s: float,
    passphrase: Passphrase | None,
) -> Receipt | None:
    receipt = outbox.receipt(challenge, identity.keyring.known_log_keys)
    if receipt is not None:
        return receipt
    order = outbox.get(challenge)
    if order is None:
        return None
    delivery = _Delivery(outbox, identity, config, *order, ends_at=time.monotonic() + deadline_s, passphrase=passphrase)
    return delivery.run()


@dataclass(kw_only=False, slots=True)
class _Delivery:
    """One release on its way."""

    outbox: Outbox
    identity: SiloIdentity
    config: SiloConfig
    offer: Offer
    guarantee: Guarantee
    ends_at: float = field(kw_only=True)
    passphrase: Passphrase | None = field(default=None, kw_only=True)
    fresh_starts: int = field(default=0, init=False)

    def run(self) -> Receipt:
        """Try until it is done, is refused, or the time is over."""
        pause, doubtful = _FIRST_PAUSE, 0
        while True:
            try:
                return self._attempt()
            except TransientError as error:
                doubtful += error.doubtful
                if error.final is not None and doubtful >= _DOUBTFUL_TRIES:
                    raise error.final from error
                if time.monotonic() + pause > self.ends_at:
                    raise (error.final or unreachable(self.config, str(error))) from error
            except RefusedError as error:
                if not self._may_start_afresh(error):
                    raise
                self.outbox.require_intact(self.offer.challenge)
                self.fresh_starts += 1
                self.outbox.unseal(self.offer.challenge)
            # Spread out, so that many silos do not come back in the same moment; no secret depends on it.
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - see above
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _attempt(self) -> Receipt:
        """Take a newer keyring or certificate first: keys of either side may have been rotated."""
        with open_channel(self.identity, self.config) as channel:
            identity = renewed(self.identity, self.config, self.passphrase, channel=channel)
            if identity is self.identity:
                return self._once(_stub(channel))
        self.identity = identity
        with connect(identity, self.config) as stub:
            return self._once(stub)

    def _once(self, stub: Any) -> Receipt:  # noqa: ANN401 - a generated stub
        sealed = self.outbox.sealed(self.offer.challenge)
        if sealed is None:
            sealed = self._send_new(stub)
        else:
            self._send_rest(stub, sealed)
        self.outbox.persist(self.offer.challenge, sealed)
        return self._commit(stub, sealed)

    def _send_rest(self, stub: Any, sealed: SealedFile) -> None:  # noqa: ANN401 - a generated stub
        """Send what the provider does not have of an envelope that was sealed before."""
        progress = convert.read_status_response(
            self._call(stub.GetUploadStatus, convert.status_request(sealed.header.upload_id), _CALL_SECONDS)
        )
        committed = progress.status == "committed"
        if progress.status == "burned" or not (committed or sealed.whole):
            raise RefusedError(
                Answer.DATA_LOSS,
                "This envelope cannot be sent any more.",
                expected="an upload that can go on",
                got="a burned one" if sealed.whole else "one whose chunks were lost with the power",
                next_step="a new envelope is made",
            )
        if not committed and progress.next_index < sealed.statement.chunk_count:
            self._call(stub.UploadExpert, _parts(sealed, progress.next_index), _STREAM_SECONDS)

    def _send_new(self, stub: Any) -> SealedFile:  # noqa: ANN401 - a generated stub
        """Send the chunks of a new envelope while it is sealed."""
        sealing = self._seal(stub)
        try:
            self._call(stub.UploadExpert, _parts(sealing, 0), _STREAM_SECONDS)
        finally:
            # Whatever became of the stream: it goes on with these bytes, never with others.
            sealed = sealing.finish()
        return sealed

    def _seal(self, stub: Any) -> Sealing:  # noqa: ANN401 - a generated stub
        keyring, known = self.identity.keyring, self._known()
        path = self.outbox.plaintext(self.offer.challenge)
        wish = Wish(
            round_challenge=self.offer.challenge,
            plaintext_length=path.stat().st_size,
            known_tree_size=0 if known is None else known.size,
        )
        session = convert.read_begin_response(self._call(stub.BeginUpload, convert.begin_request(wish), _CALL_SECONDS))
        head = self._extended(TreeHead.verified(session.tree_head, keyring.log_keys), session.consistency)
        order = SealOrder(
            silo=self.config.silo,
            session=session,
            offer=self.offer,
            guarantee=self.guarantee,
            counter=self.outbox.next_counter(head),
            now=datetime.now(UTC).replace(microsecond=0),
            digest=self.outbox.digest(self.offer.challenge),
        )
        return start_sealing(
            path.open("rb", buffering=0),
            self.outbox.sealed_path(self.offer.challenge),
            order,
            signer=self.identity.signer,
            recipient=keyring.provider.recipient(session.recipient_keyid, revoked=keyring.revoked),
        )

    def _commit(self, stub: Any, sealed: SealedFile) -> Receipt:  # noqa: ANN401 - a generated stub
        digest, known = sealed.header.statement.digest(), self._known()
        request = convert.commit_request(sealed.header.upload_id, digest, 0 if known is None else known.size)
        committed = convert.read_commit_response(
            self._call(stub.CommitUpload, request, _COMMIT_SECONDS), self.identity.keyring.log_keys
        )
        verify_receipt(committed.receipt, sealed.statement, digest.hex())
        self.outbox.remember(self._extended(committed.receipt.tree_head, committed.consistency))
        self.outbox.finish(self.offer.challenge, committed.receipt)
        return committed.receipt

    def _known(self) -> TreeHead | None:
        return self.outbox.tree_head(self.identity.keyring.known_log_keys)

    def _extended(self, head: TreeHead, proof: tuple[bytes, ...]) -> TreeHead:
        """A tree head that was shown to extend the one that is known."""
        known = self._known()
        return head if known is None else verify_successor(known, head, proof)

    def _may_start_afresh(self, error: RefusedError) -> bool:
        sealed = self.outbox.sealed(self.offer.challenge)
        if sealed is None or self.fresh_starts >= _FRESH_STARTS:
            return False
        expired = datetime.now(UTC) >= sealed.statement.expires_at
        return error.answer in {Answer.DATA_LOSS, Answer.NOT_FOUND} or (
            expired and error.answer is Answer.FAILED_PRECONDITION
        )

    def _call(self, method: Callable[..., _T], request: object, seconds: float) -> _T:
        left = self.ends_at - time.monotonic()
        try:
            # At least a little time, so that a deadline of 0 still tries once.
            return method(request, timeout=min(seconds, max(left, CONNECT_SECONDS)))
        except grpc.RpcError as error:
            raise read_error(error) from error


@contextmanager
def connect(identity: SiloIdentity, config: SiloConfig) -> Iterator[Any]:
    """A stub of the provider's upload service, once the other end has shown the keyring's certificate."""
    with open_channel(identity, config) as channel:
        yield _stub(channel)


def _stub(channel: grpc.Channel) -> Any:  # noqa: ANN401 - a generated stub
    stub = upload_service_pb2_grpc.UploadServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
    # The same method, which also takes messages that are bytes already.
    stub.UploadExpert = channel.stream_unary(
        convert.UPLOAD_EXPERT, convert.serialized, upload_service_pb2.UploadExpertResponse.FromString
    )
    return stub


def _parts(sealed: SealedFile | Sealing, start: int) -> Iterator[object]:
    yield convert.header_request(sealed.header)
    chunks = sealed.chunks() if isinstance(sealed, Sealing) else sealed.chunks(start)
    yield from map(convert.chunk_request_bytes, chunks)


def _messages(sealed: SealedFile, start: int) -> Iterator[object]:
    """The same as messages that can be taken apart; for the tests of hostile silos."""
    yield convert.header_request(sealed.header)
    yield from map(convert.chunk_request, sealed.chunks(start))
