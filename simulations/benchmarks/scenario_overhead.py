"""What the scenario harness costs a silo, beside a plain loop of the same work.

The work is done twice in turns: in a plain loop, which opens each silo's configuration, log and worker and calls the
worker's two methods; and through the harness, in which the ServerApp sends messages over the in-process grid, the
ClientApp passes them to the silo's daemon by a socket, and the daemon asks the same worker. Two kinds of work:

- none: a worker that answers at once. What is left is what stands around the work, to a few microseconds.
- real: DP training, sealing and upload to a provider's process, on a fresh round each time. The difference of two large
  numbers: it shows that nothing else grows, and is as noisy as they are.

CPU seconds are of this process, all threads.
"""

import logging
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from llamdex_fl.release import Offer
from llamdex_fl.rounds import Answer
from provider_server.config import load_provider_config
from provider_server.registry import Registry
from provider_server.rounds import RoundSpec
from provider_server.server_app import hold_round
from silo_client.config import SiloConfig, load_silo_config
from silo_client.daemon import Worker, open_log
from silo_client.daemon_protocol import Reply
from silo_client.policy import DEFAULT_PURPOSE
from simulations.harness.founding import Founder
from simulations.harness.grid import InProcessGrid
from simulations.harness.node import Node, close_log, new_worker
from simulations.harness.population import populate
from simulations.harness.provider import RunningProvider
from simulations.harness.scenario import Budgets, Data, Partition, Scenario
from simulations.harness.seams import Seams
from simulations.harness.switchboard import Switchboard
from simulations.harness.verified_once import verified_once

__all__ = ["TARGETS", "measure_scenario_overhead"]

#: Milliseconds of CPU a silo, at most.
TARGETS = {"overhead_ms": 1.0}

_ZEROS = "0" * 64
_LONG_S = 86400.0
_RECORDS = 40

Maker = Callable[[SiloConfig, logging.Logger], Worker]


def measure_scenario_overhead(*, silos: int = 200, turns: int = 5, real_silos: int = 20, real_turns: int = 3) -> Any:  # noqa: ANN401 - a JSON document
    """Run the benchmark; with the defaults about two minutes of one core.

    Args:
        silos: that do nothing.
        turns: of loop and harness, without work.
        real_silos: that train and upload; 0 leaves this part out.
        real_turns: of theirs.

    Returns:
        A JSON document: ``overhead_ms`` (CPU a silo, median over the turns, without work) and, under ``no_work`` and
        ``real_work``, each turn's milliseconds a silo of both, and the median difference.
    """
    with verified_once():
        no_work = _without_work(silos, turns)
        real_work = _with_work(real_silos, real_turns) if real_silos else None
    return {
        "overhead_ms": no_work["difference_cpu_ms"],
        "targets": TARGETS,
        "no_work": no_work,
        "real_work": real_work,
    }


class _Idle:
    """A worker that answers at once."""

    def __init__(self, config: SiloConfig, log: logging.Logger) -> None:
        """Nothing is opened."""
        del config, log

    def consider(self, offer: Offer) -> Reply:  # noqa: ARG002 - as a worker's
        """Would it be allowed?"""
        return Reply(answer=Answer.ACCEPTED)

    def train_and_upload(self, offer: Offer) -> Reply:  # noqa: ARG002 - as a worker's
        """A refusal needs no receipt, and is as long a message."""
        return Reply(answer=Answer.POLICY_REFUSED)


def _without_work(silos: int, turns: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="llamdex-bench-") as folder:
        homes = {f"silo-{place:03d}": Path(folder) / f"silo-{place:03d}" for place in range(1, silos + 1)}
        for silo, home in homes.items():
            home.mkdir()
            (home / "silo.toml").write_text(
                f'silo = "{silo}"\ndata = "records.csv"\nprovider = "provider"\nprovider_address = "127.0.0.1:9"\n',
                encoding="utf-8",
            )
        with Registry(Path(folder) / "registry") as registry, Switchboard() as switchboard:
            return _in_turns(homes, registry, Path(folder), switchboard, _Idle, turns, _offer(_ZEROS, "any/v1"))


def _with_work(silos: int, turns: int) -> dict[str, Any]:
    scenario = Scenario(
        name="overhead",
        title="",
        seeds=(0,),
        data=Data(set="synthetic", records=silos * _RECORDS),
        partition=Partition(kind="iid", silos=silos),
        privacy=Budgets(lifetime_epsilon=4.0 * turns + 4.0),
    )
    with tempfile.TemporaryDirectory(prefix="llamdex-bench-") as folder:
        directory = Path(folder)
        population, terms = populate(scenario, 0)
        founded = Founder(
            directory=directory,
            population=population,
            terms=terms,
            records={silo: own.train for silo, own in population.splits.items()},
            told=lambda *_: None,
        ).found(population.silos)
        config = load_provider_config(founded.provider_home)
        places = {silo: place for place, silo in enumerate(population.silos)}
        offer = _offer(population.schema.digest(), population.architecture)
        with (
            RunningProvider(directory / "work", founded.provider_home),
            Registry(config.registry) as registry,
            Seams(0, places, ()).held(),
            Switchboard() as switchboard,
        ):
            return _in_turns(founded.silo_homes, registry, directory, switchboard, new_worker, turns, offer)


def _in_turns(  # noqa: PLR0913, PLR0917 - what both ways of doing the work share
    homes: Mapping[str, Path],
    registry: Registry,
    directory: Path,
    switchboard: Switchboard,
    maker: Maker,
    turns: int,
    offer: Offer,
) -> dict[str, Any]:
    loop: list[tuple[float, float]] = []
    harness: list[tuple[float, float]] = []
    # The first turn of each loads what is loaded once.
    for number in range(turns + 1):
        fresh = replace(offer, challenge=secrets.token_hex(32))
        registry.open_round(fresh)
        with _clock(loop, len(homes)):
            answers = [_plainly(home, fresh, maker) for home in homes.values()]
        registry.close_round(fresh.challenge)
        nodes = {
            silo: Node(place, silo, home, switchboard, maker) for place, (silo, home) in enumerate(homes.items(), 2)
        }
        spec = _spec(offer, homes)
        grid = InProcessGrid(nodes, (), 1, run_id=number + 1, told=lambda *_: None, before_training=lambda *_: None)
        with _clock(harness, len(homes)):
            report = hold_round(grid, registry, directory / f"round-{number}.json", f"round-{number}", spec)
        if {silo.outcome for silo in report.silos} != {answer.value for answer in answers}:
            raise AssertionError("loop and harness did not do the same work")
    return _told(loop[1:], harness[1:])


def _plainly(home: Path, offer: Offer, maker: Maker) -> Answer:
    config = load_silo_config(home)
    log = open_log(home)
    worker = maker(config, log)
    worker.consider(offer)
    answer = worker.train_and_upload(offer).answer
    close_log(log)
    return answer


@contextmanager
def _clock(times: list[tuple[float, float]], silos: int) -> Iterator[None]:
    """Add milliseconds a silo: of CPU, and on the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    times.append((1e3 * (time.process_time() - cpu) / silos, 1e3 * (time.perf_counter() - wall) / silos))


def _told(loop: list[tuple[float, float]], harness: list[tuple[float, float]]) -> dict[str, Any]:
    more = [h[0] - p[0] for h, p in zip(harness, loop, strict=True)]
    return {
        "loop_cpu_ms": [round(cpu, 3) for cpu, _ in loop],
        "harness_cpu_ms": [round(cpu, 3) for cpu, _ in harness],
        "loop_wall_ms": [round(wall, 3) for _, wall in loop],
        "harness_wall_ms": [round(wall, 3) for _, wall in harness],
        "difference_cpu_ms": round(statistics.median(more), 3),
        "difference_wall_ms": round(statistics.median(h[1] - p[1] for h, p in zip(harness, loop, strict=True)), 3),
    }


def _offer(schema_digest: str, architecture: str) -> Offer:
    return Offer(
        provider="provider",
        purpose=DEFAULT_PURPOSE,
        schema_digest=schema_digest,
        architecture=architecture,
        base_model_digest=_ZEROS,
        epsilon=1.0,
        delta=1e-4,
        challenge=_ZEROS,
    )


def _spec(offer: Offer, homes: Mapping[str, Path]) -> RoundSpec:
    return RoundSpec(
        offer=replace(offer, challenge=secrets.token_hex(32)),
        silos=tuple(homes),
        online_timeout_s=_LONG_S,
        answer_timeout_s=_LONG_S,
    )
