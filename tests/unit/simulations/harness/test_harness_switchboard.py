"""The switchboard: the unchanged ClientApp reaches the worker whose turn it is, through the daemon's own code."""

import json
import logging
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from llamdex_fl.release import Offer
from llamdex_fl.rounds import OFFER_RECORD, OUTCOME_RECORD, Answer, offer_to_text
from silo_client import client_app
from silo_client.daemon_protocol import Reply
from simulations.harness.switchboard import Switchboard

OFFER = Offer(
    provider="provider",
    purpose="assembly",
    schema_digest="0" * 64,
    architecture="any/v1",
    base_model_digest="0" * 64,
    epsilon=1.0,
    delta=1e-4,
    challenge="1" * 64,
)


class _Worker:
    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.offers: list[Offer] = []

    def consider(self, offer: Offer) -> Reply:
        self.offers.append(offer)
        return Reply(answer=self.answer)

    def train_and_upload(self, offer: Offer) -> Reply:
        raise AssertionError(f"nobody asked to train: {offer.challenge}")


def _asked(fields: dict[str, str]) -> str:
    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
    message = Message(RecordDict({OFFER_RECORD: ConfigRecord(fields)}), 2, "query.offer")
    context = Context(run_id=1, node_id=2, node_config={"silo-socket": "/x"}, state=RecordDict(), run_config={})
    outcome = client_app.app(message, context).content[OUTCOME_RECORD]
    return str(dict(outcome)["answer"])


def test_who_asks_is_answered_by_the_silo_whose_turn_it_is():
    one, two = _Worker(Answer.ACCEPTED), _Worker(Answer.BUDGET_SPENT)
    before, log = client_app.ask, logging.getLogger("test-switchboard")
    with Switchboard() as switchboard:
        with switchboard.answering(one, log):
            assert _asked(offer_to_text(OFFER)) == Answer.ACCEPTED
        with switchboard.answering(two, log):
            assert _asked(offer_to_text(OFFER)) == Answer.BUDGET_SPENT
        assert _asked(offer_to_text(OFFER)) == Answer.INTERNAL, "nobody's turn"
    assert one.offers == two.offers == [OFFER]
    assert client_app.ask is before


def test_the_daemons_own_checks_are_run():
    worker = _Worker(Answer.ACCEPTED)
    with Switchboard() as switchboard, switchboard.answering(worker, logging.getLogger("test-switchboard")):
        assert _asked({**offer_to_text(OFFER), "epsilon": "-1"}) == Answer.BAD_REQUEST
    assert not worker.offers


def test_the_overhead_benchmark_does_the_same_work_twice(tmp_path: Path):
    from simulations.benchmarks.scenario_overhead import measure_scenario_overhead  # noqa: PLC0415 - loads torch

    result = measure_scenario_overhead(silos=3, turns=1, real_silos=0)
    (tmp_path / "result.json").write_text(json.dumps(result, allow_nan=False), encoding="utf-8")
    assert result["real_work"] is None
    assert len(result["no_work"]["loop_cpu_ms"]) == len(result["no_work"]["harness_cpu_ms"]) == 1
