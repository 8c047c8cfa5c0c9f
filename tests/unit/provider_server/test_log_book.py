"""The log's notes: every revocation and policy change once, before the next release; old registries go on."""

import sqlite3
from datetime import timedelta
from typing import Any

import pytest

from llamdex_fl.envelope import LogNote, read_log_entry
from llamdex_fl.errors import ArtefactError
from llamdex_fl.schema import load_library_schema
from provider_server.registry import Registry
from provider_server.rotation import rotate
from provider_server.setup import add_schema, revoke

# The type of the fixture lives in a conftest, which cannot be imported.
Bench = Any


def kinds(bench: Bench) -> list[str]:
    entries = [read_log_entry(payload) for payload, _ in bench.registry.log.entries(1000)]
    return [entry.kind if isinstance(entry, LogNote) else entry.silo for entry in entries]


def deliver(bench: Bench, desk: Any, silo: str = "a") -> None:  # noqa: ANN401 - a desk
    sealed = bench.seal(desk, silo)
    bench.send(desk, sealed, silo)
    bench.commit(desk, sealed, silo)


def test_each_change_is_noted_once_and_before_the_next_release(bench: Bench):
    desk = bench.desk()
    assert kinds(bench) == []
    deliver(bench, desk)
    revoke(bench.home, "b")
    add_schema(bench.home, load_library_schema("titanic"))
    deliver(bench, desk)
    assert kinds(bench) == ["a", "revocation", "policy", "a"]
    desk.read_log(0)
    rotate(bench.home, "signing")
    bench.registry.close()
    again = bench.desk()
    again.read_log(0)
    assert kinds(bench) == ["a", "revocation", "policy", "a", "policy"]
    note = read_log_entry(bench.registry.log.entries(2)[1][0])
    assert isinstance(note, LogNote)
    assert (note.silos, len(note.revoked), note.leaf_index) == (("b",), 2, 1)
    head, proof = again.read_log(2)
    assert head.size == 5
    assert proof


def test_a_withdrawn_release_is_noted(bench: Bench):
    desk = bench.desk()
    deliver(bench, desk)
    (record,) = bench.registry.releases()
    bench.registry.withdraw(record.release_id, "asked to")
    desk.read_log(0)
    desk.read_log(0)
    assert kinds(bench) == ["a", "revocation"]


@pytest.mark.parametrize(("version", "lacks"), [(1, ("noted", "sightings")), (2, ("sightings",))])
def test_a_registry_of_an_older_version_is_taken_over(bench: Bench, version: int, lacks: tuple[str, ...]):
    desk = bench.desk()
    deliver(bench, desk)
    bench.registry.close()
    path = bench.home / "registry.sqlite"
    connection = sqlite3.connect(path)
    for table in lacks:
        connection.execute(f"DROP TABLE {table}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    again = bench.desk()
    deliver(bench, again)
    assert kinds(bench) == ["a", "a"]
    bench.registry.sightings.note("a", "ca", bench.now)
    bench.registry.sightings.note("a", "ca", bench.now + timedelta(days=1))
    bench.registry.sightings.note("b", "other", bench.now)
    assert {silo: (seen.ca, seen.since) for silo, seen in bench.registry.sightings.all().items()} == {
        "a": ("ca", bench.now),
        "b": ("other", bench.now),
    }
    bench.registry.database.execute("PRAGMA user_version = 4")
    bench.registry.close()
    with pytest.raises(ArtefactError):
        Registry(path)
