"""Case 35: either end killed with SIGKILL at every step of the protocol and at every chunk, then started again."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from llamdex_fl import weights
from llamdex_fl.envelope import Receipt, guarantee_document, guarantee_from_document
from llamdex_fl.envelope.canonical import Fields
from llamdex_fl.errors import ChannelError
from llamdex_fl.release import Offer, Release
from silo_client import uplink
from silo_client.config import load_silo_config
from simulations.review.case import Arena, Try, case
from simulations.review.consortium import Consortium
from simulations.review.mortal import PROVIDER_POINTS, SILO_POINTS, Point

__all__ = ["SAMPLE", "send", "write_job"]

_KILLED = -9
_EXPECTED = "OK, exactly one log entry"
#: Long: the machine may be busy with other things.
_DEADLINE_S = 600.0
#: What the default tests try: one place of each kind.
SAMPLE = {
    "after Stream.write #2",
    "after Registry.accept #1",
    "after stream.encrypt_chunk #2",
    "after Path.unlink #1",
}


def send(job: Path) -> None:
    """Send the release that a job's file describes, as a silo does that was started again."""
    document = json.loads(job.read_text(encoding="utf-8"))
    config = load_silo_config(Path(document["home"]))
    offer = Offer(**document["offer"])
    guarantee = guarantee_from_document(Fields(document["guarantee"], "guarantee"))
    release = Release(
        schema_digest=offer.schema_digest,
        architecture=offer.architecture,
        tensors=weights.load(Path(document["weights"])),
        guarantee=guarantee,
    )
    uplink.upload(release, offer, config, deadline_s=_DEADLINE_S)


def write_job(own: Consortium, offer: Offer, job: Path) -> Path:
    """Describe an upload of silo a in a file, for ``send`` in another process."""
    release = own.release()
    stored = own.directory / "release.safetensors"
    weights.save(stored, release.tensors)
    document = {
        "home": str(own.silos["a"].home),
        "offer": asdict(offer),
        "guarantee": guarantee_document(release.guarantee),
        "weights": str(stored),
    }
    job.write_text(json.dumps(document), encoding="utf-8")
    return job


def _chosen(points: Iterable[Point], arena: Arena) -> list[Point]:
    return [point for point in points if arena.thorough or point.name in SAMPLE]


@case(
    35,
    "either end killed at every step, then resumed",
    _EXPECTED,
    control="What was decided is on the disk before it is answered; one transaction enters release, receipt and leaf",
)
def _killed(arena: Arena) -> Iterable[Try]:
    with arena.own(start=False) as own:
        trap = own.directory / "trap"
        yield from _killed_provider(own, trap, _chosen(PROVIDER_POINTS, arena))
        own.stop()
        own.start()
        yield from _killed_silo(own, trap, _chosen(SILO_POINTS, arena))


def _killed_provider(own: Consortium, trap: Path, points: list[Point]) -> Iterable[Try]:
    program = (sys.executable, "-m", "simulations.review.mortal", "provider", str(trap))
    own.start(program=program)
    silo, release = own.silos["a"], own.release()
    for point in points:
        offer, receipts = own.offer(), list[Receipt]()
        trap.write_text(point.name, encoding="utf-8")

        def deliver(offer: Offer = offer, receipts: list[Receipt] = receipts) -> None:
            receipts.append(uplink.upload(release, offer, silo, deadline_s=_DEADLINE_S))

        sender = threading.Thread(target=deliver, daemon=True)
        sender.start()
        if own.process is None or own.process.wait(timeout=_DEADLINE_S) != _KILLED:
            raise ChannelError("The provider lives.", expected="a kill", got=point.name, next_step="read mortal.py")
        own.stop()
        own.start(program=program)
        sender.join(_DEADLINE_S)
        yield Try(f"provider killed {point.name}", _verdict(own, offer, receipts))


def _killed_silo(own: Consortium, trap: Path, points: list[Point]) -> Iterable[Try]:
    silo, release = own.silos["a"], own.release()
    for point in points:
        offer = own.offer()
        job = write_job(own, offer, own.directory / "job.json")
        trap.write_text(point.name, encoding="utf-8")
        program = [sys.executable, "-m", "simulations.review.mortal", "silo", str(trap), str(job)]
        ended = subprocess.run(program, check=False, capture_output=True, text=True, timeout=_DEADLINE_S)
        if ended.returncode != _KILLED:
            got = f"{point.name}: exit code {ended.returncode} {ended.stderr[-300:]}"
            raise ChannelError("The silo lives.", expected="a kill", got=got, next_step="read mortal.py")
        receipts = [uplink.upload(release, offer, silo, deadline_s=_DEADLINE_S)]
        yield Try(f"silo killed {point.name}", _verdict(own, offer, receipts))


def _verdict(own: Consortium, offer: Offer, receipts: list[Receipt]) -> str:
    """What is there of an upload: one release, one entry of the log, and one receipt at both ends."""
    silo = own.silos["a"]
    with own.registry as registry:
        releases, total = registry.releases(challenge=offer.challenge), len(registry.releases())
    if len(receipts) != 1 or [record.receipt_id for record in releases] != [receipts[0].receipt_id]:
        return f"{len(releases)} releases for {len(receipts)} receipts"
    entries = own.entries()
    if entries.count(receipts[0].receipt_id) != 1 or len(entries) != total:
        return f"{entries.count(receipts[0].receipt_id)} entries of {len(entries)}, for {total} releases"
    if uplink.stored_receipt(silo, offer.challenge) != receipts[0]:
        return "another receipt at the silo"
    left = [
        path.name for path in (*silo.spool.iterdir(), *(own.home / "spool").iterdir()) if offer.challenge in path.name
    ]
    return f"left behind: {left}" if left else _EXPECTED
