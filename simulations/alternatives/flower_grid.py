"""A Flower ``Grid`` in this process: the strategy and the ClientApp are Flower's own, only the wire is left out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

__all__ = ["InProcessGrid"]

#: The id of the server's side, that no silo has.
_SERVER = 2**20


@dataclass(kw_only=True)
class InProcessGrid(Grid):  # type: ignore[misc] # Flower is not followed by mypy
    """Hands each message to the app.

    Attributes:
        app: of every node; its context's ``node_config`` tells the nodes apart.
        nodes: node id to ``node_config``.
        bytes_sent: of the arrays in all replies.
    """

    app: ClientApp
    nodes: Mapping[int, Mapping[str, Any]]
    bytes_sent: int = 0
    _contexts: dict[int, Context] = field(default_factory=dict)
    _replies: dict[str, Message] = field(default_factory=dict)
    _sent: int = 0

    def __post_init__(self) -> None:
        """Say who sends: a message cannot be made in a process without that."""
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, _SERVER, 1

    def set_run(self, run: Any) -> None:  # noqa: ANN401 - Flower's Run
        """Nothing to do: there is one run."""

    @property
    def run(self) -> Any:  # noqa: ANN401 - Flower's Run
        """There is none."""
        return None

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """As Flower's."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes are always there."""
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Have every message answered at once; by node, since Flower draws an order that no seed repeats."""
        return [self._answered(own) for own in sorted(messages, key=lambda own: own.metadata.dst_node_id)]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The answers, each once."""
        return [self._replies.pop(identity) for identity in message_ids]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push and pull; nothing can take long, so ``timeout`` is of no use."""
        del timeout
        return self.pull_messages(self.push_messages(messages))

    def _answered(self, message: Message) -> str:
        node = message.metadata.dst_node_id
        context = self._contexts.setdefault(
            node,
            Context(
                run_id=TaskIdentity.run_id,
                node_id=node,
                node_config=dict(self.nodes[node]),
                state=RecordDict(),
                run_config={},
            ),
        )
        reply = self.app(message, context)
        for record in reply.content.values():
            if isinstance(record, ArrayRecord):
                self.bytes_sent += sum(len(array.data) for array in record.values())
        self._sent += 1
        identity = str(self._sent)
        self._replies[identity] = reply
        return identity
