"""Cases 55 and 56: a root that is rotated by a process that dies, and a signing key that was stolen and revoked."""

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from llamdex_fl.envelope import Keyring, Receipt, SigningKey, TreeHead, load_signing_key
from llamdex_fl.envelope.merkle import leaf_hash, root_hash
from llamdex_fl.errors import LlamdexError, ReceiptError
from provider_server.keyring_writer import moment
from provider_server.membership import revoke_key
from provider_server.rotation import rotate
from silo_client import uplink
from silo_client.enrolment import load_identity
from silo_client.log_check import check_log, verify_log
from silo_client.membership import read_log
from simulations.review.case import Arena, Try, case
from simulations.review.consortium import Consortium
from simulations.review.mortal import ROTATION_POINTS, Point

__all__: list[str] = []

_KILLED = -9
_SERVES = "it starts again, and the silo's upload arrives"
_FAILS = "the client's verification fails"
#: What the default tests try: the keyring is the new root's, and the root not yet in its place.
_SAMPLE = "after Path.replace #3"


@case(
    55,
    "the provider killed at every write of a root's rotation",
    _SERVES,
    control="Root and keyring change together: the old pair counts until the new root's keyring is in place",
)
def _killed_while_the_root_rotates(arena: Arena) -> Iterable[Try]:
    with arena.own(start=False) as own:
        for point in ROTATION_POINTS:
            if arena.thorough or point.name == _SAMPLE:
                yield _killed(own, point)


def _killed(own: Consortium, point: Point) -> Try:
    trap = own.directory / "trap"
    trap.write_text(point.name, encoding="utf-8")
    command = (
        sys.executable,
        "-m",
        "simulations.review.mortal",
        "rotation",
        str(trap),
        "rotate",
        str(own.home),
        "root",
    )
    code = subprocess.run(command, check=False, capture_output=True, timeout=120).returncode
    if code != _KILLED:
        return Try(point.name, f"it was not killed there: exit code {code}")
    own.start()
    try:
        uplink.upload(own.release(), own.offer(), own.silos["a"], deadline_s=20)
    except LlamdexError as error:
        return Try(point.name, f"{type(error).__name__}: {error.problem}")
    finally:
        own.stop()
    return Try(point.name, _SERVES)


@case(
    56,
    "heads and receipts by a signing key that was stolen and revoked",
    _FAILS,
    control="A revoked key's signature counts for nothing new; older receipts hold by their place in the log",
)
def _stolen(arena: Arena) -> Iterable[Try]:
    with arena.own() as own:
        silo, stolen = own.silos["a"], load_signing_key(own.home / "keys" / "signing.pem")
        receipt = uplink.upload(own.release(), own.offer(), silo, deadline_s=20)
        rotate(own.home, "signing")
        revoke_key(own.home, stolen.public.keyid)
        seen = verify_log(silo)
        yield Try("receipts from before, proven by the log", str(seen.proven_by_log), expected="1")
        uplink.upload(own.release(), own.offer(), silo, deadline_s=20)
        identity = load_identity(silo)
        keyring, (_, proof, entries) = identity.keyring, read_log(identity, silo, seen.head.size)
        # A log of the thief's own: all that was there, and one entry more, by a head that only the stolen key signed.
        forged = replace(receipt.body, leaf_index=len(entries), release_id="ab" * 32)
        leaves = [leaf_hash(payload) for payload, _ in entries]
        for what, payloads in {
            "the log as it is": [],
            "a release more": [forged.to_payload()],
        }.items():
            tree = [*leaves, *map(leaf_hash, payloads)]
            head = TreeHead.make(receipt.body.provider, len(tree), root_hash(tree), moment(), stolen).envelope
            told = [*entries, *((payload, None) for payload in payloads)]
            checked = partial(check_log, head, proof, told, keyring, known=seen.head, receipts=[])
            yield Try(f"{what}, under the stolen key's head", _verdict(checked))
        yield Try("a receipt by the stolen key", _forged_receipt(receipt, leaves, stolen, keyring))


def _forged_receipt(receipt: Receipt, leaves: list[bytes], stolen: SigningKey, keyring: Keyring) -> str:
    body = replace(receipt.body, leaf_index=len(leaves), release_id="ab" * 32)
    text = Receipt.make(body, leaves, moment(), stolen).to_json()
    return _verdict(lambda: Receipt.from_json(text, keyring.log_keys))


def _verdict(action: Callable[[], object]) -> str:
    try:
        action()
    except ReceiptError:
        return _FAILS
    return "accepted"
