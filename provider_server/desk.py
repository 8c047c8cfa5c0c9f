"""The upload desk: carries out what ``provider_server.intake`` decides, on disk and in the registry.

Killed at any point, it goes on: a session is persisted before it is answered; a spool file's length says which
chunks are there; an artefact is linked into place before, and the spool removed after, the one transaction that
enters release, receipt, log leaf and tree head together. No key or plaintext of an upload is kept elsewhere.
"""

import hashlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from llamdex_fl import weights
from llamdex_fl.envelope import (
    SUITE,
    Answer,
    ChunkOpener,
    Committed,
    Header,
    Keyring,
    Progress,
    Receipt,
    ReceiptBody,
    RefusedError,
    Session,
    SignedEnvelope,
    SigningKey,
    Statement,
    TreeHead,
    Wish,
)
from llamdex_fl.envelope.merkle import consistency_proof, root_hash
from llamdex_fl.errors import SchemaError, WeightsError, WeightsLimitError
from llamdex_fl.schema import load_schema
from provider_server import intake
from provider_server.config import ProviderConfig
from provider_server.keyring_writer import read_reply
from provider_server.keys import KeyringFile, ProviderKeys
from provider_server.log_book import Situation, log_entries, note_changes
from provider_server.quarantine import review
from provider_server.registry import Registry, UploadRecord
from provider_server.spool import SeenFiles, Stream, next_index, place

__all__ = ["Checks", "Desk"]

_LOG = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """What the desk needs from the learning column, given to it by whoever starts it."""

    tensor_shapes: intake.TensorShapes
    certify_epsilon: intake.CertifyEpsilon


class Desk:
    """Takes uploads of silos whose identity the transport has established."""

    def __init__(
        self,
        config: ProviderConfig,
        registry: Registry,
        keys: ProviderKeys,
        checks: Checks,
        *,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """Sign the first tree head if there is none, and remove spool files that nobody needs any more."""
        self.config = config
        self.keyring_file = KeyringFile(config, clock)
        self._registry = registry
        self._keys = keys
        self._keyring_version = self.keyring_file.current().version
        self._changing = threading.Lock()
        self._checks = checks
        self._clock = clock
        self._seen = SeenFiles()
        for directory in (config.spool, config.artefacts):
            directory.mkdir(mode=0o700, exist_ok=True)
        with registry.database.transaction():
            if registry.log.head() is None:
                head = TreeHead.make(config.provider, 0, root_hash([]), clock(), self._signer())
                registry.log.add_head(0, head.envelope)
        self._note_changes()
        needed = registry.uploads.ids_under_way(clock())
        for path in config.spool.iterdir():
            if path.stem not in needed:
                path.unlink(missing_ok=True)

    def begin(self, silo: str, wish: Wish) -> Session:
        """Open a session, or give again one to which nothing was bound yet."""
        now, recipient = self._clock(), self.current_keyring().provider.recipients[0]
        uploads, limits = self._registry.uploads, self.config.limits
        intake.check_wish(wish, limits=limits)
        with self._registry.database.transaction():
            upload = uploads.reusable(silo, wish.round_challenge, wish.plaintext_length, now)
            if upload is not None and upload.recipient_keyid != recipient.keyid:
                # Begun before the key was rotated; nothing was sealed for it yet.
                upload = None
            intake.admit(
                self._registry.round(wish.round_challenge),
                intake.Usage(
                    # A session that is given again is not a further one.
                    under_way=uploads.count_under_way(silo, now) if upload is None else 0,
                    of_a_day=uploads.count_of_a_day(silo, now) if upload is None else 0,
                    answered=self._registry.accepted.of_round(silo, wish.round_challenge),
                ),
                limits=limits,
                now=now,
            )
            if upload is None:
                upload = UploadRecord(
                    upload_id=secrets.token_hex(16),
                    silo=silo,
                    round_challenge=wish.round_challenge,
                    challenge=secrets.token_hex(32),
                    recipient_keyid=recipient.keyid,
                    plaintext_length=wish.plaintext_length,
                    begun_at=now,
                    expires_at=now + timedelta(seconds=limits.session_seconds),
                    status="open",
                )
                uploads.add(upload)
        self._note_changes()
        head = self._head()
        return Session(
            upload_id=upload.upload_id,
            challenge=upload.challenge,
            expires_at=upload.expires_at,
            suite=SUITE,
            recipient_keyid=upload.recipient_keyid,
            max_plaintext_bytes=limits.plaintext_bytes,
            tree_head=head.envelope,
            consistency=self._consistency(wish.known_tree_size, head.size),
        )

    def receive(self, silo: str, header: Header) -> "Stream":
        """Check a stream's header and bind its session; what is given back takes the chunks."""
        now, keyring = self._clock(), self.current_keyring()
        intake.check_size(header)
        signer, _, statement = intake.verify_signer(header, keyring)
        intake.check_parties(statement, signer=signer, silo=silo, keyring=keyring)
        release_id = header.statement.digest().hex()
        upload = self._registry.uploads.find(header.upload_id)
        intake.check_session(statement, upload, release_id=release_id, limits=self.config.limits, now=now)
        if upload is None:
            raise AssertionError("check_session refuses what is not there")
        if upload.status == "committed":
            return Stream(None, None, next_index=statement.chunk_count, burn=lambda: None)
        self._check_offer(statement)
        # Opened before the session is bound: a wrapped key that does not unwrap must not take the session.
        path = self._spool(upload.upload_id)
        start = next_index(path, statement)
        recipient = self._keys.recipient(upload.recipient_keyid)
        opener = ChunkOpener(statement, header, recipient, next_index=start)
        if upload.status == "open" and not self._registry.uploads.bind(upload.upload_id, release_id, header.statement):
            # Two streams raced for an open session; the statement that was first has it.
            bound = self._registry.uploads.find(header.upload_id)
            intake.check_session(statement, bound, release_id=release_id, limits=self.config.limits, now=now)
        return Stream(opener, path, next_index=start, burn=lambda: self._burn(upload), seen=self._seen)

    def progress(self, silo: str, upload_id: str) -> Progress:
        """Where an upload stands."""
        upload = self._registry.uploads.find(upload_id)
        if upload is None or upload.silo != silo:
            raise RefusedError(
                Answer.NOT_FOUND,
                "There is no such upload.",
                expected="the id that BeginUpload gave",
                got="another",
                next_step="begin a new upload",
            )
        if upload.statement is None or upload.status not in {"bound", "committed"}:
            return Progress(status=upload.status, next_index=0)
        statement = Statement.from_payload(upload.statement.payload)
        done = upload.status == "committed"
        return Progress(
            status=upload.status,
            next_index=statement.chunk_count if done else next_index(self._spool(upload_id), statement),
        )

    def commit(self, silo: str, upload_id: str, release_id: str, known_tree_size: int) -> Committed:
        """Check the whole, accept it, and give the receipt; the same commit gives the same receipt."""
        upload = intake.check_commit(
            self._registry.uploads.find(upload_id), silo=silo, release_id=release_id, now=self._clock()
        )
        if upload.status != "committed":
            self._accept(upload)
        receipt = self._receipt(release_id)
        return Committed(receipt=receipt, consistency=self._consistency(known_tree_size, receipt.tree_head.size))

    def review(self) -> None:
        """Let releases out of quarantine that pass the behaviour checks."""
        review(self._registry, self.config.limits, self.current_keyring())

    def _receipt(self, release_id: str) -> Receipt:
        """The receipt of a release; signed again, with the same content, if its key was revoked since."""
        keyring = self.current_keyring()
        receipt = Receipt.from_json(self._registry.accepted.receipt(release_id), keyring.known_log_keys)
        if receipt.keyid not in keyring.revoked:
            return receipt
        with self._registry.database.transaction():
            receipt = Receipt.again(receipt.body, self._registry.log.leaves(), self._clock(), self._signer())
            self._registry.accepted.replace_receipt(release_id, receipt.to_json())
        return receipt

    def _accept(self, upload: UploadRecord) -> None:
        signed, keyring = upload.statement, self.current_keyring()
        if signed is None:
            raise AssertionError("a bound upload has its statement")
        header = Header(upload_id=upload.upload_id, statement=signed, wrapped=b"")
        # Verified again: the key may have been revoked since the stream began.
        signer, _, statement = intake.verify_signer(header, keyring)
        intake.check_parties(statement, signer=signer, silo=upload.silo, keyring=keyring)
        self._check_offer(statement)
        path = self._spool(upload.upload_id)
        if next_index(path, statement) < statement.chunk_count:
            raise RefusedError(
                Answer.FAILED_PRECONDITION,
                "The upload is not complete.",
                expected=f"{statement.chunk_count} chunks",
                got="fewer",
                next_step="ask for the upload's status and go on from there",
            )
        try:
            self._check_content(path, statement)
        except RefusedError:
            self._burn(upload)
            raise
        self._enter(path, upload, statement, signed)

    def _check_content(self, path: Path, statement: Statement) -> None:
        limits = weights.Limits(file_bytes=self.config.limits.plaintext_bytes)
        # The limits of the header first: what is over them is told at once, whatever else the file holds. Of all
        # other defects only those of a file with the statement's digest are told, below.
        try:
            weights.read_shapes(path, limits=limits)
        except WeightsLimitError as error:
            raise _unusable(error) from error
        except WeightsError as error:
            _LOG.info("upload %s: %s", statement.upload_id, error)
        seen = self._seen.of(path)
        if seen.digest != statement.artefact_digest:
            raise RefusedError(
                Answer.DATA_LOSS,
                "The envelope does not open.",
                expected="the artefact of the statement",
                got="another digest",
                next_step="begin a new upload",
            )
        intake.check_claim(statement.guarantee, self._checks.certify_epsilon)
        try:
            schema = load_schema(self.config.schemas / f"{statement.schema_digest}.json")
        except SchemaError as error:
            raise RefusedError(
                Answer.FAILED_PRECONDITION,
                "The provider does not have the statement's schema.",
                expected="a schema of this provider",
                got=statement.schema_digest,
                next_step="ask the provider for its schemas",
            ) from error
        expected = self._checks.tensor_shapes(statement.architecture, schema)
        try:
            weights.check_file(path, expected, limits=limits, finite=seen.finite)
        except WeightsError as error:
            raise _unusable(error) from error

    def _enter(self, path: Path, upload: UploadRecord, statement: Statement, signed: SignedEnvelope) -> None:
        artefact = self.config.artefacts / f"{statement.artefact_digest}.safetensors"
        place(path, artefact)
        now = self._clock()
        with self._registry.database.transaction():
            # Read again: another process may have committed it in the meantime.
            fresh = self._registry.uploads.find(upload.upload_id)
            if fresh is not None and fresh.status == "committed":
                return
            if self._registry.accepted.of_round(upload.silo, upload.round_challenge) is not None:
                raise RefusedError(
                    Answer.FAILED_PRECONDITION,
                    "This silo has answered the round.",
                    expected="one release a round",
                    got="a second one",
                    next_step="wait for the next round",
                )
            # A release is never the next leaf after a revocation that the log does not have.
            self._note_changes()
            leaves = self._registry.log.leaves()
            body = ReceiptBody(
                provider=self.config.provider,
                silo=upload.silo,
                release_id=signed.digest().hex(),
                upload_id=upload.upload_id,
                round_challenge=upload.round_challenge,
                schema_digest=statement.schema_digest,
                artefact_digest=statement.artefact_digest,
                accepted_at=now,
                leaf_index=len(leaves),
            )
            self._registry.accept(statement, signed, Receipt.make(body, leaves, now, self._signer()))
        path.unlink(missing_ok=True)

    def _check_offer(self, statement: Statement) -> None:
        record = self._registry.round(statement.round_challenge)
        if record is None:
            raise AssertionError("an upload belongs to a round")
        intake.check_offer(statement, record.offer, last_counter=self._registry.accepted.last_counter(statement.silo))

    def _burn(self, upload: UploadRecord) -> None:
        self._registry.uploads.burn(upload.upload_id)
        self._spool(upload.upload_id).unlink(missing_ok=True)

    def _spool(self, upload_id: str) -> Path:
        return self.config.spool / f"{upload_id}.part"

    def _head(self) -> TreeHead:
        envelope = self._registry.log.head()
        if envelope is None:
            raise AssertionError("the first head is signed at the start")
        keyring = self.current_keyring()
        # Our own, from our own disk: a key that was revoked since does not make it another's.
        head = TreeHead.verified(envelope, keyring.known_log_keys)
        if self._signer().public == keyring.provider.key and any(
            signature.keyid.startswith(keyring.provider.key.keyid) for signature in envelope.signatures
        ):
            return head
        # Signed before a rotation: signed again, so that silos need the former key for old receipts only.
        head = TreeHead.make(self.config.provider, head.size, head.root_hash, self._clock(), self._signer())
        self._registry.log.add_head(head.size, head.envelope)
        return head

    def read_log(self, known: int) -> tuple[TreeHead, tuple[bytes, ...]]:
        """The log's head for a silo that knows a tree of size ``known``, and that it extends that one."""
        self._note_changes()
        head = self._head()
        return head, self._consistency(known, head.size)

    def log_entries(self, size: int) -> Iterator[tuple[bytes, SignedEnvelope | None]]:
        """The first ``size`` leaves, each with its release's signed statement if it is one of a release."""
        return log_entries(self._registry, size)

    def read_enrolment(self, silo: str, version: int, certificate_digest: bytes) -> bytes:
        """What a silo may fetch, as ``EnrolmentReply`` writes it; nothing if it has all of it."""
        keyring = self.current_keyring()
        reply = read_reply(self.config, silo, self.keyring_file.root, keyring)
        same = not reply.certificate or hashlib.sha256(reply.certificate).digest() == certificate_digest
        return b"" if same and keyring.version <= version else reply.to_json().encode()

    def _note_changes(self) -> None:
        keyring = self.current_keyring()
        note_changes(
            self._registry,
            Situation(
                config=self.config,
                root=self.keyring_file.root,
                keyring=keyring,
                signer=self._keys.signer(keyring),
                now=self._clock(),
            ),
        )

    def _signer(self) -> SigningKey:
        return self._keys.signer(self.current_keyring())

    def _consistency(self, known: int, size: int) -> tuple[bytes, ...]:
        old, new = sorted((known, size))
        leaves = self._registry.log.leaves(new)
        # A silo that knows a larger tree than there is holds proof of a rollback; it gets nothing to soothe it.
        return tuple(consistency_proof(leaves, old)) if len(leaves) == new else ()

    def current_keyring(self) -> Keyring:
        """The keyring as it is now; when it has changed, the keys that it names are read too."""
        keyring = self.keyring_file.current()
        with self._changing:
            if keyring.version != self._keyring_version:
                self._keys.reload()
                self._keyring_version = keyring.version
        return keyring

    def tls_pair(self) -> tuple[bytes, bytes]:
        """The TLS key and certificate that the server shows from the next connection on."""
        return self._keys.tls_pair()


def _unusable(error: WeightsError) -> RefusedError:
    answer = Answer.RESOURCE_EXHAUSTED if isinstance(error, WeightsLimitError) else Answer.INVALID_ARGUMENT
    return RefusedError(answer, error.problem, expected=error.expected, got=error.got, next_step=error.next_step)
