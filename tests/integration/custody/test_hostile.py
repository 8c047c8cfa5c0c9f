"""Hostile silos and hostile bytes against a real provider; each case has the answer of docs/envelope.md's table.

The complete abuse suite extends this file's table; what stands here is the final protocol's behaviour.
"""

import io
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from llamdex_fl import weights
from llamdex_fl.envelope import (
    Chunk,
    SealedFile,
    SealOrder,
    SigningKey,
    Statement,
    Wish,
    generate_tls_key,
    provider_name,
    seal,
    sign,
    tls_key_pem,
)
from llamdex_fl.envelope.certificates import certificate_request, issue_ca, issue_silo
from llamdex_fl.release import Offer
from llamdex_fl.weights.header import header_bytes
from llamdex_fl.wire import convert
from llamdex_fl.wire.v1 import upload_service_pb2
from silo_client import uplink
from silo_client.enrolment import SiloIdentity, load_identity
from silo_client.outbox import Outbox

# The type of the fixture lives in a conftest, which cannot be imported.
Consortium = Any
Code = grpc.StatusCode
SERVICE = "/llamdex_fl.wire.v1.UploadService/"


@dataclass
class Attacker:
    """An enrolled silo that does not keep to the protocol."""

    consortium: Consortium
    stub: Any
    identity: SiloIdentity
    name: str = "a"

    def seal(self, data: bytes | None = None, offer: Offer | None = None, **changes: object) -> SealedFile:
        """Begin, and seal some bytes as an expert."""
        offer = offer or self.consortium.offer()
        data = weights.encode(self.consortium.release().tensors) if data is None else data
        wish = Wish(round_challenge=offer.challenge, plaintext_length=len(data))
        session = convert.read_begin_response(self.stub.BeginUpload(convert.begin_request(wish)))
        outbox = Outbox(self.consortium.silos[self.name])
        order = SealOrder(
            silo=self.name,
            session=session,
            offer=offer,
            guarantee=self.consortium.guarantee,
            counter=outbox.next_counter(),
            now=datetime.now(UTC).replace(microsecond=0),
        )
        return seal(
            io.BytesIO(data),
            self.consortium.directory / "hostile.ldx",
            replace(order, **changes),  # type: ignore[arg-type]  # a table of changes
            signer=self.identity.signer,
            recipient=self.identity.keyring.provider.recipients[0],
        )

    def upload(self, *parts: Any) -> int:  # noqa: ANN401 - messages
        return convert.read_upload_response(self.stub.UploadExpert(iter(parts), timeout=20))

    def send(self, sealed: SealedFile) -> None:
        self.upload(*uplink._messages(sealed, 0))

    def commit(self, sealed: SealedFile, digest: bytes | None = None) -> Any:  # noqa: ANN401 - a message
        digest = sealed.header.statement.digest() if digest is None else digest
        return self.stub.CommitUpload(convert.commit_request(sealed.header.upload_id, digest, 0), timeout=60)

    def status(self, sealed: SealedFile) -> str:
        request = convert.status_request(sealed.header.upload_id)
        return convert.read_status_response(self.stub.GetUploadStatus(request)).status

    def resigned(self, sealed: SealedFile, key: SigningKey | None = None, **changes: object) -> Any:  # noqa: ANN401 - a message
        """The header of an envelope whose statement says something else, signed well."""
        statement = replace(sealed.statement, **changes)  # type: ignore[arg-type]  # a table of changes
        envelope = sign("application/vnd.in-toto+json", statement.to_payload(), key or self.identity.signer)
        return convert.header_request(replace(sealed.header, statement=envelope))


@pytest.fixture
def attacker(consortium: Consortium) -> Iterator[Attacker]:
    config = consortium.silos["a"]
    identity = load_identity(config)
    with uplink.connect(identity, config) as stub:
        yield Attacker(consortium, stub, identity)


def refused(action: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        action()
    return caught.value.code(), caught.value.details()


@contextmanager
def channel(
    consortium: Consortium, key: bytes | None, certificate: bytes | None, *, options: Sequence[tuple[str, int]] = ()
) -> Iterator[Any]:
    identity = load_identity(consortium.silos["a"])
    credentials = grpc.ssl_channel_credentials(identity.keyring.ca.encode(), key, certificate)
    override = ("grpc.ssl_target_name_override", provider_name("heart.example", "prov"))
    with grpc.secure_channel(
        consortium.address, credentials, [override, ("grpc.use_local_subchannel_pool", 1), *options]
    ) as opened:
        yield opened


def test_no_or_foreign_certificate(consortium: Consortium):
    ca_key, key = generate_tls_key(), generate_tls_key()
    ca = issue_ca("heart.example", ca_key, datetime.now(UTC))
    foreign = issue_silo("heart.example", "a", certificate_request("a", key), (ca, ca_key), datetime.now(UTC))
    for pair in ((None, None), (tls_key_pem(key), foreign)):
        with channel(consortium, *pair) as opened:
            call = opened.unary_unary(SERVICE + "BeginUpload")
            assert refused(lambda: call(b"", timeout=5))[0] == Code.UNAVAILABLE  # noqa: B023 - called at once
    with grpc.insecure_channel(consortium.address) as opened:
        assert refused(lambda: opened.unary_unary(SERVICE + "BeginUpload")(b"", timeout=5))[0] is Code.UNAVAILABLE


def test_a_stripped_or_bad_signature_is_refused_after_one_message(attacker: Attacker):
    sealed = attacker.seal()
    signed = sealed.header.statement
    one, two = signed.signatures
    stranger = SigningKey.generate()
    for signatures in (
        (one,),
        (two,),
        (),
        (one, one),
        (one, replace(two, sig=two.sig[:-1] + bytes([two.sig[-1] ^ 1]))),
        (replace(one, sig=bytes(64)), two),
        stranger.sign(signed.pae()),
    ):
        sent = []

        def messages(signatures: Any = signatures, sent: list[int] = sent) -> Iterator[Any]:  # noqa: ANN401 - messages
            header = replace(sealed.header, statement=replace(signed, signatures=tuple(signatures)))
            yield convert.header_request(header)
            sent.append(1)
            # The answer must not wait for chunks.
            time.sleep(1.0)
            sent.append(2)

        call = attacker.stub.UploadExpert.future(messages())
        assert call.exception(timeout=10).code() is Code.UNAUTHENTICATED
        assert 2 not in sent
    assert attacker.status(sealed) == "open"
    attacker.send(sealed)


def test_statements_that_are_signed_but_not_meant_for_this(attacker: Attacker):
    sealed = attacker.seal()
    now = sealed.statement.issued_at
    cases: list[tuple[grpc.StatusCode, dict[str, object]]] = [
        (Code.PERMISSION_DENIED, {"silo": "b"}),
        (Code.PERMISSION_DENIED, {"provider": "other"}),
        (Code.PERMISSION_DENIED, {"purpose": "profiling"}),
        (Code.FAILED_PRECONDITION, {"challenge": "00" * 32}),
        (Code.FAILED_PRECONDITION, {"upload_id": "00" * 16}),
        (Code.FAILED_PRECONDITION, {"round_challenge": "00" * 32}),
        (Code.FAILED_PRECONDITION, {"recipient_keyid": "00" * 32}),
        (Code.FAILED_PRECONDITION, {"schema_digest": "00" * 32}),
        (Code.FAILED_PRECONDITION, {"architecture": "other/v1"}),
        (Code.FAILED_PRECONDITION, {"base_model_digest": "00" * 32}),
        (Code.FAILED_PRECONDITION, {"expires_at": now}),
        (Code.FAILED_PRECONDITION, {"issued_at": now.replace(year=now.year + 1)}),
        (Code.FAILED_PRECONDITION, {"issued_at": now.replace(year=now.year - 1)}),
        (Code.FAILED_PRECONDITION, {"guarantee": replace(attacker.consortium.guarantee, epsilon=2.5)}),
        (Code.FAILED_PRECONDITION, {"guarantee": replace(attacker.consortium.guarantee, delta=1e-3)}),
        (Code.FAILED_PRECONDITION, {"plaintext_length": sealed.statement.plaintext_length - 1}),
        (Code.INVALID_ARGUMENT, {"chunk_count": 99}),
        (Code.INVALID_ARGUMENT, {"counter": 0}),
        (Code.RESOURCE_EXHAUSTED, {"plaintext_length": 10**9, "chunk_count": 3815}),
        (Code.DATA_LOSS, {"wrapped_digest": "00" * 32}),
    ]
    for code, changes in cases:
        got = refused(lambda changes=changes: attacker.upload(attacker.resigned(sealed, **changes)))  # type: ignore[misc]  # bound now
        assert got[0] is code, (changes, got)
    assert attacker.status(sealed) == "open"


def test_signer_of_another_silo(attacker: Attacker):
    other = load_identity(attacker.consortium.silos["b"])
    sealed = attacker.seal()
    assert (
        refused(lambda: attacker.upload(attacker.resigned(sealed, other.signer, silo="b")))[0] is Code.PERMISSION_DENIED
    )
    assert refused(lambda: attacker.upload(attacker.resigned(sealed, other.signer)))[0] is Code.PERMISSION_DENIED


def test_flipped_bit_burns_the_upload(attacker: Attacker):
    sealed = attacker.seal()
    header, first, *rest = uplink._messages(sealed, 0)
    bad = bytearray(first.chunk.ciphertext)
    bad[1000] ^= 1
    code, text = refused(lambda: attacker.upload(header, convert.chunk_request(Chunk(0, bytes(bad))), *rest))
    assert code is Code.DATA_LOSS
    assert attacker.status(sealed) == "burned"
    assert refused(lambda: attacker.send(sealed))[0] is Code.DATA_LOSS
    assert refused(lambda: attacker.commit(sealed))[0] is Code.DATA_LOSS
    other = attacker.seal()
    header, *_ = uplink._messages(other, 0)
    assert refused(lambda: attacker.upload(header, first)) == (Code.DATA_LOSS, text)


def test_order_truncation_and_excess(attacker: Attacker):
    sealed = attacker.seal()
    header, *chunks = uplink._messages(sealed, 0)
    assert len(chunks) == 3
    cases = [
        (Code.OUT_OF_RANGE, [header, chunks[1]]),
        (Code.DATA_LOSS, [header, chunks[0]]),
        (Code.OUT_OF_RANGE, [header, chunks[0]]),
        (Code.OUT_OF_RANGE, [header, chunks[2]]),
        (Code.INVALID_ARGUMENT, [header, header]),
        (Code.INVALID_ARGUMENT, [chunks[1]]),
        (Code.INVALID_ARGUMENT, [upload_service_pb2.UploadExpertRequest()]),
        (Code.INVALID_ARGUMENT, []),
        (Code.OUT_OF_RANGE, [header, *chunks[1:], chunks[2]]),
        (Code.OUT_OF_RANGE, [header, chunks[2]]),
    ]
    for number, (code, parts) in enumerate(cases):
        got = refused(lambda parts=parts: attacker.upload(*parts))  # type: ignore[misc]  # bound now
        assert got[0] is code, (number, got)
    assert attacker.upload(header) == 3
    attacker.commit(sealed)


def test_replay_and_another_statement(attacker: Attacker):
    offer = attacker.consortium.offer()
    sealed = attacker.seal(offer=offer)
    assert refused(lambda: attacker.commit(sealed))[0] is Code.FAILED_PRECONDITION
    attacker.send(sealed)
    assert refused(lambda: attacker.commit(sealed, bytes(32)))[0] is Code.ALREADY_EXISTS
    first = attacker.commit(sealed)
    assert attacker.commit(sealed) == first
    assert attacker.upload(convert.header_request(sealed.header)) == 3
    assert refused(lambda: attacker.commit(sealed, bytes(32)))[0] is Code.ALREADY_EXISTS
    assert refused(lambda: attacker.upload(attacker.resigned(sealed, counter=10**6)))[0] is Code.ALREADY_EXISTS
    # The challenge of a committed upload under a new session's id, and a second answer to the round.
    assert refused(lambda: attacker.seal(offer=offer))[0] is Code.FAILED_PRECONDITION
    fresh = attacker.seal()
    reused = attacker.resigned(fresh, challenge=sealed.statement.challenge)
    assert refused(lambda: attacker.upload(reused))[0] is Code.FAILED_PRECONDITION
    old_counter = attacker.resigned(fresh, counter=sealed.statement.counter)
    assert refused(lambda: attacker.upload(old_counter))[0] is Code.FAILED_PRECONDITION


def test_uploads_of_others_are_not_found(attacker: Attacker):
    sealed = attacker.seal()
    config = attacker.consortium.silos["b"]
    identity = load_identity(config)
    with uplink.connect(identity, config) as stub:
        other = Attacker(attacker.consortium, stub, identity, "b")
        for action in (lambda: other.status(sealed), lambda: other.commit(sealed), lambda: other.send(sealed)):
            assert refused(action)[0] in {Code.NOT_FOUND, Code.PERMISSION_DENIED}
        missing = replace(sealed, header=replace(sealed.header, upload_id="00" * 16))
        assert refused(lambda: other.status(missing)) == refused(lambda: other.status(sealed))


def hostile_contents(consortium: Consortium) -> dict[str, tuple[grpc.StatusCode, bytes]]:
    tensors = dict(consortium.release().tensors)
    good = weights.encode(tensors)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    header = header_bytes(shapes)
    nan = np.frombuffer(good[len(header) :], np.float32).copy()
    nan[7] = np.nan
    duplicate = (
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    )
    many = json.dumps(
        {f"t{n}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]} for n in range(3000)}
    ).encode()
    return {
        "nan": (Code.INVALID_ARGUMENT, header + nan.tobytes()),
        "missing tensor": (Code.INVALID_ARGUMENT, weights.encode({"bias": tensors["bias"]})),
        "extra tensor": (Code.INVALID_ARGUMENT, weights.encode({**tensors, "extra": tensors["bias"]})),
        "other shape": (Code.INVALID_ARGUMENT, weights.encode({**tensors, "bias": tensors["bias"][:-1]})),
        "pickle": (Code.INVALID_ARGUMENT, b"\x80\x04\x95" + b"x" * 100),
        "text": (Code.INVALID_ARGUMENT, b"these are no weights"),
        "duplicate key": (Code.INVALID_ARGUMENT, len(duplicate).to_bytes(8, "little") + duplicate + bytes(4)),
        "many tensors": (Code.RESOURCE_EXHAUSTED, len(many).to_bytes(8, "little") + many + bytes(12000)),
        "trailing bytes": (Code.INVALID_ARGUMENT, good + b"x"),
    }


def test_contents_that_are_refused_at_the_commit(attacker: Attacker):
    before = _count_leaves(attacker.consortium)
    for name, (code, data) in hostile_contents(attacker.consortium).items():
        sealed = attacker.seal(data)
        attacker.send(sealed)
        got = refused(lambda sealed=sealed: attacker.commit(sealed))  # type: ignore[misc]  # bound now
        assert got[0] is code, (name, got)
        assert attacker.status(sealed) == "burned"
    assert _count_leaves(attacker.consortium) == before


def test_epsilon_that_does_not_follow(attacker: Attacker):
    guarantee = attacker.consortium.guarantee
    for epsilon in (guarantee.epsilon * 0.99, guarantee.epsilon / 2, min(guarantee.epsilon * 1.5, 2.0)):
        sealed = attacker.seal(guarantee=replace(guarantee, epsilon=epsilon))
        attacker.send(sealed)
        code, text = refused(lambda sealed=sealed: attacker.commit(sealed))  # type: ignore[misc]  # bound now
        assert code is Code.INVALID_ARGUMENT
        assert "epsilon" in text


def test_other_digest_than_the_statement(attacker: Attacker):
    sealed = attacker.seal(b"x" * 100)
    payload = replace(sealed.statement, artefact_digest="00" * 32).to_payload()
    assert Statement.from_payload(payload)
    # A silo that signs a wrong digest: the envelope opens, the whole does not match.
    order = attacker.seal(b"x" * 100)
    from llamdex_fl.envelope.stream import encrypt_chunk  # noqa: PLC0415 - used here only
    from llamdex_fl.envelope.suite import stream_cipher  # noqa: PLC0415 - used here only

    key = bytes(32)
    wrapped = attacker.identity.keyring.provider.recipients[0].wrap(key, order.statement.key_context())
    import hashlib  # noqa: PLC0415 - used here only

    statement = replace(order.statement, artefact_digest="00" * 32, wrapped_digest=hashlib.sha256(wrapped).hexdigest())
    envelope = sign("application/vnd.in-toto+json", statement.to_payload(), attacker.identity.signer)
    header = replace(order.header, statement=envelope, wrapped=wrapped)
    cipher = stream_cipher(key, envelope.digest())
    chunk = Chunk(0, encrypt_chunk(cipher, 0, b"x" * 100, last=True, aad=envelope.digest()))
    attacker.upload(convert.header_request(header), convert.chunk_request(chunk))
    forged = replace(order, header=header, statement=statement)
    assert refused(lambda: attacker.commit(forged))[0] is Code.DATA_LOSS
    assert attacker.status(forged) == "burned"


def test_wishes_that_are_refused(attacker: Attacker):
    challenge = attacker.consortium.offer().challenge
    for code, wish in (
        (Code.RESOURCE_EXHAUSTED, Wish(round_challenge=challenge, plaintext_length=5_000_000)),
        (Code.RESOURCE_EXHAUSTED, Wish(round_challenge=challenge, plaintext_length=0)),
        (Code.FAILED_PRECONDITION, Wish(round_challenge="00" * 32, plaintext_length=10)),
        (Code.INVALID_ARGUMENT, Wish(round_challenge="00", plaintext_length=10)),
    ):
        assert refused(lambda wish=wish: attacker.stub.BeginUpload(convert.begin_request(wish)))[0] is code  # type: ignore[misc]  # bound now
    with attacker.consortium.registry as registry:
        registry.close_round(challenge)
    wish = Wish(round_challenge=challenge, plaintext_length=10)
    assert refused(lambda: attacker.stub.BeginUpload(convert.begin_request(wish)))[0] is Code.FAILED_PRECONDITION


def test_malformed_messages_and_unknown_methods(consortium: Consortium):
    identity = load_identity(consortium.silos["a"])
    pair = (identity.tls_key, identity.tls_certificate)
    with channel(consortium, *pair, options=[("grpc.max_send_message_length", -1)]) as opened:

        def call(method: str, data: bytes, **more: Any) -> Callable[[], object]:  # noqa: ANN401 - options of grpc
            return lambda: opened.unary_unary(method)(data, timeout=5, **more)

        garbage = b"\xff\xff\xff"
        assert refused(call(SERVICE + "BeginUpload", garbage))[0] is Code.INVALID_ARGUMENT
        assert refused(lambda: opened.stream_unary(SERVICE + "UploadExpert")(iter([garbage]), timeout=5))[0] is (
            Code.INVALID_ARGUMENT
        )
        assert refused(call(SERVICE + "BeginUpload", bytes(600 * 1024)))[0] is Code.RESOURCE_EXHAUSTED
        metadata = (("x-filler", "x" * 65536),)
        assert refused(call(SERVICE + "BeginUpload", b"", metadata=metadata))[0] is Code.RESOURCE_EXHAUSTED
        assert refused(call(SERVICE + "Other", b""))[0] is Code.UNIMPLEMENTED
        reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        assert refused(call(reflection, b""))[0] is Code.UNIMPLEMENTED
        gzip = call(SERVICE + "BeginUpload", bytes(4096), compression=grpc.Compression.Gzip)
        assert refused(gzip)[0] is Code.UNIMPLEMENTED
        health = health_pb2_grpc.HealthStub(opened)
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING


def test_slow_sender_times_out_and_others_are_served(attacker: Attacker):
    sealed = attacker.seal()

    def slow() -> Iterator[Any]:
        yield convert.header_request(sealed.header)
        time.sleep(6)

    started = time.monotonic()
    call = attacker.stub.UploadExpert.future(slow())
    other = attacker.consortium.silos["b"]
    uplink.upload(attacker.consortium.release(), attacker.consortium.offer(), other, deadline_s=20)
    assert call.exception(timeout=10).code() is Code.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 6
    assert attacker.status(sealed) == "bound"


def test_a_new_stream_takes_the_place_of_a_stuck_one(attacker: Attacker):
    sealed = attacker.seal()

    def stuck() -> Iterator[Any]:
        yield convert.header_request(sealed.header)
        yield convert.chunk_request(next(sealed.chunks(0)))
        time.sleep(1.5)

    call = attacker.stub.UploadExpert.future(stuck())
    request = convert.status_request(sealed.header.upload_id)
    while convert.read_status_response(attacker.stub.GetUploadStatus(request)).next_index < 1:
        time.sleep(0.02)
    started = time.monotonic()
    assert attacker.upload(*uplink._messages(sealed, 1)) == 3
    assert time.monotonic() - started < 1.0
    assert call.exception(timeout=10).code() is Code.ABORTED
    attacker.commit(sealed)


def test_too_many_calls_of_one_silo(attacker: Attacker):
    def idle() -> Iterator[Any]:
        time.sleep(3)
        yield from ()

    calls = [attacker.stub.UploadExpert.future(idle()) for _ in range(12)]
    codes = [call.exception(timeout=15).code() for call in calls]
    assert codes.count(Code.RESOURCE_EXHAUSTED) >= 1
    assert set(codes) <= {Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED}


def test_garbage_on_the_port_does_not_disturb(consortium: Consortium):
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\x16\x03\x01\xff\xff"):
        with socket.create_connection(("127.0.0.1", consortium.port), timeout=5) as connection:
            connection.sendall(data)
    uplink.upload(consortium.release(), consortium.offer(), consortium.silos["a"], deadline_s=20)


def _count_leaves(consortium: Consortium) -> int:
    with consortium.registry as registry:
        return len(registry.log.leaves())
