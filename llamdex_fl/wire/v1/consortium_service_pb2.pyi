from llamdex_fl.wire.v1 import envelope_pb2 as _envelope_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReadLogRequest(_message.Message):
    __slots__ = ("known_tree_size",)
    KNOWN_TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    known_tree_size: int
    def __init__(self, known_tree_size: _Optional[int] = ...) -> None: ...

class ReadLogResponse(_message.Message):
    __slots__ = ("head", "entry")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    head: LogHead
    entry: LogEntry
    def __init__(self, head: _Optional[_Union[LogHead, _Mapping]] = ..., entry: _Optional[_Union[LogEntry, _Mapping]] = ...) -> None: ...

class LogHead(_message.Message):
    __slots__ = ("tree_head", "consistency_proof")
    TREE_HEAD_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_PROOF_FIELD_NUMBER: _ClassVar[int]
    tree_head: _envelope_pb2.SignedEnvelope
    consistency_proof: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, tree_head: _Optional[_Union[_envelope_pb2.SignedEnvelope, _Mapping]] = ..., consistency_proof: _Optional[_Iterable[bytes]] = ...) -> None: ...

class LogEntry(_message.Message):
    __slots__ = ("payload", "statement")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    statement: _envelope_pb2.SignedEnvelope
    def __init__(self, payload: _Optional[bytes] = ..., statement: _Optional[_Union[_envelope_pb2.SignedEnvelope, _Mapping]] = ...) -> None: ...

class ReadEnrolmentRequest(_message.Message):
    __slots__ = ("keyring_version", "certificate_digest")
    KEYRING_VERSION_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    keyring_version: int
    certificate_digest: bytes
    def __init__(self, keyring_version: _Optional[int] = ..., certificate_digest: _Optional[bytes] = ...) -> None: ...

class ReadEnrolmentResponse(_message.Message):
    __slots__ = ("part",)
    PART_FIELD_NUMBER: _ClassVar[int]
    part: bytes
    def __init__(self, part: _Optional[bytes] = ...) -> None: ...
