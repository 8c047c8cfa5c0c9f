"""The Flower ServerApp of the provider: it carries the messages of one round.

It opens the round in the provider's registry, asks the silos as ``provider_server.rounds`` decides, checks every
receipt against the registry, and keeps ``HOME/rounds/<id>.json`` current. From a silo's message it takes a code
and three facts of a fixed form; the reason text of an error is dropped unread.

The provider's home comes from the environment of its own SuperExec (``LLAMDEX_PROVIDER_HOME``), never from the
run's configuration, which every silo can read.
"""

import os
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from llamdex_fl.errors import ConfigError, InputError
from llamdex_fl.rounds import (
    OFFER_RECORD,
    OUTCOME_RECORD,
    Answer,
    check_facts,
    guarantee_to_text,
    offer_from_text,
    offer_to_text,
)
from provider_server.config import load_provider_config
from provider_server.registry import Registry
from provider_server.round_report import RoundReport, report_path
from provider_server.rounds import Fault, Round, RoundSpec

__all__ = ["app", "hold_round"]

HOME_VARIABLE = "LLAMDEX_PROVIDER_HOME"
_POLL_S = 0.5
#: For so long after its time a round that was cut off can be gone on with.
_TO_GO_ON = timedelta(days=1)
#: Flower's error codes: the node was lost, or the reply was; anything else is a fault of the app.
_LOST = frozenset({3, 4, 5})

app = ServerApp()


@app.main()  # type: ignore[untyped-decorator]  # Flower is not followed by mypy
def main(grid: Grid, context: Context) -> None:
    """Hold the round that the run's configuration describes."""
    home = os.environ.get(HOME_VARIABLE)
    if not home:
        raise ConfigError(
            "The ServerApp does not know the provider's directory.",
            expected=f"{HOME_VARIABLE} in the environment of flower-superexec",
            got="nothing",
            next_step=f"start flower-superexec with {HOME_VARIABLE}=HOME",
        )
    config = load_provider_config(Path(home))
    round_id = str(context.run_config["round-id"])
    with Registry(config.registry) as registry:
        hold_round(grid, registry, report_path(config.home, round_id), round_id, _spec(config.provider, context))


def hold_round(grid: Grid, registry: Registry, path: Path, round_id: str, spec: RoundSpec) -> RoundReport:
    """Hold one round to its end, or go on with one that was cut off, and return its report."""
    opened_at = datetime.now(UTC)
    before = _unfinished(path, spec)
    if before is None:
        registry.open_round(spec.offer, closes_at=_closes_at(opened_at, spec))
    else:
        # The silos know this challenge: those that are done give the receipt they have.
        spec = replace(spec, offer=before.offer)
        opened_at = before.opened_at
    desk = _Desk(grid, registry, Round(spec, time.monotonic()))
    while True:
        # On disk before the first message leaves: whoever goes on with this round needs its challenge.
        report = RoundReport.of(round_id, desk.round, opened_at=opened_at, changed_at=datetime.now(UTC))
        report.save(path)
        if report.finished:
            break
        while not desk.step():
            time.sleep(_POLL_S)
    registry.close_round(spec.offer.challenge)
    return report


class _Desk:
    """The messages that are out, and what their answers mean."""

    def __init__(self, grid: Grid, registry: Registry, held: Round) -> None:
        self.round = held
        self._grid = grid
        self._registry = registry
        self._out: dict[str, tuple[str, int]] = {}
        self._seen: tuple[object, ...] = ()

    def step(self) -> bool:
        """Send what is due, read what came; True if the round looks different now."""
        self._receive()
        # Who is online is asked only when there is something to send: it is a request each time.
        wanted = self.round.due(self.round.silos, time.monotonic())
        online = [node for node in self._grid.get_nodes() if node.status == "online"] if wanted else []
        nodes = {node.name: node.node_id for node in online}
        for send in self.round.due(nodes, time.monotonic()):
            message = Message(
                RecordDict({OFFER_RECORD: ConfigRecord(offer_to_text(self.round.spec.offer))}),
                nodes[send.silo],
                send.question.value,
            )
            for message_id in self._grid.push_messages([message]):
                if message_id:
                    self._out[message_id] = (send.silo, nodes[send.silo])
                    self.round.sent(send.silo)
        now = (
            self.round.state,
            *((silo.outcome, silo.total_asked, silo.settled) for silo in self.round.silos.values()),
        )
        changed, self._seen = now != self._seen, now
        return changed

    def _receive(self) -> None:
        if not self._out:
            return
        for reply in self._pull():
            silo, node_id = self._out.pop(reply.metadata.reply_to_message_id, (None, None))
            if silo is None:
                continue
            if reply.has_error():
                fault = Fault.SILO_LOST if reply.error.code in _LOST else Fault.APP_FAILED
                self.round.answered(silo, fault, time.monotonic())
            elif reply.metadata.src_node_id != node_id:
                self.round.answered(silo, Fault.MALFORMED_REPLY, time.monotonic())
            else:
                answer, facts = read_outcome(reply.content)
                if answer is Answer.DONE and not self._confirmed(silo, facts):
                    answer, facts = Fault.RECEIPT_UNKNOWN, {}
                self.round.answered(silo, answer, time.monotonic(), facts)

    def _pull(self) -> Iterable[Message]:
        return list(self._grid.pull_messages(list(self._out)))

    def _confirmed(self, silo: str, facts: Mapping[str, str]) -> bool:
        return any(
            record.silo == silo
            and record.receipt_id == facts["receipt_id"]
            and record.artefact_digest == facts["artefact_digest"]
            and guarantee_to_text(record.guarantee) == facts["guarantee"]
            for record in self._registry.releases(challenge=self.round.spec.offer.challenge)
        )


def read_outcome(content: RecordDict) -> tuple[Answer | Fault, dict[str, str]]:
    """What a silo's message says: a known code, and with DONE the three facts. All else is malformed."""
    record = content.get(OUTCOME_RECORD)
    if list(content) != [OUTCOME_RECORD] or not isinstance(record, ConfigRecord):
        return Fault.MALFORMED_REPLY, {}
    fields = dict(record)
    answer = fields.pop("answer", None)
    if answer not in list(Answer) or (fields and answer != Answer.DONE):
        return Fault.MALFORMED_REPLY, {}
    try:
        return Answer(answer), check_facts(fields) if answer == Answer.DONE else {}
    except InputError:
        return Fault.MALFORMED_REPLY, {}


def _spec(provider: str, context: Context) -> RoundSpec:
    config = context.run_config
    offer = offer_from_text(
        {
            "provider": provider,
            "purpose": config["purpose"],
            "schema_digest": config["schema-digest"],
            "architecture": config["architecture"],
            "base_model_digest": config["base-model-digest"],
            "epsilon": config["epsilon"],
            "delta": config["delta"],
            "challenge": secrets.token_hex(32),
        }
    )
    return RoundSpec(
        offer=offer,
        silos=tuple(silo for silo in str(config["silos"]).split(",") if silo),
        quorum=int(config["quorum"]),
        online_timeout_s=float(config["online-timeout-s"]),
        answer_timeout_s=float(config["answer-timeout-s"]),
        attempts=int(config["attempts"]),
    )


def _closes_at(opened_at: datetime, spec: RoundSpec) -> datetime:
    return opened_at + timedelta(seconds=spec.answer_timeout_s) + _TO_GO_ON


def _unfinished(path: Path, spec: RoundSpec) -> RoundReport | None:
    if not path.exists():
        return None
    report = RoundReport.load(path)
    terms = {**offer_to_text(spec.offer), "challenge": report.offer.challenge}
    if report.finished or offer_to_text(report.offer) != terms:
        raise ConfigError(
            f"The round {report.round_id} was held already.",
            expected="a fresh round id",
            got=f"a report of state {report.state.value} in {path}",
            next_step="give the round another id",
        )
    # One that was cut off too long ago is closed in the registry too: it begins again under a fresh challenge.
    return report if datetime.now(UTC) < _closes_at(report.opened_at, spec) else None
