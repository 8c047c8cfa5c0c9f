"""Cases 17 to 21, 29 to 33 and 40: chunks, and what is in them."""

import gzip
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from llamdex_fl import weights
from llamdex_fl.envelope import Chunk, SealedFile, sign
from llamdex_fl.envelope.stream import encrypt_chunk
from llamdex_fl.envelope.suite import CHUNK_SIZE, stream_cipher
from llamdex_fl.weights.header import header_bytes
from llamdex_fl.wire import convert
from simulations.review.attacker import STATEMENT_TYPE, Attacker, answer, messages
from simulations.review.case import Arena, Try, case

__all__: list[str] = []

_STREAM = "STREAM: each chunk's nonce has its index and whether it is the last, its AAD is the statement"
_PARSER = "A strict parser of the project's own; nothing is ever unpickled"


def _chunk(index: int, ciphertext: bytes) -> Any:  # noqa: ANN401 - a message
    return convert.chunk_request(Chunk(index, ciphertext))


def _flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@case(
    17, "a flipped bit anywhere in a chunk", "DATA_LOSS", control="AES-256-GCM; an upload that does not open is burned"
)
def _flipped_bit(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        for index in range(3):
            header, *chunks = messages(attacker.seal())
            sealed = chunks[index].chunk.ciphertext
            for where, place in (("first byte", 0), ("middle", len(sealed) // 2), ("tag", len(sealed) - 1)):
                bad = [header, *chunks[:index], _chunk(index, _flip(sealed, place))]
                yield Try(f"chunk {index}, {where}", answer(lambda b=bad: attacker.upload(b)))  # type: ignore[misc]  # bound now
                header, *chunks = messages(attacker.seal())
                sealed = chunks[index].chunk.ciphertext


@case(18, "a dropped, swapped or repeated chunk", "OUT_OF_RANGE", control=_STREAM)
def _order(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        for what, order in {
            "first dropped": (1, 2),
            "middle dropped": (0, 2),
            "swapped": (1, 0, 2),
            "last two swapped": (0, 2, 1),
            "repeated": (0, 0, 1, 2),
            "backwards": (2, 1, 0),
        }.items():
            header, *chunks = messages(attacker.seal())
            parts = [header, *(chunks[index] for index in order)]
            yield Try(what, answer(lambda p=parts: attacker.upload(p)))  # type: ignore[misc]  # bound now


@case(19, "truncated, no last flag", "DATA_LOSS", control=_STREAM)
def _truncated(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        for count in range(3):
            parts = messages(attacker.seal())[: 1 + count]
            yield Try(f"{count} of 3 chunks", answer(lambda p=parts: attacker.upload(p)))  # type: ignore[misc]  # bound now
        header, *chunks = messages(attacker.seal())
        short = [header, *chunks[:-1], _chunk(2, chunks[-1].chunk.ciphertext[:-1])]
        yield Try("last chunk cut short", answer(lambda: attacker.upload(short)))


@case(20, "data after the last chunk", "OUT_OF_RANGE", control=_STREAM)
def _excess(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        for what, index in (("a further chunk", 3), ("the last one again", 2)):
            parts = messages(attacker.seal())
            parts.append(_chunk(index, parts[-1].chunk.ciphertext))
            yield Try(what, answer(lambda p=parts: attacker.upload(p)))  # type: ignore[misc]  # bound now


@case(
    21,
    "chunks or wrapped key of another upload",
    "DATA_LOSS, one text",
    control="The content key is wrapped for one session; whatever does not open reads the same",
)
def _another_upload(arena: Arena) -> Iterable[Try]:
    texts: set[str] = set()

    def told(parts: list[Any]) -> str:
        try:
            attacker.upload(parts)
        except Exception as error:  # noqa: BLE001 - a grpc error of any status; the status is what is compared
            texts.add(error.details())  # type: ignore[attr-defined]  # of grpc.RpcError
            return f"{error.code().name}, one text"  # type: ignore[attr-defined]  # of grpc.RpcError
        return "OK"

    with arena.attacker() as attacker:
        other = attacker.seal()
        other_chunks = messages(other)[1:]
        header, *chunks = messages(attacker.seal())
        yield Try("a flipped bit, to compare", told([header, _chunk(0, _flip(chunks[0].chunk.ciphertext, 9))]))
        header, *chunks = messages(attacker.seal())
        yield Try("first chunk", told([header, other_chunks[0], *chunks[1:]]))
        header, *chunks = messages(attacker.seal())
        yield Try("last chunk", told([header, *chunks[:-1], other_chunks[-1]]))
        sealed = attacker.seal()
        swapped = replace(sealed.header, wrapped=other.header.wrapped)
        yield Try("wrapped key", told([convert.header_request(swapped), *messages(sealed)[1:]]))
        digest = hashlib.sha256(other.header.wrapped).hexdigest()
        payload = replace(sealed.statement, wrapped_digest=digest).to_payload()
        signed = replace(swapped, statement=sign(STATEMENT_TYPE, payload, attacker.identity.signer))
        yield Try("wrapped key, signed for", told([convert.header_request(signed), *messages(sealed)[1:]]))
        yield Try("texts that were told", str(len(texts)), expected="1")


def _committed(attacker: Attacker, data: bytes) -> str:
    sealed = attacker.seal(data)
    attacker.send(sealed)
    return answer(lambda: attacker.commit(sealed))


def _file(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def _entries(shapes: Mapping[str, Any], dtype: str = "F32", size: int = 4) -> bytes:
    entries, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + size * int(np.prod(shape))
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    return json.dumps(entries, separators=(",", ":")).encode()


@case(29, "duplicate JSON or safetensors key", "INVALID_ARGUMENT", control=_PARSER)
def _duplicates(arena: Arena) -> Iterable[Try]:
    one = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    inner = b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    with arena.attacker() as attacker:
        yield Try("a tensor", _committed(attacker, _file(b"{" + one + b"," + one + b"}", bytes(4))))
        yield Try("a tensor's field", _committed(attacker, _file(inner, bytes(4))))
        sealed = attacker.seal()
        counter = f'"counter":{sealed.statement.counter}'.encode()
        for what, text in (
            ("a field of the statement", counter),
            ("its type", b'"_type":"https://in-toto.io/Statement/v1"'),
        ):
            header = attacker.written(sealed, text, text + b"," + text)
            yield Try(what, answer(lambda h=header: attacker.upload([h])))  # type: ignore[misc]  # bound now


def hostile_headers() -> dict[str, bytes]:
    """Files whose header is over a limit."""
    one = _entries({"a": (1,)})
    return {
        "header over the cap": _file(b"{" + b" " * 3_000_000),
        "enormous length": b"\xff" * 8 + b"{}" + bytes(100),
        "length of 2^40": (1 << 40).to_bytes(8, "little") + bytes(100),
        "many tensors": _file(_entries({f"t{number}": (1,) for number in range(3000)}), bytes(12_000)),
        "very many tensors": _file(_entries({f"t{number}": (1,) for number in range(50_000)}), bytes(200_000)),
        "padding": _file(one + b" " * 100_000, bytes(4)),
        "metadata": _file(b'{"__metadata__":{"k":"' + b"x" * 200_000 + b'"},' + one[1:], bytes(4)),
        "a little metadata": _file(b'{"__metadata__":{"k":"v"},' + one[1:], bytes(4)),
    }


@case(
    30,
    "header over cap, many tensors, padding, metadata",
    "RESOURCE_EXHAUSTED within 100 ms",
    control="Each limit is checked before the work that it bounds, and before the digest of the file",
)
def _headers(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        for what, data in hostile_headers().items():
            # The best of three: others use this machine too.
            seconds, got = [], ""
            for _ in range(3):
                sealed = attacker.seal(data)
                attacker.send(sealed)
                started = time.perf_counter()
                got = answer(lambda s=sealed: attacker.commit(s))  # type: ignore[misc]  # bound now
                seconds.append(time.perf_counter() - started)
            within = "within 100 ms" if min(seconds) < 0.1 else f"after {1000 * min(seconds):.0f} ms"  # noqa: PLR2004 - s
            yield Try(what, f"{got} {within}")


@case(31, "wrong dtype, shape, name; an extra or missing tensor", "INVALID_ARGUMENT", control=_PARSER)
def _tensors(arena: Arena) -> Iterable[Try]:
    tensors = dict(arena.consortium.release().tensors)
    good = weights.encode(tensors)
    shapes = {name: tensors[name].shape for name in sorted(tensors)}
    data = good[len(header_bytes(shapes)) :]
    renamed = {("other" if name == "bias" else name): tensor for name, tensor in tensors.items()}
    tries = {
        "dtype": _file(_entries(shapes, "F64", 8), data + data),
        "half precision": _file(_entries(shapes, "F16", 2), data[: len(data) // 2]),
        "shape": weights.encode({**tensors, "bias": tensors["bias"][:-1]}),
        "shape turned": weights.encode({**tensors, "bias": tensors["bias"].reshape(1, -1)}),
        "shape of [0, 2^60]": _file(_entries({"bias": (0, 1)}).replace(b"[0,1]", b"[0,1152921504606846976]")),
        "name": weights.encode(renamed),
        "name of a path": _file(_entries({"../../etc/passwd": (1,)}), bytes(4)),
        "long name": _file(_entries({"a" * 500: (1,)}), bytes(4)),
        "extra tensor": weights.encode({**tensors, "extra": tensors["bias"]}),
        "missing tensor": weights.encode({"bias": tensors["bias"]}),
        "trailing bytes": good + b"x",
        "missing bytes": good[:-4],
    }
    with arena.attacker() as attacker:
        for what, bad in tries.items():
            yield Try(what, _committed(attacker, bad))


@case(32, "NaN, Inf, overflow", "INVALID_ARGUMENT", control=_PARSER)
def _not_finite(arena: Arena) -> Iterable[Try]:
    tensors = dict(arena.consortium.release().tensors)
    header = header_bytes({name: tensor.shape for name, tensor in tensors.items()})
    data = np.frombuffer(weights.encode(tensors)[len(header) :], np.float32)
    with arena.attacker() as attacker:
        for what, value in (("NaN", np.nan), ("infinity", np.inf), ("minus infinity", -np.inf)):
            for where in (0, data.size - 1):
                bad = data.copy()
                bad[where] = value
                yield Try(f"{what} at {where}", _committed(attacker, header + bad.tobytes()))
        one = _entries({"a": (1,)})
        yield Try("shape", _committed(attacker, _file(one.replace(b"[1]", b"[1099511627776,1099511627776]"), bytes(4))))
        yield Try(
            "offsets",
            _committed(
                attacker, _file(one.replace(b"[0,4]", b"[18446744073709551616,18446744073709551620]"), bytes(4))
            ),
        )


#: Bytes that begin as each kind does; nothing here makes or reads a pickle.
def foreign_formats() -> dict[str, bytes]:
    """Files of other formats than weights, at least as many bytes as a length field has."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        file.writestr("archive/data/0", bytes(64))
    return {
        **{
            f"pickle, protocol {p}": bytes([0x80, p]) + b"\x95\x0b\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s."
            for p in (4, 5)
        },
        **{f"pickle, protocol {p}": bytes([0x80, p]) + b"}q\x00X\x01\x00\x00\x00aq\x01K\x01s." for p in (2, 3)},
        "pickle, protocol 1": b"}q\x00X\x01\x00\x00\x00aq\x01K\x01s.",
        "pickle, protocol 0": b"(dp0\nVa\np1\nI1\ns.",
        "pickle that runs a command": b"cos\nsystem\n(S'true'\ntR.",
        "zip, .pt": archive.getvalue(),
        ".pt of old": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        "gzip": gzip.compress(bytes(99)),
        "text": b"these are no weights",
    }


@case(33, "pickle, zip or .pt bytes", "INVALID_ARGUMENT", control=_PARSER)
def _formats(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        for what, data in foreign_formats().items():
            yield Try(what, _committed(attacker, data))


def _sealed_with(attacker: Attacker, key: bytes, plaintext: bytes, **changes: object) -> tuple[SealedFile, list[Any]]:
    """An envelope whose content key the attacker knows, and its messages.

    Args:
        attacker: seals it.
        key: the content key.
        plaintext: what is sealed.
        changes: of the statement.
    """
    sealed = attacker.seal(plaintext)
    wrapped = attacker.identity.keyring.provider.recipients[0].wrap(key, sealed.statement.key_context())
    statement = replace(sealed.statement, wrapped_digest=hashlib.sha256(wrapped).hexdigest(), **changes)  # type: ignore[arg-type]  # a table of changes
    signed = sign(STATEMENT_TYPE, statement.to_payload(), attacker.identity.signer)
    header = replace(sealed.header, statement=signed, wrapped=wrapped)
    chunks = [_chunk(index, part) for index, part in enumerate(_encrypted(key, plaintext, signed.digest()))]
    return replace(sealed, header=header, statement=statement), [convert.header_request(header), *chunks]


def _encrypted(key: bytes, plaintext: bytes, aad: bytes) -> list[bytes]:
    cipher = stream_cipher(key, aad)
    parts = [plaintext[start : start + CHUNK_SIZE] for start in range(0, len(plaintext), CHUNK_SIZE)]
    return [
        encrypt_chunk(cipher, index, part, last=index == len(parts) - 1, aad=aad) for index, part in enumerate(parts)
    ]


@case(
    40,
    "resume with a re-encrypted chunk",
    "DATA_LOSS, session burned",
    control="An envelope is sealed once, into a file; a resume sends the same bytes",
)
def _resealed(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        plaintext = weights.encode(arena.consortium.release().tensors)
        sealed, (header, *chunks) = _sealed_with(attacker, bytes(32), plaintext)
        # A fresh key, as a client has that lost its spool file and seals the same release again.
        again = _chunk(1, _encrypted(bytes([1]) * 32, plaintext, sealed.header.statement.digest())[1])
        yield Try("the first half", answer(lambda: attacker.upload([header, chunks[0]])), expected="DATA_LOSS")
        got = answer(lambda: attacker.upload([header, again]))
        yield Try("resumed", f"{got}, session {attacker.status(sealed)}")
        yield Try("then the right chunks", f"{answer(lambda: attacker.upload([header, *chunks[1:]]))}, session burned")
        yield Try("then a commit", f"{answer(lambda: attacker.commit(sealed))}, session burned")


@case(
    54,
    "a signed digest that is not the file's",
    "DATA_LOSS, session burned",
    control="The digest of the whole is compared at the commit, before the file is read",
)
def _another_digest(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        plaintext = weights.encode(arena.consortium.release().tensors)
        sealed, parts = _sealed_with(attacker, bytes(32), plaintext, artefact_digest="00" * 32)
        attacker.upload(parts)
        got = answer(lambda: attacker.commit(sealed))
        yield Try("commit", f"{got}, session {attacker.status(sealed)}")
