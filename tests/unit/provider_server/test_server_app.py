"""The ServerApp's desk against a real registry, over a grid in this process."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.app.metadata import Metadata
from flwr.supercore.task_identity import TaskIdentity

from llamdex_fl.errors import ConfigError
from llamdex_fl.release import Offer
from llamdex_fl.rounds import OFFER_RECORD, OUTCOME_RECORD, Answer
from provider_server import server_app
from provider_server.registry import Registry
from provider_server.round_report import RoundReport, report_path
from provider_server.rounds import Fault, RoundSpec, RoundState
from provider_server.server_app import hold_round, read_outcome

PRIVATE = "row 17: ssn=078-05-1120"
FACTS = {"receipt_id": "0f" * 16, "artefact_digest": "d" * 64, "guarantee": '{"epsilon":"1.0"}'}
Silo = Callable[[str, dict[str, str]], RecordDict | Error]


@dataclass
class LocalGrid:
    """Asks the silos at once and keeps their answers until they are pulled."""

    silos: dict[str, Silo]
    asked: list[tuple[str, str]] = field(default_factory=list)
    replies: dict[str, Message] = field(default_factory=dict)

    def get_nodes(self) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(name=name, status="online", node_id=number)
            for number, name in enumerate(self.silos, start=10)
        ]

    def push_messages(self, messages: Iterable[Message]) -> Iterator[str]:
        names = {node.node_id: node.name for node in self.get_nodes()}
        for message in messages:
            node_id, kind = message.metadata.dst_node_id, message.metadata.message_type
            assert list(message.content) == [OFFER_RECORD]
            self.asked.append((names[node_id], kind))
            answer = self.silos[names[node_id]](kind, dict(message.content[OFFER_RECORD]))
            message_id = f"m{len(self.asked)}"
            metadata = Metadata(1, f"r{message_id}", node_id, 1, message_id, "", 1e9, 1e9, kind)
            parts = {"error": answer} if isinstance(answer, Error) else {"content": answer}
            self.replies[message_id] = Message(metadata=metadata, **parts)
            yield message_id

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self.replies.pop(message_id) for message_id in message_ids if message_id in self.replies]


def _outcome(answer: str, **facts: str) -> RecordDict:
    return RecordDict({OUTCOME_RECORD: ConfigRecord({"answer": answer, **facts})})


def _willing(then: RecordDict | Error) -> Silo:
    return lambda kind, _offer: _outcome("ACCEPTED") if kind == "query.offer" else then


def _spec(*silos: str, **settings: float) -> RoundSpec:
    offer = Offer(
        provider="prov-1",
        purpose="answer-questions",
        schema_digest="a" * 64,
        architecture="thermometer_linear/v1",
        base_model_digest="b" * 64,
        epsilon=1.0,
        delta=1e-5,
        challenge="c" * 64,
    )
    return RoundSpec(offer=offer, silos=silos, attempts=1, **settings)  # type: ignore[arg-type]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "registry.sqlite") as registry:
        yield registry


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_app, "_POLL_S", 0.01)
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def test_refusals_errors_and_lies_are_told_apart_and_nothing_private_is_kept(tmp_path: Path, registry: Registry):
    grid = LocalGrid(
        {
            "refusing": lambda *_: _outcome("POLICY_REFUSED"),
            "spent": _willing(_outcome("BUDGET_SPENT")),
            "lost": _willing(Error(code=5, reason=PRIVATE)),
            "raising": _willing(Error(code=2, reason=PRIVATE)),
            "talkative": _willing(_outcome("BUDGET_SPENT", note=PRIVATE)),
            "unknown": _willing(_outcome(PRIVATE)),
            "lying": _willing(_outcome("DONE", **FACTS)),
        }
    )
    path = report_path(tmp_path, "r1")
    report = hold_round(grid, registry, path, "r1", _spec(*grid.silos))
    assert report.state is RoundState.COMPLETED
    assert {silo.silo: silo.outcome for silo in report.silos} == {
        "refusing": Answer.POLICY_REFUSED,
        "spent": Answer.BUDGET_SPENT,
        "lost": Fault.SILO_LOST,
        "raising": Fault.APP_FAILED,
        "talkative": Fault.MALFORMED_REPLY,
        "unknown": Fault.MALFORMED_REPLY,
        "lying": Fault.RECEIPT_UNKNOWN,
    }
    assert ("refusing", "train") not in grid.asked
    assert b"ssn" not in path.read_bytes()
    assert report.accepted == ()
    assert RoundReport.load(path) == report


def test_a_held_round_is_not_held_again(tmp_path: Path, registry: Registry):
    grid = LocalGrid({"refusing": lambda *_: _outcome("POLICY_REFUSED")})
    path = report_path(tmp_path, "r1")
    assert hold_round(grid, registry, path, "r1", _spec("refusing")).state is RoundState.ABANDONED
    with pytest.raises(ConfigError):
        hold_round(grid, registry, path, "r1", _spec("refusing"))


def test_a_round_that_was_cut_off_goes_on_under_the_same_challenge(tmp_path: Path, registry: Registry):
    path = report_path(tmp_path, "r1")
    first = _spec("a")

    def cut(*_: object) -> RecordDict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hold_round(LocalGrid({"a": cut}), registry, path, "r1", first)
    assert not RoundReport.load(path).finished
    offered: list[str] = []

    def silo(kind: str, offer: dict[str, str]) -> RecordDict:
        offered.append(offer["challenge"])
        return _outcome("ACCEPTED") if kind == "query.offer" else _outcome("BUDGET_SPENT")

    second = _spec("a")
    object.__setattr__(second.offer, "challenge", "e" * 64)
    report = hold_round(LocalGrid({"a": silo}), registry, path, "r1", second)
    assert set(offered) == {"c" * 64}
    assert report.offer.challenge == "c" * 64


@pytest.mark.parametrize(
    "content",
    [
        RecordDict({}),
        RecordDict({"metrics": MetricRecord({"loss": 0.5})}),
        RecordDict({OUTCOME_RECORD: ConfigRecord({"answer": "DONE", **FACTS}), "m": MetricRecord({"loss": 0.5})}),
        RecordDict({OUTCOME_RECORD: MetricRecord({"answer": 1.0})}),
        RecordDict({OUTCOME_RECORD: ConfigRecord({})}),
        RecordDict({OUTCOME_RECORD: ConfigRecord({"answer": 1})}),
        RecordDict({OUTCOME_RECORD: ConfigRecord({"answer": ["DONE"]})}),
        RecordDict({OUTCOME_RECORD: ConfigRecord({"answer": "DONE"})}),
        RecordDict({OUTCOME_RECORD: ConfigRecord({"answer": "DONE", **FACTS, "mean_age": 54.2})}),
        RecordDict({OUTCOME_RECORD: ConfigRecord({"answer": "DONE", **FACTS, "guarantee": PRIVATE * 900})}),
    ],
)
def test_whatever_is_not_a_code_with_its_facts_is_malformed(content: RecordDict):
    assert read_outcome(content) == (Fault.MALFORMED_REPLY, {})
