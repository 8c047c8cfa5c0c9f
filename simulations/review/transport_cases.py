"""Cases 1 to 6, 22 to 28 and 38: certificates, TLS, messages, and how many of them."""

import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from llamdex_fl.envelope import Chunk, Wish, generate_tls_key, load_tls_key, tls_key_pem
from llamdex_fl.envelope.certificates import certificate_request, issue_ca, issue_provider, issue_silo
from llamdex_fl.wire import convert
from silo_client import uplink
from silo_client.enrolment import load_identity
from simulations.review.attacker import SERVICE, Attacker, answer, channel, messages, relay
from simulations.review.case import Arena, Try, case
from simulations.review.consortium import PROVIDER_ID, TRUST_DOMAIN, Consortium

__all__: list[str] = []

Pair = tuple[bytes, bytes]
_MTLS = "mTLS: gRPC requires a client certificate of the consortium's CA"
_BEGIN = SERVICE + "BeginUpload"
_UPLOAD = SERVICE + "UploadExpert"


def _first_call(consortium: Consortium, pair: Pair | None) -> str:
    with channel(consortium, pair) as opened:
        return answer(lambda: opened.unary_unary(_BEGIN)(b"", timeout=10))


def _issue(consortium: Consortium, *, at: datetime | None = None, foreign: bool = False, server: bool = False) -> Pair:
    """A fresh key, and a certificate of silo a for it."""
    at = at or datetime.now(UTC)
    key = generate_tls_key()
    if foreign:
        ca_key = generate_tls_key()
        ca = issue_ca(TRUST_DOMAIN, ca_key, at)
    else:
        keys = consortium.home / "keys"
        ca, ca_key = (keys / "ca-certificate.pem").read_bytes(), load_tls_key(keys / "ca.pem")
    certificate = (
        issue_provider(TRUST_DOMAIN, PROVIDER_ID, key.public_key(), (ca, ca_key), at)
        if server
        else issue_silo(TRUST_DOMAIN, "a", certificate_request("a", key), (ca, ca_key), at)
    )
    return tls_key_pem(key), certificate


def _own_pair(consortium: Consortium) -> Pair:
    identity = load_identity(consortium.silos["a"])
    return identity.tls_key, identity.tls_certificate


@case(1, "no client certificate", "UNAVAILABLE", control=_MTLS)
def _no_certificate(arena: Arena) -> Iterable[Try]:
    yield Try("no certificate", _first_call(arena.consortium, None))


@case(2, "certificate of another CA", "UNAVAILABLE", control=_MTLS)
def _another_ca(arena: Arena) -> Iterable[Try]:
    yield Try("a CA of the same name", _first_call(arena.consortium, _issue(arena.consortium, foreign=True)))


@case(3, "expired certificate", "UNAVAILABLE", control=_MTLS)
def _expired(arena: Arena) -> Iterable[Try]:
    for what, years in (("expired", -2), ("not valid yet", 2)):
        at = datetime.now(UTC) + timedelta(days=365 * years)
        yield Try(what, _first_call(arena.consortium, _issue(arena.consortium, at=at)))


@case(4, "wrong key usage", "UNAVAILABLE", control="Certificates are for clients or for servers, never both")
def _wrong_usage(arena: Arena) -> Iterable[Try]:
    yield Try("a server's certificate", _first_call(arena.consortium, _issue(arena.consortium, server=True)))


def _old_tls(consortium: Consortium, newest: ssl.TLSVersion) -> str:
    """A call over Python's TLS, which has no post-quantum group (OpenSSL before 3.5) or is made to offer none."""
    config = consortium.silos["a"]
    context = ssl.create_default_context(cadata=load_identity(config).keyring.ca)
    context.load_cert_chain(config.keys / "tls-certificate.pem", config.keys / "tls.pem")
    context.maximum_version = newest
    context.set_alpn_protocols(["h2"])
    # A classical curve and nothing else, whatever the library could do.
    context.set_ecdh_curve("prime256v1")
    with relay(consortium, context) as address, grpc.insecure_channel(address) as opened:
        return answer(lambda: opened.unary_unary(_BEGIN)(b"", timeout=10))


@case(
    5,
    "TLS 1.2, or no post-quantum group",
    "FAILED_PRECONDITION",
    control="Each call's TLS version and key exchange are looked at before its handler runs",
)
def _weak_tls(arena: Arena) -> Iterable[Try]:
    yield Try("TLS 1.2", _old_tls(arena.consortium, ssl.TLSVersion.TLSv1_2))
    yield Try("TLS 1.3 with P-256 only", _old_tls(arena.consortium, ssl.TLSVersion.TLSv1_3))


@case(6, "plaintext to the TLS port", "UNAVAILABLE", control="The port speaks TLS only")
def _plaintext(arena: Arena) -> Iterable[Try]:
    with grpc.insecure_channel(arena.consortium.address) as opened:
        yield Try("gRPC without TLS", answer(lambda: opened.unary_unary(_BEGIN)(b"", timeout=10)))


@contextmanager
def _raw(arena: Arena) -> Iterator[Any]:
    """A channel of an enrolled silo that takes bytes for messages."""
    with channel(arena.consortium, _own_pair(arena.consortium)) as opened:
        yield opened


@case(22, "message over the limit", "RESOURCE_EXHAUSTED", control="gRPC takes messages up to 512 KiB")
def _large_message(arena: Arena) -> Iterable[Try]:
    large = bytes(600 * 1024)
    with _raw(arena) as opened:
        yield Try("a request", answer(lambda: opened.unary_unary(_BEGIN)(large, timeout=10)))
        yield Try("a header", answer(lambda: opened.stream_unary(_UPLOAD)(iter([large]), timeout=10)))
    with arena.attacker() as attacker:
        sealed = attacker.seal()
    with _raw(arena) as opened:
        parts = [messages(sealed)[0].SerializeToString(), large]
        yield Try("a chunk", answer(lambda: opened.stream_unary(_UPLOAD)(iter(parts), timeout=10)))


@case(23, "gzip message, decompression bomb", "UNIMPLEMENTED", control="No compression is enabled at the gRPC server")
def _compressed(arena: Arena) -> Iterable[Try]:
    gzip = {"compression": grpc.Compression.Gzip, "timeout": 10}
    with _raw(arena) as opened:
        yield Try("gzip", answer(lambda: opened.unary_unary(_BEGIN)(bytes(4096), **gzip)))
        yield Try("a bomb", answer(lambda: opened.unary_unary(_BEGIN)(bytes(64 << 20), **gzip)))
        yield Try("a bomb in a stream", answer(lambda: opened.stream_unary(_UPLOAD)(iter([bytes(64 << 20)]), **gzip)))


@case(24, "64 KiB of metadata", "RESOURCE_EXHAUSTED", control="Metadata is bounded to 16 KiB")
def _metadata(arena: Arena) -> Iterable[Try]:
    entries = {
        "one entry": (("x-filler", "x" * 65536),),
        "many entries": tuple((f"x-filler-{number}", "x" * 100) for number in range(600)),
    }
    with _raw(arena) as opened:
        for what, metadata in entries.items():
            yield Try(what, answer(lambda m=metadata: opened.unary_unary(_BEGIN)(b"", timeout=10, metadata=m)))  # type: ignore[misc]  # bound now


@case(25, "too many RPCs, quota exceeded", "RESOURCE_EXHAUSTED", control="Calls and uploads are counted by silo")
def _too_many(arena: Arena) -> Iterable[Try]:
    limit = 4

    def idle() -> Iterator[Any]:
        time.sleep(3)
        yield from ()

    with arena.attacker() as attacker:
        calls = [attacker.stub.UploadExpert.future(idle()) for _ in range(5 * limit)]
        codes = [call.exception(timeout=20).code().name for call in calls]
        # Those that were let in wait for their header in vain.
        refused = [code for code in codes if code != "DEADLINE_EXCEEDED"]
        yield Try("20 calls of one silo, 4 are let in", " ".join(sorted(set(refused))))
        yield Try("and no more than those were let in", str(len(codes) - len(refused)), expected=str(limit))
    for what, name in (("uploads under way", "sessions_per_silo"), ("uploads of a day", "uploads_per_silo_and_day")):
        with arena.own(limits={name: 2}) as own, Attacker.connected(own) as attacker:
            for _ in range(2):
                attacker.seal(b"x")
            yield Try(what, answer(lambda a=attacker: a.seal(b"x")))  # type: ignore[misc]  # bound now


def _served(arena: Arena) -> str:
    """Whether another silo is served, and soon."""
    consortium, started = arena.consortium, time.monotonic()
    uplink.upload(consortium.release(), consortium.offer(), consortium.silos["b"], deadline_s=20)
    return "served" if time.monotonic() - started < 5 else "served late"  # noqa: PLR2004 - seconds


@case(26, "slow-loris", "DEADLINE_EXCEEDED", control="A deadline for each message, stream, call and handshake")
def _slow(arena: Arena) -> Iterable[Try]:
    def silent(*first: Any) -> Iterator[Any]:  # noqa: ANN401 - messages
        yield from first
        time.sleep(8)

    with arena.attacker() as attacker:
        header, first, *_ = messages(attacker.seal())
        for what, parts in (("no header", ()), ("no chunk", (header,)), ("no further chunk", (header, first))):
            call = attacker.stub.UploadExpert.future(silent(*parts))
            yield Try(f"{what}: another silo", _served(arena), expected="served")
            yield Try(what, call.exception(timeout=20).code().name)
    with _raw(arena) as opened:
        calls = [opened.stream_unary(SERVICE + "CommitUpload").future(silent(), timeout=20) for _ in range(3)]
        yield Try("unary calls without their message: another silo", _served(arena), expected="served")
        yield Try(
            "unary calls without their message", " ".join({call.exception(timeout=20).code().name for call in calls})
        )
    with socket.create_connection(("127.0.0.1", arena.consortium.port), timeout=20) as silent_connection:
        silent_connection.sendall(b"\x16\x03\x01")
        yield Try("a handshake that does not go on: another silo", _served(arena), expected="served")


@case(
    27,
    "declared size over the cap",
    "RESOURCE_EXHAUSTED before any chunk",
    control="Sizes are compared when an upload begins, and again with its signed statement",
)
def _declared_size(arena: Arena) -> Iterable[Try]:
    def before_any_chunk(got: str) -> str:
        return f"{got} before any chunk"

    with arena.attacker() as attacker:
        challenge = arena.consortium.offer().challenge
        for length in (4_000_001, 2**63, 0):
            wish = convert.begin_request(Wish(round_challenge=challenge, plaintext_length=length))
            got = answer(lambda w=wish: attacker.stub.BeginUpload(w, timeout=10))  # type: ignore[misc]  # bound now
            yield Try(f"a wish of {length} bytes", before_any_chunk(got))
        header = attacker.stated(attacker.seal(), plaintext_length=10**9, chunk_count=3815)
        yield Try("a statement of 10^9 bytes", before_any_chunk(answer(lambda: attacker.upload([header]))))


@case(
    28,
    "malformed protobuf, empty stream",
    "INVALID_ARGUMENT",
    control="Messages that do not parse are caught before gRPC answers INTERNAL; every call must have its message",
)
def _malformed(arena: Arena) -> Iterable[Try]:
    garbage = b"\xff\xff\xff"
    with arena.attacker() as attacker:
        sealed = attacker.seal()
    header = messages(sealed)[0].SerializeToString()
    with _raw(arena) as opened:
        for method in ("BeginUpload", "GetUploadStatus", "CommitUpload"):
            call = opened.unary_unary(SERVICE + method)
            yield Try(f"garbage to {method}", answer(lambda c=call: c(garbage, timeout=10)))  # type: ignore[misc]  # bound now
            yield Try(f"no field to {method}", answer(lambda c=call: c(b"", timeout=10)))  # type: ignore[misc]  # bound now
            stream = opened.stream_unary(SERVICE + method)
            for what, parts in (("no message", []), ("two messages", [b"", b""])):
                got = answer(lambda s=stream, p=parts: s(iter(p), timeout=10))  # type: ignore[misc]  # bound now
                yield Try(f"{what} to {method}", got)
        upload = opened.stream_unary(_UPLOAD)
        streams: dict[str, list[bytes]] = {
            "empty stream": [],
            "garbage for a header": [garbage],
            "neither header nor chunk": [b""],
            "a chunk for a header": [convert.chunk_request(Chunk(0, b"x")).SerializeToString()],
            "a second header": [header, header],
            "garbage for a chunk": [header, garbage],
            "a header cut short": [header[:-10]],
        }
        for what, parts in streams.items():
            yield Try(what, answer(lambda p=parts: upload(iter(p), timeout=10)))  # type: ignore[misc]  # bound now


@case(38, "reflection, unknown method", "UNIMPLEMENTED", control="No reflection; four methods and a health service")
def _unknown_method(arena: Arena) -> Iterable[Try]:
    with _raw(arena) as opened:
        for method in (
            SERVICE + "Other",
            "/llamdex_fl.wire.v1.Other/BeginUpload",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            "/grpc.channelz.v1.Channelz/GetServers",
        ):
            yield Try(method, answer(lambda m=method: opened.unary_unary(m)(b"", timeout=10)))  # type: ignore[misc]  # bound now
