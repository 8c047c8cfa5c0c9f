"""The desk killed at every step and started again; quotas, clocks, revocations, quarantine."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llamdex_fl.envelope import CHUNK_SIZE, Answer, RefusedError, Wish, verify_receipt, verify_successor
from provider_server import desk as desk_module
from provider_server.registry import Registry
from provider_server.setup import revoke
from provider_server.spool import SeenFiles, Stream

# The type of the fixture lives in a conftest, which cannot be imported.
Bench = Any


class CrashError(BaseException):
    """As sudden as kill -9, for code in the same process."""


def crash_after(owner: object, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def install(patch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)

        def crashing(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - whatever is wrapped
            original(*arguments, **keywords)
            raise CrashError

        patch.setattr(owner, name, crashing)

    return install


def crash_before(owner: object, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def install(patch: pytest.MonkeyPatch) -> None:
        def crashing(*_: object, **__: object) -> None:
            raise CrashError

        patch.setattr(owner, name, crashing)

    return install


STEPS = {
    "before the stream's first byte": crash_before(Stream, "write"),
    "after a chunk": crash_after(Stream, "write"),
    "before the sync": crash_before(os, "fsync"),
    "after the sync": crash_after(Stream, "finish"),
    "before the checks": crash_before(SeenFiles, "of"),
    "before the artefact has its name": crash_before(desk_module, "place"),
    "after the artefact has its name": crash_after(desk_module, "place"),
    "before the release is entered": crash_before(Registry, "accept"),
    "inside the transaction": crash_after(Registry, "accept"),
    "before the spool is removed": crash_before(Path, "unlink"),
    "after the spool is removed": crash_after(Path, "unlink"),
}


def send_and_commit(bench: Bench, desk: Any, sealed: Any) -> None:  # noqa: ANN401 - see Bench
    bench.send(desk, sealed)
    bench.commit(desk, sealed)


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_step(step: str, bench: Bench):
    desk = bench.desk()
    offer = bench.offer()
    sealed = bench.seal(desk, offer=offer)
    with pytest.MonkeyPatch.context() as patch:
        STEPS[step](patch)
        with pytest.raises(CrashError):
            send_and_commit(bench, desk, sealed)
    bench.registry.close()
    again = bench.desk()
    if again.progress("a", sealed.header.upload_id).status != "committed":
        bench.send(again, sealed)
    committed = bench.commit(again, sealed)
    assert bench.commit(again, sealed) == committed
    verify_receipt(committed.receipt, sealed.statement, sealed.header.statement.digest().hex())
    assert len(bench.registry.releases()) == 1
    assert [leaf.hex() for leaf in bench.registry.log.leaves()] == [committed.receipt.receipt_id]
    bench.desk()
    assert list((bench.home / "spool").iterdir()) == []
    assert len(list((bench.home / "artefacts").iterdir())) == 1
    release, _ = bench.registry.load_release(committed.receipt.release_id)
    assert set(release.tensors) == {"weight", "bias"}


@pytest.mark.parametrize("extra", [0, 1, CHUNK_SIZE - 1])
def test_part_of_a_chunk_is_cut_off(extra: int, bench: Bench):
    desk = bench.desk()
    sealed = bench.seal(desk)
    stream = desk.receive("a", sealed.header)
    stream.write(next(sealed.chunks(0)))
    stream.close()
    path = bench.home / "spool" / f"{sealed.header.upload_id}.part"
    with path.open("ab") as file:
        file.write(bytes(extra))
    assert bench.desk().progress("a", sealed.header.upload_id).next_index == 1
    bench.send(desk, sealed)
    bench.commit(desk, sealed)


def test_garbage_on_the_providers_disk_is_found_at_the_commit(bench: Bench):
    desk = bench.desk()
    sealed = bench.seal(desk)
    bench.send(desk, sealed)
    path = bench.home / "spool" / f"{sealed.header.upload_id}.part"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(RefusedError) as caught:
        bench.commit(desk, sealed)
    assert caught.value.answer is Answer.DATA_LOSS
    assert desk.progress("a", sealed.header.upload_id).status == "burned"
    assert bench.registry.log.leaves() == []


def test_begin_again_gives_the_same_session_until_it_is_bound(bench: Bench):
    desk = bench.desk()
    offer = bench.offer()
    wish = Wish(round_challenge=offer.challenge, plaintext_length=10)
    first = desk.begin("a", wish)
    assert desk.begin("a", wish).upload_id == first.upload_id
    assert desk.begin("b", wish).upload_id != first.upload_id
    assert desk.begin("a", replace(wish, plaintext_length=11)).upload_id != first.upload_id
    bench.later(hours=2)
    assert desk.begin("a", wish).upload_id != first.upload_id


def test_quota(bench: Bench):
    desk = bench.desk()
    limits = desk.config.limits
    wish = Wish(round_challenge=bench.offer().challenge, plaintext_length=1)
    for length in range(1, limits.sessions_per_silo + 1):
        desk.begin("a", replace(wish, plaintext_length=length))
    with pytest.raises(RefusedError) as caught:
        desk.begin("a", replace(wish, plaintext_length=99))
    assert caught.value.answer is Answer.RESOURCE_EXHAUSTED
    desk.begin("b", wish)


def test_quota_of_a_day(bench: Bench):
    desk = bench.desk()
    limits = desk.config.limits
    wish = Wish(round_challenge=bench.offer().challenge, plaintext_length=1)
    for number in range(limits.uploads_per_silo_and_day):
        # Sessions expire, so only the count of the day is near its limit.
        bench.later(minutes=16)
        desk.begin("a", replace(wish, plaintext_length=number + 1))
    with pytest.raises(RefusedError) as caught:
        desk.begin("a", replace(wish, plaintext_length=999))
    assert caught.value.answer is Answer.RESOURCE_EXHAUSTED
    bench.later(days=1)
    desk.begin("a", replace(wish, plaintext_length=999))


def test_expired_challenge(bench: Bench):
    desk = bench.desk()
    sealed = bench.seal(desk)
    bench.send(desk, sealed)
    bench.later(hours=2)
    for action in (lambda: bench.send(desk, sealed), lambda: bench.commit(desk, sealed)):
        with pytest.raises(RefusedError) as caught:
            action()
        assert caught.value.answer is Answer.FAILED_PRECONDITION


def test_key_revoked_in_mid_upload(bench: Bench):
    desk = bench.desk()
    sealed = bench.seal(desk)
    bench.send(desk, sealed)
    revoke(bench.home, "a")
    with pytest.raises(RefusedError) as caught:
        bench.commit(desk, sealed)
    assert caught.value.answer is Answer.UNAUTHENTICATED
    assert bench.registry.log.leaves() == []


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("place", [1000, CHUNK_SIZE, CHUNK_SIZE + 4, -1])
def test_a_number_that_is_not_finite_is_found_in_every_chunk(bench: Bench, place: int, *, restarted: bool):
    desk = bench.desk()
    sealed = bench.seal(desk, nan_at=place)
    bench.send(desk, sealed)
    with pytest.raises(RefusedError) as caught:
        bench.commit(bench.desk() if restarted else desk, sealed)
    assert caught.value.answer is Answer.INVALID_ARGUMENT
    assert desk.progress("a", sealed.header.upload_id).status == "burned"


def test_numbers_that_were_seen_are_not_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    desk = bench.desk()
    sealed = bench.seal(desk)
    bench.send(desk, sealed)
    with monkeypatch.context() as patch:
        patch.setattr("llamdex_fl.weights.files.slices", None)
        bench.commit(desk, sealed)


def test_unknown_schema(bench: Bench):
    desk = bench.desk()
    sealed = bench.seal(desk)
    bench.send(desk, sealed)
    (bench.home / "schemas" / f"{bench.schema.digest()}.json").unlink()
    with pytest.raises(RefusedError) as caught:
        bench.commit(desk, sealed)
    assert caught.value.answer is Answer.FAILED_PRECONDITION


def test_proofs_lead_from_any_head_to_any_other(bench: Bench):
    desk = bench.desk()
    heads, receipts = [], []
    for number in range(5):
        offer = bench.offer()
        for silo in ("a", "b"):
            sealed = bench.seal(desk, silo, offer, seed=number)
            bench.send(desk, sealed, silo)
            receipts.append((sealed, silo))
            heads.append(bench.commit(desk, sealed, silo).receipt.tree_head)
    for known in heads:
        session = desk.begin(
            "a", Wish(round_challenge=bench.offer().challenge, plaintext_length=1, known_tree_size=known.size)
        )
        assert verify_successor(known, desk._head(), session.consistency).size == 10
        sealed, silo = receipts[3]
        again = bench.commit(desk, sealed, silo, known=known.size)
        verify_successor(known, again.receipt.tree_head, again.consistency)
        bench.later(hours=2)


def test_quarantine(bench: Bench):
    desk = bench.desk()
    offer = bench.offer()
    sealed = bench.seal(desk, offer=offer)
    bench.send(desk, sealed)
    bench.commit(desk, sealed)
    assert [record.status for record in bench.registry.releases()] == ["quarantined"]
    desk.review()
    (record,) = bench.registry.releases(status="active")
    bench.registry.withdraw(record.release_id, "asked to")
    bench.registry.accepted.mark(record.release_id, "active", "")
    assert [r.status for r in bench.registry.releases()] == ["withdrawn"]
    assert bench.registry.releases("00" * 32) == []
    (bench.home / "artefacts" / f"{record.artefact_digest}.safetensors").write_bytes(b"x")
    with pytest.raises(Exception, match="not what was accepted"):
        bench.registry.load_release(record.release_id)
    with pytest.raises(Exception, match="no release"):
        bench.registry.load_release("00" * 32)


def test_what_a_revoked_silo_sent_judges_nobody(bench: Bench):
    bench.add_silos("c", "d", "e")

    def arrives(silo: str, seed: int) -> str:
        sealed = bench.seal(desk, silo, seed=seed)
        bench.send(desk, sealed, silo)
        bench.commit(desk, sealed, silo)
        desk.review()
        return {record.silo: record.status for record in bench.registry.releases()}[silo]

    desk = bench.desk()
    for seed, silo in enumerate(("c", "d", "e")):
        assert arrives(silo, seed) == "active"
    # So strict that random weights never agree; but fewer than three others judge nobody.
    with (bench.home / "provider.toml").open("a") as file:
        file.write("\n[limits]\nagreement = 0.99\n")
    desk = bench.desk()
    assert arrives("a", 5) == "quarantined"
    assert arrives("b", 6) == "quarantined"
    revoke(bench.home, "c")
    desk.review()
    # Two others are left, who judge nobody.
    assert [record.silo for record in bench.registry.releases(status="active")] == ["c", "d", "e", "a"]


def test_sizes_on_the_line_do_not_depend_on_the_weights(bench: Bench):
    desk = bench.desk()
    offers = [bench.offer(), bench.offer()]
    seals = [bench.seal(desk, offer=offer, seed=seed) for seed, offer in enumerate(offers)]
    assert seals[0].statement.artefact_digest != seals[1].statement.artefact_digest
    sizes = [[sealed.path.stat().st_size, *(len(chunk.ciphertext) for chunk in sealed.chunks(0))] for sealed in seals]
    assert sizes[0] == sizes[1]
    assert sum(sizes[0][1:]) - seals[0].statement.plaintext_length == 16 * 3


def test_who_came_early_is_looked_at_again_and_may_come_out_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desk's part: who is odd, ``provider_server.company`` decides."""
    odd: dict[int, str] = {}
    judges = [True]
    monkeypatch.setattr("provider_server.quarantine.odd_ones", lambda _paths, _likeness: odd if judges[0] else None)
    bench.add_silos("c", "d", "e")
    desk = bench.desk()
    for seed, silo in enumerate(("c", "d", "e")):
        sealed = bench.seal(desk, silo, seed=seed)
        bench.send(desk, sealed, silo)
        bench.commit(desk, sealed, silo)
        desk.review()
    assert [record.status for record in bench.registry.releases()] == ["active"] * 3
    odd[0] = "it is unlike the others of its company"
    desk.review()
    desk.review()
    assert [record.status for record in bench.registry.releases()] == ["quarantined", "active", "active"]
    judges[0] = False  # so many have left that nobody can be judged: it must not come out for that
    odd.clear()
    desk.review()
    assert [record.status for record in bench.registry.releases()] == ["quarantined", "active", "active"]
    judges[0] = True
    desk.review()
    assert [record.status for record in bench.registry.releases()] == ["active"] * 3
