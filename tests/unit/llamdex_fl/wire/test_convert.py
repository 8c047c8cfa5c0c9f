"""Messages and back: everything that a domain value holds survives; wrong sizes do not."""

import contextlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from llamdex_fl.envelope import (
    Chunk,
    Committed,
    DocumentError,
    Header,
    Progress,
    Receipt,
    ReceiptBody,
    Session,
    SigningKey,
    TreeHead,
    Wish,
    sign,
)
from llamdex_fl.envelope.merkle import leaf_hash, root_hash
from llamdex_fl.errors import ReceiptError
from llamdex_fl.wire import convert
from llamdex_fl.wire.v1 import envelope_pb2, upload_service_pb2

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def made() -> SimpleNamespace:
    key = SigningKey.generate()
    head = TreeHead.make("prov", 0, root_hash([]), NOW, key)
    leaves = [leaf_hash(b"0"), leaf_hash(b"1")]
    body = ReceiptBody(
        provider="prov",
        silo="a",
        release_id="11" * 32,
        upload_id="22" * 16,
        round_challenge="33" * 32,
        schema_digest="44" * 32,
        artefact_digest="55" * 32,
        accepted_at=NOW,
        leaf_index=2,
    )
    return SimpleNamespace(key=key, head=head, receipt=Receipt.make(body, leaves, NOW, key))


def test_round_trips(made: SimpleNamespace):
    wish = Wish(round_challenge="ab" * 32, plaintext_length=7, known_tree_size=3)
    assert convert.read_begin_request(convert.begin_request(wish)) == wish
    session = Session(
        upload_id="cd" * 16,
        challenge="ef" * 32,
        expires_at=NOW + timedelta(hours=1),
        suite="LDX1",
        recipient_keyid="ab" * 32,
        max_plaintext_bytes=99,
        tree_head=made.head.envelope,
        consistency=(b"\1" * 32,),
    )
    assert convert.read_begin_response(convert.begin_response(session)) == session
    header = Header(upload_id="cd" * 16, statement=sign("t", b"payload", made.key), wrapped=b"w" * 1168)
    assert convert.read_upload_request(convert.header_request(header)) == header
    chunk = Chunk(5, b"c" * 100)
    assert convert.read_upload_request(convert.chunk_request(chunk)) == chunk
    committed = Committed(receipt=made.receipt, consistency=(b"\2" * 32,))
    assert convert.read_commit_response(convert.commit_response(committed), made.key.public) == committed
    request = convert.commit_request("cd" * 16, bytes(32), 9)
    assert convert.read_commit_request(request) == ("cd" * 16, "00" * 32, 9)
    assert convert.read_status_request(convert.status_request("cd" * 16)) == "cd" * 16
    assert convert.read_upload_response(convert.upload_response(4)) == 4
    for status in ("open", "bound", "committed", "burned"):
        progress = Progress(status=status, next_index=2)
        assert convert.read_status_response(convert.status_response(progress)) == progress


def test_wrong_sizes_and_words(made: SimpleNamespace):
    message = convert.header_request(Header(upload_id="cd" * 16, statement=sign("t", b"p", made.key), wrapped=b"w"))
    short = upload_service_pb2.UploadExpertRequest()
    short.CopyFrom(message)
    short.header.upload_id = b"x"
    long = upload_service_pb2.UploadExpertRequest()
    long.CopyFrom(message)
    long.header.wrapped_key = bytes(5000)
    many = upload_service_pb2.UploadExpertRequest()
    many.CopyFrom(message)
    many.header.statement.signatures.extend([envelope_pb2.Signature()] * 9)
    large = upload_service_pb2.UploadExpertRequest(
        chunk=upload_service_pb2.UploadChunk(index=0, ciphertext=bytes(256 * 1024 + 17))
    )
    for bad in (short, long, many, large, upload_service_pb2.UploadExpertRequest()):
        with pytest.raises(DocumentError):
            convert.read_upload_request(bad)
    with pytest.raises(DocumentError):
        convert.read_status_response(upload_service_pb2.GetUploadStatusResponse())
    with pytest.raises(DocumentError):
        convert.read_begin_response(upload_service_pb2.BeginUploadResponse())
    with pytest.raises(ReceiptError):
        convert.read_commit_response(upload_service_pb2.CommitUploadResponse(), made.key.public)


@given(st.binary(max_size=80))
def test_no_message_that_parses_gives_an_untyped_error(data: bytes):
    message = upload_service_pb2.UploadExpertRequest()
    try:
        message.ParseFromString(data)
    except Exception:  # noqa: BLE001 - protobuf's own refusal is not this test's
        return
    with contextlib.suppress(DocumentError):
        convert.read_upload_request(message)


@pytest.mark.parametrize("index", [0, 1, 127, 128, 300, 2**32, 2**64 - 1])
@pytest.mark.parametrize("size", [1, 100, 127, 128, 16_384, 262_160])
def test_a_chunk_written_without_protobuf(index: int, size: int):
    chunk = Chunk(index, b"x" * size)
    assert convert.chunk_request_bytes(chunk) == convert.chunk_request(chunk).SerializeToString()


@pytest.mark.parametrize("index", [0, 1, 127, 128, 300, 2**32, 2**64 - 1])
@pytest.mark.parametrize("size", [1, 100, 127, 128, 16_384, 262_160, 262_161])
def test_a_chunk_read_without_protobuf(index: int, size: int):
    data = convert.chunk_request_bytes(Chunk(index, b"x" * size))
    read = convert.parse_upload_request(data)
    assert read == Chunk(index, b"x" * size)
    if size > 262_160:
        with pytest.raises(DocumentError):
            convert.read_upload_request(read)


def _as_protobuf_reads(data: bytes) -> object:
    try:
        message = upload_service_pb2.UploadExpertRequest.FromString(data)
    except DecodeError:
        return DecodeError
    return Chunk(message.chunk.index, message.chunk.ciphertext) if message.WhichOneof("part") == "chunk" else message


def _parsed(data: bytes) -> object:
    try:
        message = convert.parse_upload_request(data)
    except DecodeError:
        return DecodeError
    if isinstance(message, Chunk):
        return message
    return Chunk(message.chunk.index, message.chunk.ciphertext) if message.WhichOneof("part") == "chunk" else message


@given(
    st.integers(0, 2**64 - 1) | st.integers(0, 300),
    st.binary(max_size=150),
    st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=3),
)
def test_any_bytes_read_as_protobuf_reads_them(index: int, text: bytes, changes: list[tuple[int, int]]):
    data = bytearray(convert.chunk_request_bytes(Chunk(index, text)))
    for place, value in changes:
        data[place % min(len(data), 24)] = value
    assert _parsed(bytes(data)) == _as_protobuf_reads(bytes(data))


@given(st.binary(max_size=40))
def test_any_short_text_reads_as_protobuf_reads_it(data: bytes):
    for one in (data, b"\x12" + data, b"\x12\x05\x08" + data):
        assert _parsed(one) == _as_protobuf_reads(one)


def test_numbers_that_are_not_written_shortest_are_protobufs():
    # A length of 1 in two bytes; an index of 0 that is written out.
    for data in (b"\x12\x84\x00\x12\x81\x00x", b"\x12\x05\x08\x00\x12\x01x"):
        assert not isinstance(convert.parse_upload_request(data), Chunk)
        assert _parsed(data) == _as_protobuf_reads(data) == Chunk(0, b"x")


def test_the_method_of_chunks_is_the_services():
    service = upload_service_pb2.DESCRIPTOR.services_by_name["UploadService"]
    assert f"/{service.full_name}/{service.methods_by_name['UploadExpert'].name}" == convert.UPLOAD_EXPERT
