"""The bundle's ClientApp: what leaves it, whatever happens inside."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.app.metadata import Metadata

from llamdex_fl.rounds import OFFER_RECORD, OUTCOME_RECORD, Answer
from silo_client import client_app
from silo_client.daemon_protocol import Reply, read_request, write_reply

PRIVATE = "row 17: ssn=078-05-1120"
OFFER = {
    "provider": "prov-1",
    "purpose": "answer-questions",
    "schema_digest": "a" * 64,
    "architecture": "thermometer_linear/v1",
    "base_model_digest": "b" * 64,
    "epsilon": "1.0",
    "delta": "0.00001",
    "challenge": "c" * 64,
}
FACTS = {"receipt_id": "0f" * 16, "artefact_digest": "d" * 64, "guarantee": '{"epsilon":"1.0"}'}


def _message(kind: str, fields: dict[str, str] | None = None) -> Message:
    metadata = Metadata(
        run_id=1,
        message_id="m",
        src_node_id=1,
        dst_node_id=2,
        reply_to_message_id="",
        group_id="",
        created_at=1e9,
        ttl=1e10,
        message_type=kind,
    )
    return Message(
        content=RecordDict({OFFER_RECORD: ConfigRecord(OFFER if fields is None else fields)}), metadata=metadata
    )


def _context(**node_config: str) -> Context:
    return Context(run_id=1, node_id=2, node_config=dict(node_config), state=RecordDict(), run_config={})


def _outcome(message: Message, context: Context) -> dict[str, object]:
    reply = client_app.app(message, context)
    assert list(reply.content) == [OUTCOME_RECORD]
    return dict(reply.content[OUTCOME_RECORD])


@pytest.fixture
def answering(tmp_path: Path):
    listeners = []

    def start(reply: Reply) -> Path:
        path = tmp_path / "silo.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listeners.append(listener)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                read_request(connection)
                write_reply(connection, reply)

        threading.Thread(target=serve, daemon=True).start()
        return tmp_path

    yield start
    for listener in listeners:
        listener.close()


def test_done_carries_the_three_facts_and_nothing_else(answering: Callable[[Reply], Path]):
    home = answering(Reply(answer=Answer.DONE, facts=FACTS))
    assert _outcome(_message("train"), _context(**{"silo-home": str(home)})) == {"answer": "DONE", **FACTS}


def test_a_refusal_is_a_code_alone(answering: Callable[[Reply], Path]):
    home = answering(Reply(answer=Answer.POLICY_REFUSED))
    assert _outcome(_message("query.offer"), _context(**{"silo-home": str(home)})) == {"answer": "POLICY_REFUSED"}


def test_the_socket_itself_may_be_named(answering: Callable[[Reply], Path]):
    home = answering(Reply(answer=Answer.ACCEPTED))
    context = _context(**{"silo-socket": str(home / "silo.sock")})
    assert _outcome(_message("query.offer"), context) == {"answer": "ACCEPTED"}


def test_no_daemon_and_no_home_are_codes(tmp_path: Path):
    absent = _context(**{"silo-home": str(tmp_path)})
    assert _outcome(_message("train"), absent) == {"answer": "DAEMON_UNREACHABLE"}
    assert _outcome(_message("train"), _context()) == {"answer": "SILO_MISCONFIGURED"}


def test_a_bad_offer_is_a_code(tmp_path: Path):
    context = _context(**{"silo-home": str(tmp_path)})
    assert _outcome(_message("train", {**OFFER, "epsilon": "1e9"}), context) == {"answer": "BAD_REQUEST"}


def test_no_exception_text_leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(PRIVATE)

    monkeypatch.setattr(client_app, "ask", fails)
    assert _outcome(_message("train"), _context(**{"silo-home": str(tmp_path)})) == {"answer": "INTERNAL"}


def test_it_imports_no_trainer():
    code = (
        "import sys, silo_client.client_app;"
        "print([m for m in ('torch', 'opacus', 'scipy', 'silo_client.training', 'silo_client.data',"
        " 'llamdex_fl.release', 'llamdex_fl.privacy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
