import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llamdex_fl.wire.v1 import envelope_pb2 as _envelope_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UploadStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UPLOAD_STATUS_UNSPECIFIED: _ClassVar[UploadStatus]
    UPLOAD_STATUS_OPEN: _ClassVar[UploadStatus]
    UPLOAD_STATUS_BOUND: _ClassVar[UploadStatus]
    UPLOAD_STATUS_COMMITTED: _ClassVar[UploadStatus]
    UPLOAD_STATUS_BURNED: _ClassVar[UploadStatus]
UPLOAD_STATUS_UNSPECIFIED: UploadStatus
UPLOAD_STATUS_OPEN: UploadStatus
UPLOAD_STATUS_BOUND: UploadStatus
UPLOAD_STATUS_COMMITTED: UploadStatus
UPLOAD_STATUS_BURNED: UploadStatus

class BeginUploadRequest(_message.Message):
    __slots__ = ("round_challenge", "plaintext_length", "known_tree_size")
    ROUND_CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    KNOWN_TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    round_challenge: bytes
    plaintext_length: int
    known_tree_size: int
    def __init__(self, round_challenge: _Optional[bytes] = ..., plaintext_length: _Optional[int] = ..., known_tree_size: _Optional[int] = ...) -> None: ...

class BeginUploadResponse(_message.Message):
    __slots__ = ("upload_id", "challenge", "expires_at", "suite", "recipient_keyid", "max_plaintext_bytes", "tree_head", "consistency_proof")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    SUITE_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_KEYID_FIELD_NUMBER: _ClassVar[int]
    MAX_PLAINTEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    TREE_HEAD_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_PROOF_FIELD_NUMBER: _ClassVar[int]
    upload_id: bytes
    challenge: bytes
    expires_at: _timestamp_pb2.Timestamp
    suite: str
    recipient_keyid: str
    max_plaintext_bytes: int
    tree_head: _envelope_pb2.SignedEnvelope
    consistency_proof: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, upload_id: _Optional[bytes] = ..., challenge: _Optional[bytes] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., suite: _Optional[str] = ..., recipient_keyid: _Optional[str] = ..., max_plaintext_bytes: _Optional[int] = ..., tree_head: _Optional[_Union[_envelope_pb2.SignedEnvelope, _Mapping]] = ..., consistency_proof: _Optional[_Iterable[bytes]] = ...) -> None: ...

class UploadHeader(_message.Message):
    __slots__ = ("upload_id", "statement", "wrapped_key")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    WRAPPED_KEY_FIELD_NUMBER: _ClassVar[int]
    upload_id: bytes
    statement: _envelope_pb2.SignedEnvelope
    wrapped_key: bytes
    def __init__(self, upload_id: _Optional[bytes] = ..., statement: _Optional[_Union[_envelope_pb2.SignedEnvelope, _Mapping]] = ..., wrapped_key: _Optional[bytes] = ...) -> None: ...

class UploadChunk(_message.Message):
    __slots__ = ("index", "ciphertext")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    index: int
    ciphertext: bytes
    def __init__(self, index: _Optional[int] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class UploadExpertRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: UploadHeader
    chunk: UploadChunk
    def __init__(self, header: _Optional[_Union[UploadHeader, _Mapping]] = ..., chunk: _Optional[_Union[UploadChunk, _Mapping]] = ...) -> None: ...

class UploadExpertResponse(_message.Message):
    __slots__ = ("next_index",)
    NEXT_INDEX_FIELD_NUMBER: _ClassVar[int]
    next_index: int
    def __init__(self, next_index: _Optional[int] = ...) -> None: ...

class CommitUploadRequest(_message.Message):
    __slots__ = ("upload_id", "statement_digest", "known_tree_size")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    KNOWN_TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    upload_id: bytes
    statement_digest: bytes
    known_tree_size: int
    def __init__(self, upload_id: _Optional[bytes] = ..., statement_digest: _Optional[bytes] = ..., known_tree_size: _Optional[int] = ...) -> None: ...

class CommitUploadResponse(_message.Message):
    __slots__ = ("receipt", "consistency_proof")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_PROOF_FIELD_NUMBER: _ClassVar[int]
    receipt: _envelope_pb2.Receipt
    consistency_proof: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, receipt: _Optional[_Union[_envelope_pb2.Receipt, _Mapping]] = ..., consistency_proof: _Optional[_Iterable[bytes]] = ...) -> None: ...

class GetUploadStatusRequest(_message.Message):
    __slots__ = ("upload_id",)
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    upload_id: bytes
    def __init__(self, upload_id: _Optional[bytes] = ...) -> None: ...

class GetUploadStatusResponse(_message.Message):
    __slots__ = ("status", "next_index")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    NEXT_INDEX_FIELD_NUMBER: _ClassVar[int]
    status: UploadStatus
    next_index: int
    def __init__(self, status: _Optional[_Union[UploadStatus, str]] = ..., next_index: _Optional[int] = ...) -> None: ...
