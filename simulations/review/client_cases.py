"""Cases 36, 37 and 39, and impostors: what the silo refuses of its provider."""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from llamdex_fl.envelope import EnrolmentReply, SealedFile, load_signing_key, read_root, sign
from llamdex_fl.errors import LlamdexError, ProviderIdentityError, ReceiptError
from provider_server.setup import enrol
from silo_client import uplink
from silo_client.config import load_silo_config
from silo_client.enrolment import join, load_identity
from silo_client.outbox import Outbox
from simulations.review.attacker import Attacker
from simulations.review.case import Arena, Try, case
from simulations.review.consortium import Consortium

__all__: list[str] = []

_FAILS = "the client's verification fails"
_REFUSES = "the client refuses"
_LOG = "The silo keeps the last tree head it saw, and asks for proofs that the log extends it and has its leaf"


def _told(action: Callable[[], object], kind: type[LlamdexError], text: str) -> str:
    try:
        action()
    except kind:
        return text
    except LlamdexError as error:
        return f"{type(error).__name__}: {error.problem}"
    return "accepted"


def _upload(own: Consortium, silo: str = "a") -> str:
    def send() -> None:
        uplink.upload(own.release(), own.offer(), own.silos[silo], deadline_s=5)

    return _told(send, ReceiptError, _FAILS)


def _alter(own: Consortium, sql: str, *values: object) -> None:
    """Change the provider's database as a provider could that denies what it accepted."""
    with closing(sqlite3.connect(own.home / "registry.sqlite")) as database, database:
        database.execute(sql, values)


@case(36, "log leaf altered or forked", _FAILS, control=_LOG)
def _log_altered(arena: Arena) -> Iterable[Try]:
    for index in (0, 1) if arena.thorough else (0,):
        with arena.own() as own:
            for _ in range(2):
                yield Try("before", _upload(own), expected="accepted")
            _alter(own, "UPDATE leaves SET hash = ? WHERE leaf_index = ?", bytes(32), index)
            yield Try(f"leaf {index} of 2 altered", _upload(own))
    with arena.own() as own:
        yield Try("before", _upload(own), expected="accepted")
        own.stop()
        kept = {path: path.read_bytes() for path in own.home.glob("registry.sqlite*")}
        own.start()
        yield Try("before the fork", _upload(own), expected="accepted")
        own.stop()
        for path in own.home.glob("registry.sqlite*"):
            path.unlink()
        for path, data in kept.items():
            path.write_bytes(data)
        own.start()
        yield Try("rolled back", _upload(own))
    if not arena.thorough:
        return
    with arena.own(("a", "b")) as own:
        yield Try("before", _upload(own), expected="accepted")
        own.stop()
        for path in own.home.glob("registry.sqlite*"):
            path.unlink()
        own.start()
        yield Try("another silo's entry in the place of this one's", _upload(own, "b"), expected="accepted")
        yield Try("forked", _upload(own))


@case(
    37,
    "receipt replayed for another upload",
    _FAILS,
    control="A receipt names silo, statement, upload, round, schema and artefact; the silo compares all of them",
)
def _receipt_replayed(arena: Arena) -> Iterable[Try]:
    with arena.own() as own, Attacker.connected(own) as honest:
        silo, offer = own.silos["a"], own.offer()
        yield Try("before", _upload(own), expected="accepted")
        # The second upload arrives, and the provider answers its commit with the first one's receipt.
        uplink.keep(own.release(), offer, silo)
        outbox = Outbox(silo)
        honest.seal(outbox.plaintext(offer.challenge).read_bytes(), offer).path.rename(
            outbox.sealed_path(offer.challenge)
        )
        sealed = SealedFile.open(outbox.sealed_path(offer.challenge))
        honest.send(sealed)
        honest.commit(sealed)
        _alter(
            own,
            "UPDATE releases SET receipt = (SELECT receipt FROM releases WHERE rowid = 1) WHERE round_challenge = ?",
            offer.challenge,
        )
        yield Try("another upload's", _told(lambda: uplink.resume(silo, offer.challenge), ReceiptError, _FAILS))
        yield Try("receipts that were kept", str(len(list((silo.home / "receipts").glob("*.json")))), expected="1")


@case(
    39,
    "keyring rolled back or under threshold",
    _REFUSES,
    control="The root's threshold signs each version; a silo keeps the version it saw last",
)
def _keyrings(arena: Arena) -> Iterable[Try]:
    with arena.own(root_keys=3, start=False) as own:
        home, keyring = own.silos["a"].home, load_identity(own.silos["a"]).keyring
        old = own.home / "replies" / "a.json"
        reply = EnrolmentReply.from_json(old.read_text(encoding="utf-8"))
        before = own.directory / "before.json"
        before.write_bytes(old.read_bytes())
        (newer,) = enrol(own.home, [home / "enrolment-request.json"])
        join(home, newer, own.fingerprint)
        yield Try("rolled back", _join(own, home, before))
        keys = [load_signing_key(path) for path in sorted((own.home / "root").glob("*.pem"))]
        later = keyring.with_silos({}, now=keyring.issued_at, expires_at=keyring.expires_at)
        for what, signers in {
            "one of two signatures": keys[:1],
            "one key twice": [keys[0], keys[0]],
            "none": [],
        }.items():
            forged = own.directory / "forged.json"
            document = EnrolmentReply(root=reply.root, keyring=later.signed(signers), certificate=reply.certificate)
            forged.write_text(document.to_json(), encoding="utf-8")
            yield Try(what, _join(own, home, forged))
        root = read_root(reply.root, now=keyring.issued_at)
        weaker = sign(reply.root.payload_type, reply.root.payload, keys[0])
        document = EnrolmentReply(root=weaker, keyring=reply.keyring, certificate=reply.certificate)
        (own.directory / "root.json").write_text(document.to_json(), encoding="utf-8")
        yield Try("a root under its own threshold", _join(own, home, own.directory / "root.json"))
        yield Try("the root's threshold", str(root.threshold), expected="2")


def _join(own: Consortium, home: Path, reply: Path) -> str:
    before = (home / "keyring.json").read_bytes()
    told = _told(lambda: join(home, reply, own.fingerprint), LlamdexError, _REFUSES)
    return told if (home / "keyring.json").read_bytes() == before else f"{told}, but the keyring changed"


@case(
    49,
    "another provider at the address",
    "the client refuses, nothing is sent",
    control="The provider's certificate is compared with the signed keyring before any call",
)
def _impostor(arena: Arena) -> Iterable[Try]:
    with arena.own() as own, arena.own() as other:
        config = own.silos["a"]
        text = (config.home / "silo.toml").read_text(encoding="utf-8")
        (config.home / "silo.toml").write_text(text.replace(own.address, other.address), encoding="utf-8")
        offer, misled = own.offer(), load_silo_config(config.home)

        def send() -> None:
            uplink.upload(own.release(), offer, misled, deadline_s=5)

        yield Try("of another consortium", _told(send, ProviderIdentityError, "the client refuses, nothing is sent"))
        yield Try("sealed for it", str(Outbox(config).sealed_path(offer.challenge).exists()), expected="False")
