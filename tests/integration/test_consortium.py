"""One round of the real processes: provider, SuperLink, SuperExec, four daemons and four SuperNodes.

``north`` and ``south`` deliver; ``spent`` has no budget left; in ``leaky`` the bundle's process raises an exception
that quotes a record. Everything else is as in the demo, with small tables.
"""

import json
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors.injector import InjectorRecipe
from llamdex_fl.connectors.reader import ReaderRecipe
from llamdex_fl.experts import Expert, combine
from llamdex_fl.privacy import DataSetId, LaplaceCounts, Ledger, Spending
from llamdex_fl.release import Offer
from llamdex_fl.rounds import Answer, guarantee_to_text, offer_to_text
from llamdex_fl.schema import load_library_schema
from provider_server.config import load_provider_config
from provider_server.fitting import fit_connectors
from provider_server.registry import Registry
from provider_server.round_report import RoundReport
from provider_server.rounds import RoundSpec, RoundState
from silo_client.config import load_silo_config
from silo_client.daemon_protocol import Operation, Request, ask, find_socket
from silo_client.data import read_records
from silo_client.policy import DEFAULT_PURPOSE, load_policy
from simulations.local_consortium import Founded, LocalConsortium

PRIVATE = "row 17: ssn=078-05-1120"
SILOS = ("north", "south", "spent", "leaky")

#: Put before everything else into the processes of one SuperNode: any use of a unix socket raises.
LEAK = f"""
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family == socket.AF_UNIX:
        raise RuntimeError({PRIVATE!r})
    return _connect(self, address)
socket.socket.connect = connect
"""
#: Put into the ServerApp's process: notes the records and keys of every message that it pulls.
TAP = """
import json, os, sys
if any("flwr-serverapp" in word for word in sys.orig_argv):
    from flwr.superlink.grid.http_grid import HttpGrid
    pull = HttpGrid.pull_messages
    def tapped(self, ids):
        messages = list(pull(self, ids))
        with open(os.environ["TAP_FILE"], "a") as stream:
            for message in messages:
                content = {n: dict(r) for n, r in message.content.items()} if message.has_content() else None
                error = message.error.reason if message.has_error() else None
                stream.write(json.dumps([content, error], default=repr) + "\\n")
        return messages
    HttpGrid.pull_messages = tapped
"""


def _spend(home: Path) -> None:
    schema = load_library_schema("heart")
    config, policy = load_silo_config(home), load_policy(load_silo_config(home).policy)
    spending = Spending(
        data_set=DataSetId(digest=read_records(config.data, schema).digest, name=policy.data_set),
        mechanisms=(LaplaceCounts(epsilon=policy.lifetime_epsilon - 0.3),),
        purpose=DEFAULT_PURPOSE,
        schema_digest=schema.digest(),
        reference="f" * 64,
    )
    Ledger(config.ledger).begin(spending, budget=policy.budget)


def _site(directory: Path, code: str) -> str:
    directory.mkdir(parents=True)
    (directory / "sitecustomize.py").write_text(textwrap.dedent(code), encoding="utf-8")
    return str(directory)


@dataclass
class Held:
    """A round that was held, and the consortium that still runs."""

    founded: Founded
    consortium: LocalConsortium
    report: RoundReport
    seen: list[RoundReport]
    tap: list[list[object]]


@pytest.fixture(scope="module")
def held(
    tmp_path_factory: pytest.TempPathFactory, found_small: Callable[[Path, Sequence[str]], tuple[Founded, Offer]]
) -> Iterator[Held]:
    base = tmp_path_factory.mktemp("c")
    founded, offer = found_small(base, SILOS)
    _spend(founded.silo_homes["spent"])
    tap = base / "tap.jsonl"
    seen: list[RoundReport] = []
    with LocalConsortium(
        work_dir=base / "work",
        provider_home=founded.provider_home,
        silo_homes=list(founded.silo_homes.values()),
        environments={
            "supernode-leaky": {"PYTHONPATH": _site(base / "leak", LEAK)},
            "superexec": {"PYTHONPATH": _site(base / "tap", TAP), "TAP_FILE": str(tap)},
        },
    ) as consortium:
        spec = RoundSpec(offer=offer, silos=SILOS, online_timeout_s=90, answer_timeout_s=150, attempts=2)
        report = consortium.run_round("test-1", spec, seen.append)
        lines = [json.loads(line) for line in tap.read_text(encoding="utf-8").splitlines()]
        yield Held(founded, consortium, report, seen, lines)


def test_the_round_goes_on_past_those_who_cannot(held: Held):
    assert held.report.state is RoundState.COMPLETED
    assert {silo.silo: silo.outcome for silo in held.report.silos} == {
        "north": Answer.DONE,
        "south": Answer.DONE,
        "spent": Answer.BUDGET_SPENT,
        "leaky": Answer.INTERNAL,
    }
    assert held.seen[-1] == held.report


def test_receipts_are_the_registrys_and_releases_can_be_loaded(held: Held):
    config = load_provider_config(held.founded.provider_home)
    with Registry(config.registry) as registry:
        records = {record.silo: record for record in registry.releases(challenge=held.report.offer.challenge)}
        assert set(records) == {"north", "south"}
        for silo in held.report.accepted:
            record = records[silo.silo]
            assert record.receipt_id == silo.receipt_id
            assert record.artefact_digest == silo.artefact_digest
            assert guarantee_to_text(record.guarantee) == silo.guarantee
            assert record.guarantee.epsilon <= 1.0
            release, _ = registry.load_release(record.release_id)
            assert set(release.tensors) == {"weight", "bias", "class_counts"}


def test_the_llm_is_asked_and_both_experts_speak(
    held: Held, tmp_path: Path, make_tiny_llm: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
):
    """From the registry to a person's answer, by the program; the LLM is tiny, the connectors have learnt a little."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    home = held.founded.provider_home
    settings = home / "provider.toml"
    settings.write_text(f'base_llm = "{make_tiny_llm("llama")}"\n' + settings.read_text())
    config = load_provider_config(home)
    fit_connectors(
        config,
        load_base_llm(config.base_llm),
        reader_recipe=ReaderRecipe(steps=120, practice=0.0, batch=6, layers=2),
        injector_recipe=InjectorRecipe(questions=2, steps=6, outcome_batch=2, sentence_batch=2),
    )
    question = "A man of 61 with a cholesterol of 280 and a resting blood pressure of 150. Does he have heart disease?"
    said = json.loads(_provider("ask", question, "--home", str(home), "--asker", "south", "--json"))
    assert said["schema"] == "heart"
    assert sorted(said["experts"]) == ["north", "south"]
    with Registry(config.registry) as registry:
        releases = {
            record.silo: registry.load_release(record.release_id)[0]
            for record in registry.releases(challenge=held.report.offer.challenge)
        }
    schema = load_library_schema("heart")
    experts = [Expert.from_tensors(schema, releases[silo].tensors) for silo in ("north", "south")]
    guarantees = [releases[silo].guarantee for silo in ("north", "south")]
    together = combine(experts, guarantees, [said["facts"]], experts[1].prior)[0]
    assert list(said["expert_probabilities"].values()) == pytest.approx(together.tolist(), abs=1e-6)
    assert (
        json.loads(_provider("ask", "What is the capital of France?", "--home", str(home), "--json"))["schema"] is None
    )


def _provider(*arguments: str) -> str:
    program = Path(sys.executable).with_name("llamdex-provider")
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True, timeout=120).stdout


def test_flowers_messages_hold_codes_and_three_facts_only(held: Held):
    assert len(held.tap) >= len(SILOS)
    for content, error in held.tap:
        assert error is None
        assert isinstance(content, dict)
        assert list(content) == ["outcome"]
        fields = set(content["outcome"])
        assert fields in ({"answer"}, {"answer", "receipt_id", "artefact_digest", "guarantee"})


def test_an_exceptions_private_text_reaches_nobody_but_the_silo(held: Held):
    looked_at = 0
    flower = held.consortium.work_dir / "flower"
    logs = held.consortium.supervisor.logs
    provider_files = [*held.founded.provider_home.rglob("*"), *flower.glob("state.db*"), logs / "superlink.log"]
    for path in [*provider_files, logs / "superexec.log", logs / "control.log", logs / "provider.log"]:
        if path.is_file():
            looked_at += 1
            assert b"078-05-1120" not in path.read_bytes(), path
    assert looked_at > 5


def test_the_same_round_again_gives_the_same_receipt_and_trains_nothing(held: Held):
    home = held.founded.silo_homes["north"]
    ledger = Ledger(load_silo_config(home).ledger)
    before = ledger.entries()
    reply = ask(
        find_socket(home),
        Request(operation=Operation.TRAIN_AND_UPLOAD, offer=offer_to_text(held.report.offer)),
        timeout_s=20,
    )
    assert reply.answer is Answer.DONE
    assert reply.facts["receipt_id"] == next(s.receipt_id for s in held.report.silos if s.silo == "north")
    assert ledger.entries() == before


def test_the_spent_silo_trained_nothing(held: Held):
    home = held.founded.silo_homes["spent"]
    assert len(Ledger(load_silo_config(home).ledger).entries()) == 1
    with sqlite3.connect(home / "jobs.sqlite") as jobs:
        assert jobs.execute("SELECT count(*) FROM jobs WHERE state <> 'accepted'").fetchone() == (0,)
    jobs.close()


def test_it_starts_and_ends_in_time(held: Held):
    # Generous: the machine may be busy. The figures of an idle one stand in docs/deployment.md.
    assert held.consortium.timings.started < 60
    assert max(silo.seconds for silo in held.report.silos) < 90
