"""The project's own cases, from 41 on: other silos' uploads, many silos at once, full disks, bits flipped at random."""

import resource
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from llamdex_fl.envelope import SigningKey
from llamdex_fl.errors import LlamdexError
from llamdex_fl.wire import convert
from silo_client import uplink
from silo_client.outbox import Outbox
from simulations.review.attacker import Attacker, answer, messages
from simulations.review.bit_flips import flip_over_the_wire
from simulations.review.case import Arena, Try, case
from simulations.review.consortium import Consortium
from simulations.review.crash_cases import write_job

__all__: list[str] = []

_SILOS = 100


def _sent(own: Consortium, silo: str, *, deadline_s: float = 20.0) -> str:
    try:
        uplink.upload(own.release(), own.offer(), own.silos[silo], deadline_s=deadline_s)
    except LlamdexError as error:
        return f"{type(error).__name__}: {error.problem}"
    return "OK"


@case(41, "uploads of another silo", "NOT_FOUND", control="One text for what is another's and for what is not there")
def _of_others(arena: Arena) -> Iterable[Try]:
    with arena.attacker("a") as owner, arena.attacker("b") as other:
        sealed = owner.seal()
        owner.send(sealed)
        missing = replace(sealed, header=replace(sealed.header, upload_id="00" * 16))
        for what, one in (("another's", sealed), ("nobody's", missing)):
            yield Try(f"status of {what}", answer(lambda s=one: other.status(s)))  # type: ignore[misc]  # bound now
            yield Try(f"commit of {what}", answer(lambda s=one: other.commit(s)))  # type: ignore[misc]  # bound now
            yield Try(f"stream of {what}", answer(lambda s=one: other.send(s)))  # type: ignore[misc]  # bound now


@case(
    42,
    "a bad signature, and a sender that waits",
    "UNAUTHENTICATED after one message",
    control="Signatures are verified before anything else is read or done",
)
def _after_one_message(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        sealed = attacker.seal()
        sent: list[int] = []

        def parts() -> Iterator[Any]:
            yield attacker.enveloped(sealed, replace(sealed.header.statement, signatures=signatures))
            time.sleep(1.0)
            sent.append(1)

        signatures = SigningKey.generate().sign(sealed.header.statement.pae())
        code = attacker.stub.UploadExpert.future(parts()).exception(timeout=20).code().name
        yield Try("a stranger's", f"{code} after {'more' if sent else 'one'} message{'s' * bool(sent)}")


@case(43, "a stream that is stuck, and a newer one", "ABORTED for the older one", control="The newer stream takes over")
def _displaced(arena: Arena) -> Iterable[Try]:
    with arena.attacker() as attacker:
        sealed = attacker.seal()
        header, first, *_ = messages(sealed)

        def stuck() -> Iterator[Any]:
            yield header
            yield first
            time.sleep(1.5)

        call = attacker.stub.UploadExpert.future(stuck())
        request = convert.status_request(sealed.header.upload_id)
        while not convert.read_status_response(attacker.stub.GetUploadStatus(request)).next_index:
            time.sleep(0.02)
        yield Try("newer", answer(lambda: attacker.upload(messages(sealed, 1))), expected="OK")
        yield Try("older", f"{call.exception(timeout=10).code().name} for the older one")
        yield Try("commit", answer(lambda: attacker.commit(sealed)), expected="OK")


@case(44, "garbage on the port", "OK, others are served", control="A deadline for handshakes; TLS only")
def _garbage(arena: Arena) -> Iterable[Try]:
    for what, data in {
        "HTTP": b"GET / HTTP/1.1\r\n\r\n",
        "zeros": bytes(1000),
        "a TLS record that ends early": b"\x16\x03\x01\xff\xff",
    }.items():
        with socket.create_connection(("127.0.0.1", arena.consortium.port), timeout=5) as connection:
            connection.sendall(data)
            yield Try(what, f"{_sent(arena.consortium, 'b')}, others are served")


@case(
    45,
    "100 silos upload at once",
    "OK for each, one log entry each",
    control="Bounded calls, a turn for each commit; who is refused for load comes again",
    slow=True,
)
def _crowd(arena: Arena) -> Iterable[Try]:
    silos = [f"s{number}" for number in range(_SILOS)]
    answers: Counter[str] = Counter()
    with arena.own(silos) as own:
        threads = [
            threading.Thread(target=lambda s=silo: answers.update([_sent(own, s, deadline_s=300)])) for silo in silos
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        entries = len(set(own.entries()))
    each = "for each, one log entry each" if entries == _SILOS else f", {entries} entries"
    for got in sorted(answers):
        yield Try(f"{answers[got]} silos", f"{got} {each}")


@case(
    46,
    "the provider's disk is full",
    "RESOURCE_EXHAUSTED, then OK",
    control="Whole chunks only are kept; the silo's envelope stays in its spool",
)
def _provider_full(arena: Arena) -> Iterable[Try]:
    with arena.own(start=False) as own:
        # Less than three chunks, and more than the registry needs.
        own.start(file_bytes=400_000)
        with Attacker.connected(own) as attacker:
            sealed = attacker.seal()
            full = answer(lambda: attacker.send(sealed))
            own.stop()
            own.start()
        with Attacker.connected(own) as attacker:
            request = convert.status_request(sealed.header.upload_id)
            start = convert.read_status_response(attacker.stub.GetUploadStatus(request)).next_index
            attacker.upload(messages(sealed, start))
            yield Try("in the stream", f"{full}, then {answer(lambda: attacker.commit(sealed))}")
            yield Try("entries of the log", str(len(own.entries())), expected="1")


@case(
    47,
    "the silo's disk is full",
    "refused by the system, nothing half-written, then OK",
    control="Files are written beside and moved into place",
)
def _silo_full(arena: Arena) -> Iterable[Try]:
    with arena.own() as own:
        silo, offer = own.silos["a"], own.offer()
        # A process of its own: the limit stays with it.
        program = (
            "import sys; from pathlib import Path; from simulations.review.crash_cases import send;"
            " send(Path(sys.argv[1]))"
        )
        job = write_job(own, offer, own.directory / "job.json")

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

        ended = subprocess.run(
            [sys.executable, "-c", program, str(job)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=limit,
        )
        refused = "refused by the system" if "File too large" in ended.stderr else f"exit code {ended.returncode}"
        left = [path.name for path in silo.spool.iterdir()]
        whole = "nothing half-written" if not left else f"left {left}"
        uplink.upload(own.release(), offer, silo, deadline_s=20)
        kept = Outbox(silo).plaintext(offer.challenge).exists()
        yield Try("the release", f"{refused}, {whole}, then {'not ' * kept}OK")


@case(
    48,
    "bits flipped at random, over the wire",
    "0 accepted",
    control="Every bit of header, statement, wrapped key and chunks is under a signature or a tag",
)
def _bits(arena: Arena) -> Iterable[Try]:
    flips = flip_over_the_wire(arena, 300 if arena.thorough else 40)
    yield Try(f"{flips.tried} flips", f"{flips.accepted} accepted")
