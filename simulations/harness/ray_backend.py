"""A round on Flower's own simulation engine: silos work in Ray's actors, several at a time, in processes of their own.

The ServerApp's round, the ClientApp, the silo's code and the provider are the same as on the in-process grid, and so is
the noise: with the same seed the experts are the same bit for bit. What a network does to messages (lost, repeated,
late) and who is killed is decided on the in-process grid only, and refused here.

Ray is an extra (``pip install 'llamdex-fl[ray]'``).
"""

import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from llamdex_fl.errors import ConfigError, ProcessError
from provider_server.round_report import RoundReport
from simulations.harness.faults import MALICIOUS, Drawn
from simulations.harness.node import Node
from simulations.harness.scenario import Scenario
from simulations.harness.seams import Seams
from simulations.harness.switchboard import Switchboard
from simulations.harness.verified_once import verified_once

__all__ = ["RayRound", "require_ray"]

_START_S, _LOOK_S = 300.0, 0.1
#: What happens in a silo or between rounds, and so happens here too.
_POSSIBLE = frozenset({*MALICIOUS, "late_joiner", "withdrawal"}) - {"replay"}


def require_ray(scenario: Scenario | None = None) -> None:
    """Whether a scenario can be run on Ray.

    Raises:
        ConfigError: Ray is not installed, or the scenario has faults that only the in-process grid can do.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            "The Ray backend cannot be used.",
            expected="the package ray",
            got="none",
            next_step="pip install 'llamdex-fl[ray]', or leave --backend out: the same apps run in this process",
        )
    others = sorted({fault.kind for fault in scenario.faults} - _POSSIBLE) if scenario else []
    if others:
        raise ConfigError(
            "The Ray backend cannot do all that this scenario does.",
            expected=f"no faults but {', '.join(sorted(_POSSIBLE))}",
            got=", ".join(others),
            next_step="leave --backend out",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RayRound:
    """One round.

    Attributes:
        homes: silo id -> its home, of those who are asked.
        seed: of the noise.
        places: silo id -> its place in the population.
        drawn: the faults.
        number: of the round, from 1 on.
    """

    homes: Mapping[str, Path]
    seed: int
    places: Mapping[str, int]
    drawn: tuple[Drawn, ...]
    number: int

    def hold(self, held: Callable[[Grid], RoundReport]) -> RoundReport:
        """Hold it.

        Args:
            held: holds the round on a grid.

        Raises:
            ProcessError: the simulation engine ended without a report.
        """
        from flwr.simulation import run_simulation  # noqa: PLC0415 - loads Ray

        reports: list[RoundReport] = []
        with tempfile.TemporaryDirectory(prefix="llamdex-sim-") as folder:
            names = Path(folder) / "nodes.json"
            server = ServerApp()

            @server.main()  # type: ignore[untyped-decorator]  # Flower is not followed by mypy
            def main(grid: Grid, context: Context) -> None:  # noqa: ARG001 - as Flower calls it
                reports.append(held(_NamedGrid(grid, list(self.homes), names)))

            run_simulation(
                server_app=server,
                client_app=self._client_app(names),
                num_supernodes=len(self.homes),
                backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
            )
        if not reports:
            raise ProcessError(
                "Flower's simulation engine ended without a report of the round.",
                expected="a round that is held to its end",
                got="none",
                next_step="look at what Ray printed, or leave --backend out",
            )
        return reports[0]

    def _client_app(self, names: Path) -> ClientApp:
        held, app = self, ClientApp()

        @app.query("offer")  # type: ignore[untyped-decorator]
        def offer(message: Message, context: Context) -> Message:
            return _answered(held, names, message, context)

        @app.train()  # type: ignore[untyped-decorator]
        def train(message: Message, context: Context) -> Message:
            return _answered(held, names, message, context)

        return app


def _answered(held: RayRound, names: Path, message: Message, context: Context) -> Message:
    """In an actor: the unchanged ClientApp answers for the silo that this node is."""
    silo = json.loads(names.read_text(encoding="utf-8"))[str(context.node_id)]
    seams = Seams(held.seed, held.places, held.drawn)
    seams.round_number = held.number
    with verified_once(), seams.held(), Switchboard() as switchboard:
        return Node(context.node_id, silo, held.homes[silo], switchboard).handle(message, context.run_id)


class _Info:
    """What the SuperLink says of a node."""

    def __init__(self, node_id: int, name: str) -> None:
        self.node_id, self.name, self.status = node_id, name, "online"


class _NamedGrid(Grid):  # type: ignore[misc]  # Flower is not followed by mypy
    """The engine's grid, whose nodes have the silos' names; the actors learn them from a file."""

    def __init__(self, grid: Grid, silos: Sequence[str], names: Path) -> None:
        self._grid = grid
        # The engine starts the ServerApp first, and registers its nodes then.
        ends_at = time.monotonic() + _START_S
        while len(ids := list(grid.get_node_ids())) < len(silos) and time.monotonic() < ends_at:
            time.sleep(_LOOK_S)
        named = dict(zip(sorted(ids), silos, strict=True))
        beside = names.with_suffix(".part")
        beside.write_text(json.dumps({str(node_id): silo for node_id, silo in named.items()}), encoding="utf-8")
        beside.replace(names)
        self._infos = [_Info(node_id, silo) for node_id, silo in named.items()]

    def set_run(self, run: Any) -> None:  # noqa: ANN401 - Flower's
        """As the engine's."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:  # noqa: ANN401 - Flower's
        """As the engine's."""
        return self._grid.run

    def create_message(self, *arguments: Any, **keywords: Any) -> Message:  # noqa: ANN401 - Flower's
        """As the engine's."""
        return self._grid.create_message(*arguments, **keywords)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes."""
        return [info.node_id for info in self._infos]

    def get_nodes(self) -> Iterable[_Info]:
        """All nodes, with the silos' names."""
        return self._infos

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As the engine's."""
        found: Iterable[str] = self._grid.push_messages(messages)
        return found

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the engine's."""
        found: Iterable[Message] = self._grid.pull_messages(message_ids)
        return found

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """As the engine's."""
        yield from self._grid.send_and_receive(messages, timeout=timeout)
