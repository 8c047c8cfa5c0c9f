"""Flower's ``Grid`` in this process: the ServerApp's messages go to the ClientApp by a call, one after another.

One at a time and in the order of sending, so that a run repeats bit for bit: which experts the quarantine compares with
which depends on who came first. Faults of transport happen here; they do to messages what a network does, and nothing
to what a message says.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from provider_server.rounds import Question
from simulations.harness.faults import Drawn
from simulations.harness.node import Node
from simulations.harness.seams import KilledError

__all__ = ["CutOffError", "InProcessGrid"]

#: Seconds of work between two looks of the ServerApp: it writes its report at each.
_SLICE_S = 2.0
#: Flower's codes for a node, and for a reply, that cannot be reached any more.
_NODE_LOST, _REPLY_LOST = 3, 4
#: Flower's id of the SuperLink; silos have greater ones.
_SERVER = 1


class CutOffError(Exception):
    """The ServerApp is killed here, as the scenario has it."""


class _Info:
    """What the SuperLink says of a node."""

    def __init__(self, node_id: int, name: str) -> None:
        self.node_id, self.name, self.status = node_id, name, "online"


class InProcessGrid(Grid):  # type: ignore[misc]  # Flower is not followed by mypy
    """A grid of one round.

    Args:
        nodes: silo id -> its node.
        drawn: the faults.
        round_number: from 1 on.
        told: of the progress (questions answered, questions sent).
        before_training: called with the so many-th message to train (from 1 on), before it is handled.
    """

    def __init__(  # noqa: PLR0913 - what a round is made of
        self,
        nodes: Mapping[str, Node],
        drawn: Sequence[Drawn],
        round_number: int,
        *,
        run_id: int,
        told: Callable[[int, int], None],
        before_training: Callable[[int], None],
    ) -> None:
        """Nothing was sent yet."""
        # What a SuperExec tells the process of a ServerApp: every message that is made carries it.
        TaskIdentity.run_id = TaskIdentity.task_id = run_id
        TaskIdentity.node_id = _SERVER
        self._nodes = {node.node_id: node for node in nodes.values()}
        self._infos = [_Info(node.node_id, node.silo) for node in nodes.values()]
        self._drawn = drawn
        self._round = round_number
        self._run_id = run_id
        self._told = told
        self._before_training = before_training
        self._queue: deque[Message] = deque()
        #: Replies that are ready from a moment on.
        self._replies: dict[str, tuple[float, Message]] = {}
        self._once: set[tuple[str, str]] = set()
        self._sent = self._answered = self._trainings = 0
        self.replays: dict[str, list[str]] = {}
        #: CPU seconds of this thread in the grid and its nodes, the silos' own work among them.
        self.cpu_s = 0.0

    def set_run(self, run: Any) -> None:  # noqa: ANN401 - Flower's
        """Only the SuperLink's grid needs a run."""

    @property
    def run(self) -> Any:  # noqa: ANN401 - Flower's
        """There is none."""
        raise NotImplementedError

    def create_message(self, *arguments: Any, **keywords: Any) -> Message:  # noqa: ANN401 - Flower's
        """As Flower's deprecated way; the ServerApp makes messages itself."""
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        """All nodes."""
        return list(self._nodes)

    def get_nodes(self) -> Iterable[_Info]:
        """All nodes; a lost one is on the list, as it is until its heartbeats are missed."""
        return self._infos

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages in."""
        ids = []
        for message in messages:
            self._sent += 1
            identity = f"{self._run_id:x}-{self._sent:x}"
            message.metadata.__dict__["_message_id"] = identity
            self._queue.append(message)
            ids.append(identity)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Work for a while, and give the replies that are there.

        Raises:
            CutOffError: the scenario kills the ServerApp now.
        """
        ends_at = time.monotonic() + _SLICE_S
        began = time.thread_time()
        try:
            while self._queue and time.monotonic() < ends_at:
                self._handle(self._queue.popleft())
                self._told(self._answered, self._sent)
                self._cut_off()
        finally:
            self.cpu_s += time.thread_time() - began
        now, wanted = time.monotonic(), set(message_ids)
        ready = [
            name
            for name, (at, reply) in self._replies.items()
            # That something was lost is known last: who is asked again comes behind all others, on any machine.
            if name in wanted and at <= now and not (self._queue and reply.has_error())
        ]
        return [self._replies.pop(name)[1] for name in ready]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Send messages, and wait for their replies."""
        ids = set(self.push_messages(messages))
        ends_at = None if timeout is None else time.monotonic() + timeout
        while ids and (ends_at is None or time.monotonic() < ends_at):
            for reply in self.pull_messages(ids):
                ids.discard(reply.metadata.reply_to_message_id)
                yield reply

    def _handle(self, message: Message) -> None:
        node = self._nodes[message.metadata.dst_node_id]
        training = message.metadata.message_type == Question.TRAIN.value
        reply = self._reply(node, message) if training else node.handle(message, self._run_id)
        late = next((each.fault.delay_s for each in self._hits("straggler", node.silo)), 0.0)
        self._replies[message.metadata.message_id] = time.monotonic() + late, reply
        self._answered += 1

    def _reply(self, node: Node, message: Message) -> Message:
        if self._hits("dropout", node.silo):
            return _lost(message, _NODE_LOST)
        if self._first("lost_request", node.silo):
            return _lost(message, _NODE_LOST)
        self._trainings += 1
        self._before_training(self._trainings)
        try:
            reply = node.handle(message, self._run_id)
        except KilledError:
            return _lost(message, _NODE_LOST)
        if self._hits("repeated_message", node.silo):
            # The same message once more: whoever answers it differently trained twice.
            reply = node.handle(message, self._run_id)
        if self._first("replay", node.silo):
            self.replays[node.silo] = node.replay()
        return _lost(message, _REPLY_LOST) if self._first("lost_reply", node.silo) else reply

    def _cut_off(self) -> None:
        for each in self._drawn:
            fault = each.fault
            if fault.kind == "server_app_killed" and fault.round in {0, self._round} and self._answered >= fault.after:
                raise CutOffError

    def _hits(self, kind: str, silo: str) -> list[Drawn]:
        return [each for each in self._drawn if each.fault.kind == kind and each.hits(silo, self._round)]

    def _first(self, kind: str, silo: str) -> bool:
        """Whether it happens to the silo, for the first time in this round."""
        if (kind, silo) in self._once or not self._hits(kind, silo):
            return False
        self._once.add((kind, silo))
        return True


def _lost(message: Message, code: int) -> Message:
    content: RecordDict | Error = Error(code, "lost")
    return Message(content, reply_to=message)
