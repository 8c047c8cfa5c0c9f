"""An enrolled silo that does not keep to the protocol, and channels of those who are not even enrolled."""

import io
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import grpc

from llamdex_fl import weights
from llamdex_fl.envelope import SealedFile, SealOrder, SignedEnvelope, SigningKey, Wish, provider_name, seal, sign
from llamdex_fl.release import Offer
from llamdex_fl.wire import convert
from silo_client import uplink
from silo_client.enrolment import SiloIdentity, load_identity
from silo_client.outbox import Outbox
from simulations.review.consortium import PROVIDER_ID, TRUST_DOMAIN, Consortium

__all__ = ["SERVICE", "STATEMENT_TYPE", "Attacker", "answer", "channel", "messages", "relay"]

SERVICE = "/llamdex_fl.wire.v1.UploadService/"
STATEMENT_TYPE = "application/vnd.in-toto+json"
_SECONDS = 20.0


def answer(action: Callable[[], object]) -> str:
    """The name of the status that an action is answered with."""
    try:
        action()
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def messages(sealed: SealedFile, start: int = 0) -> list[Any]:
    """A stream's messages: the header, then the chunks from ``start`` on."""
    return [convert.header_request(sealed.header), *map(convert.chunk_request, sealed.chunks(start))]


@dataclass(frozen=True, kw_only=True)
class Attacker:
    """A silo's identity in hostile hands, connected to its provider."""

    consortium: Consortium
    silo: str
    identity: SiloIdentity
    stub: Any

    @classmethod
    @contextmanager
    def connected(cls, consortium: Consortium, silo: str = "a") -> Iterator["Attacker"]:
        """Connect as an enrolled silo."""
        config = consortium.silos[silo]
        identity = load_identity(config)
        with uplink.connect(identity, config) as stub:
            yield cls(consortium=consortium, silo=silo, identity=identity, stub=stub)

    def seal(self, data: bytes | None = None, offer: Offer | None = None, **changes: object) -> SealedFile:
        """Begin an upload, and seal some bytes as an expert.

        Args:
            data: in place of an honest expert's weights.
            offer: that is answered; a new one if None.
            changes: of the order that the statement is made from.
        """
        offer = offer or self.consortium.offer()
        data = weights.encode(self.consortium.release().tensors) if data is None else data
        wish = Wish(round_challenge=offer.challenge, plaintext_length=len(data))
        session = convert.read_begin_response(self.stub.BeginUpload(convert.begin_request(wish), timeout=_SECONDS))
        order = SealOrder(
            silo=self.silo,
            session=session,
            offer=offer,
            guarantee=self.consortium.guarantee,
            counter=Outbox(self.consortium.silos[self.silo]).next_counter(),
            now=datetime.now(UTC).replace(microsecond=0),
        )
        return seal(
            io.BytesIO(data),
            self.consortium.directory / f"{session.upload_id}.ldx",
            replace(order, **changes),  # type: ignore[arg-type]  # a table of changes
            signer=self.identity.signer,
            recipient=self.identity.keyring.provider.recipients[0],
        )

    def upload(self, parts: Iterable[Any]) -> int:
        """Stream some messages; the first chunk that the provider does not have."""
        return convert.read_upload_response(self.stub.UploadExpert(iter(parts), timeout=_SECONDS))

    def upload_bytes(self, parts: Iterable[bytes]) -> None:
        """Stream messages that may be none, as the bytes they are."""
        with channel(self.consortium, (self.identity.tls_key, self.identity.tls_certificate)) as opened:
            opened.stream_unary(SERVICE + "UploadExpert")(iter(parts), timeout=_SECONDS)

    def send(self, sealed: SealedFile) -> int:
        """Stream a whole envelope."""
        return self.upload(messages(sealed))

    def commit(self, sealed: SealedFile, digest: bytes | None = None) -> Any:  # noqa: ANN401 - a message
        """Commit an envelope, or another statement's digest under its id."""
        digest = sealed.header.statement.digest() if digest is None else digest
        return self.stub.CommitUpload(convert.commit_request(sealed.header.upload_id, digest, 0), timeout=60)

    def status(self, sealed: SealedFile) -> str:
        """What the provider says of an upload: open, bound, committed or burned."""
        request = convert.status_request(sealed.header.upload_id)
        return convert.read_status_response(self.stub.GetUploadStatus(request, timeout=_SECONDS)).status

    def stated(self, sealed: SealedFile, key: SigningKey | None = None, **changes: object) -> Any:  # noqa: ANN401 - a message
        """The header of an envelope whose statement says something else, signed well."""
        payload = replace(sealed.statement, **changes).to_payload()  # type: ignore[arg-type]  # a table of changes
        return self.enveloped(sealed, sign(STATEMENT_TYPE, payload, key or self.identity.signer))

    def written(self, sealed: SealedFile, old: bytes, new: bytes, payload_type: str = STATEMENT_TYPE) -> Any:  # noqa: ANN401 - a message
        """The header of an envelope in whose statement some text is replaced before it is signed.

        Raises:
            AssertionError: the statement has no such text.
        """
        payload = sealed.header.statement.payload
        if old not in payload:
            raise AssertionError(f"no {old!r} in the statement")
        return self.enveloped(sealed, sign(payload_type, payload.replace(old, new, 1), self.identity.signer))

    @staticmethod
    def enveloped(sealed: SealedFile, envelope: SignedEnvelope) -> Any:  # noqa: ANN401 - a message
        """The header of an envelope with another signed statement."""
        return convert.header_request(replace(sealed.header, statement=envelope))


@contextmanager
def channel(
    consortium: Consortium,
    pair: tuple[bytes, bytes] | None = None,
    *,
    options: Sequence[tuple[str, int]] = (),
) -> Iterator[Any]:
    """A TLS channel that shows a key and certificate (PEM), or none."""
    key, certificate = pair or (None, None)
    ca = load_identity(consortium.silos["a"]).keyring.ca.encode()
    settings = [
        ("grpc.ssl_target_name_override", provider_name(TRUST_DOMAIN, PROVIDER_ID)),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.max_send_message_length", -1),
        *options,
    ]
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    with grpc.secure_channel(consortium.address, credentials, settings) as opened:
        yield opened


@contextmanager
def relay(
    consortium: Consortium, context: ssl.SSLContext | None = None, *, heard: list[bytes] | None = None
) -> Iterator[str]:
    """A relay on loopback; the address that it listens on.

    Args:
        consortium: whose provider it leads to.
        context: with it, the relay speaks plaintext to the client and this TLS to the provider: gRPC's own TLS
            cannot be made as old as an attack needs it.
        heard: gets all bytes of both directions, as an eavesdropper would.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=_accept, args=(listener, consortium, context, heard), daemon=True)
        accepting.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            # Wakes the thread, which a mere close does not.
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(_SECONDS)


def _accept(
    listener: socket.socket, consortium: Consortium, context: ssl.SSLContext | None, heard: list[bytes] | None
) -> None:
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", consortium.port), timeout=_SECONDS)
            far.settimeout(None)
            if context is not None:
                far = context.wrap_socket(far, server_hostname=provider_name(TRUST_DOMAIN, PROVIDER_ID))
            ended = threading.Semaphore(0)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink, heard, ended), daemon=True).start()
            threading.Thread(target=_close, args=(ended, near, far), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, heard: list[bytes] | None, ended: threading.Semaphore) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if heard is not None:
                heard.append(data)
            sink.sendall(data)
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
    ended.release()


def _close(ended: threading.Semaphore, *connections: socket.socket) -> None:
    for _ in connections:
        ended.acquire()
    for connection in connections:
        connection.close()
