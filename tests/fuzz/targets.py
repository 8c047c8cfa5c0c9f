"""One fuzz target a parser: ``python tests/fuzz/targets.py NAME [libFuzzer's options] CORPUS``; ``run.py`` starts them.

A target may refuse its input with an error of the project. Anything else is a crash: another exception, more memory
than libFuzzer's limit, more time than its timeout, or an input that is accepted although it is not the one text for
its meaning. Signatures are taken as good here, since a fuzzer would never get past them; that they are checked is
what ``tests/vectors`` and ``tests/attacks`` show.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["llamdex_fl.envelope", "llamdex_fl.weights", "llamdex_fl.wire"]):
    from llamdex_fl import weights
    from llamdex_fl.envelope import (
        EnrolmentReply,
        EnrolmentRequest,
        Receipt,
        SealedFile,
        SignedEnvelope,
        Statement,
        VerifyKey,
        read_keyring,
        read_root,
    )
    from llamdex_fl.envelope.canonical import parse
    from llamdex_fl.envelope.keyring import Root
    from llamdex_fl.envelope.merkle import verify_consistency, verify_inclusion
    from llamdex_fl.wire import convert

from google.protobuf.message import DecodeError
from machine import run_machine

from llamdex_fl.errors import LlamdexError
from llamdex_fl.wire.v1 import upload_service_pb2 as pb2

__all__ = ["TARGETS"]

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
KEY = VerifyKey(b"\x09" + bytes(31), bytes(1952))
ROOT = Root(version=1, threshold=1, keys=(KEY,), expires_at=datetime(2030, 1, 1, tzinfo=UTC))
_LIMITS = weights.Limits(file_bytes=1 << 20)
_SPOOL = Path(tempfile.gettempdir()) / f"llamdex-fuzz-{os.getpid()}.ldx"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _trust_signatures() -> None:
    SignedEnvelope.verified = lambda self, _type, _key: self.payload  # type: ignore[method-assign]
    SignedEnvelope.verified_by = lambda self, _type, _keys, _threshold: self.payload  # type: ignore[method-assign]


def canonical(data: bytes) -> None:
    parse(data, limit=1 << 16)


def statement(data: bytes) -> None:
    if Statement.from_payload(data).to_payload() != data:
        raise AssertionError("a second text for one meaning")


def dsse(data: bytes) -> None:
    envelope = SignedEnvelope.from_json(_text(data))
    if SignedEnvelope.from_json(envelope.to_json()) != envelope:
        raise AssertionError("another envelope after a round trip")


def keyring(data: bytes) -> None:
    envelope = SignedEnvelope("application/vnd.llamdex.keyring.v1+json", data, ())
    if read_keyring(envelope, ROOT, now=NOW)._payload() != data:
        raise AssertionError("a second text for one meaning")


def root(data: bytes) -> None:
    envelope = SignedEnvelope("application/vnd.llamdex.root.v1+json", data, ())
    if read_root(envelope, now=NOW)._payload() != data:
        raise AssertionError("a second text for one meaning")


def receipt(data: bytes) -> None:
    Receipt.from_json(_text(data), KEY)


def enrolment_request(data: bytes) -> None:
    EnrolmentRequest.verified(_text(data))


def enrolment_reply(data: bytes) -> None:
    EnrolmentReply.from_json(_text(data))


def spool(data: bytes) -> None:
    _SPOOL.write_bytes(data)
    for _ in SealedFile.open(_SPOOL).chunks(0):
        pass


def safetensors(data: bytes) -> None:
    tensors = weights.decode(data, limits=_LIMITS)
    if weights.encode(tensors) != data:
        raise AssertionError("a second text for one meaning")


def merkle(data: bytes) -> None:
    if len(data) < 66:
        return
    index, size, proof = data[0], data[1], [data[at : at + 32] for at in range(66, len(data), 32)]
    verify_inclusion(data[2:34], index, size, proof, data[34:66])
    verify_consistency(index, size, proof, data[2:34], data[34:66])


_MESSAGES = (
    (pb2.UploadExpertRequest, convert.read_upload_request),
    (pb2.BeginUploadRequest, convert.read_begin_request),
    (pb2.CommitUploadRequest, convert.read_commit_request),
    (pb2.GetUploadStatusRequest, convert.read_status_request),
    (pb2.BeginUploadResponse, convert.read_begin_response),
    (pb2.UploadExpertResponse, convert.read_upload_response),
    (pb2.CommitUploadResponse, lambda message: convert.read_commit_response(message, KEY)),
    (pb2.GetUploadStatusResponse, convert.read_status_response),
)


def wire(data: bytes) -> None:
    if not data:
        return
    kind, read = _MESSAGES[data[0] % len(_MESSAGES)]
    try:
        message = (
            convert.parse_upload_request(data[1:]) if kind is pb2.UploadExpertRequest else kind.FromString(data[1:])
        )
    except DecodeError:
        return
    read(message)


def upload(data: bytes) -> None:
    run_machine(data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "canonical": canonical,
    "statement": statement,
    "dsse": dsse,
    "keyring": keyring,
    "root": root,
    "receipt": receipt,
    "enrolment_request": enrolment_request,
    "enrolment_reply": enrolment_reply,
    "spool": spool,
    "safetensors": safetensors,
    "merkle": merkle,
    "wire": wire,
    "upload": upload,
}


def _main() -> None:
    name = sys.argv.pop(1)
    target = TARGETS[name]
    if name != "upload":
        _trust_signatures()

    def once(data: bytes) -> None:
        try:
            target(data)
        except LlamdexError:
            return

    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    _main()
