"""One seed of a scenario, from the founding to the figures; an interrupted one goes on where it was.

::

    DIRECTORY/
      founded.json         which silos have joined; there once the founding is done
      provider/, silos/, data/, work/
      result.json          there once the seed is done

Order: the founding; in each round first who joins late, then the round through Flower and the upload service, then who
is withdrawn; the accounts (``simulations.harness.accounts``); the figures.
"""

import json
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from llamdex_fl.release import Offer
from provider_server.config import load_provider_config
from provider_server.registry import Registry
from provider_server.round_report import RoundReport, report_path
from provider_server.rounds import RoundSpec
from provider_server.server_app import hold_round
from provider_server.setup import revoke
from silo_client.policy import DEFAULT_PURPOSE
from simulations.harness.accounts import Accounts, keep_accounts
from simulations.harness.faults import MALICIOUS, Drawn, draw, participants, poisoned
from simulations.harness.figures import Score, assembled, majority, reference, score_alone, speakers
from simulations.harness.founding import Founder
from simulations.harness.grid import CutOffError, InProcessGrid
from simulations.harness.latency import answer_times
from simulations.harness.look import Look, closer_look
from simulations.harness.meter import Meter
from simulations.harness.node import Node
from simulations.harness.population import Population, populate
from simulations.harness.provider import RunningProvider, require_point
from simulations.harness.ray_backend import RayRound
from simulations.harness.scenario import Scenario
from simulations.harness.seams import Seams
from simulations.harness.switchboard import Switchboard
from simulations.harness.verified_once import verified_once
from simulations.local_consortium import Founded

__all__ = ["SeedResult", "run_seed"]

_ZEROS = "0" * 64
_WITHDRAWN = "withdrawn by its silo, as the scenario has it"

Told = Callable[[str, int, int], None]


@dataclass(kw_only=True, slots=True)
class SeedResult:
    """What one seed came to. All but ``measured`` is the same whenever the seed is run.

    Attributes:
        alone: each speaking silo's expert by itself.
        assembled: all that may speak; None if nobody may.
        reference: the same consortium without faults; None where no ``must_hold`` asks for it.
        states: rounds' final states.
        accounts: what of each silo was asked, delivered, logged and spent.
        faults: kind -> the silos that it hit.
        look: what paired tests and plots need of the same experts.
        measured: seconds, bytes and memory: of this run and this machine.
        growth: of the first round, how many silos had trained after how many seconds, and the most memory in bytes
            of this process until then.
        inference: how long answers take; None where the scenario does not ask for it in this seed.
    """

    seed: int
    alone: dict[str, Score]
    assembled: Score | None
    reference: Score | None
    majority: float
    states: list[str]
    accounts: Accounts
    faults: dict[str, list[str]]
    look: Look = field(default_factory=Look)
    measured: dict[str, float] = field(default_factory=dict)
    growth: list[tuple[int, float, float]] = field(default_factory=list)
    inference: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For ``result.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "SeedResult":
        """Read what ``as_dict`` wrote."""
        scores = {name: Score(**document[name]) if document[name] else None for name in ("assembled", "reference")}
        alone = {silo: Score(**score) for silo, score in document["alone"].items()}
        parts = {
            "accounts": Accounts.from_dict(document["accounts"]),
            "look": Look(**document["look"]),
            "growth": [(int(silos), float(seconds), float(peak)) for silos, seconds, peak in document["growth"]],
        }
        return cls(**{**document, **scores, "alone": alone, **parts})


def run_seed(scenario: Scenario, seed: int, directory: Path, told: Told, *, backend: str = "in-process") -> SeedResult:
    """Run one seed, or go on with it.

    Args:
        scenario: what to run.
        seed: of everything that chance decides.
        directory: of this seed alone.
        told: of the progress (stage, done, in all).
        backend: in-process, or ray.

    Raises:
        ArtefactError: the data set cannot be had.
        ConfigError: the scenario does not fit the data.
        ProcessError: the provider did not start, or ended for good.
    """
    for fault in scenario.faults:
        if fault.kind == "provider_killed":
            require_point(fault.point)
    return _SeedRun(scenario, seed, directory, told, backend).run()


class _SeedRun:
    """The state of one seed."""

    def __init__(self, scenario: Scenario, seed: int, directory: Path, told: Told, backend: str) -> None:
        self._backend = backend
        self._scenario = scenario
        self._seed = seed
        self._directory = directory
        self._on_progress = told
        self._population, self._terms = populate(scenario, seed)
        self._drawn = draw(scenario, self._population.silos, seed)
        self._meter = Meter(directory / "measured.json")
        self._replays: dict[str, list[str]] = {}

    def _told(self, stage: str, done: int, total: int) -> None:
        self._on_progress(f"seed {self._seed}: {stage}", done, total)

    def run(self) -> SeedResult:
        """All of it."""
        with verified_once():
            return self._run()

    def _run(self) -> SeedResult:
        began = time.perf_counter()
        founder = self._founder()
        founded = self._found(founder)
        self._meter.totals["founding_s"] += time.perf_counter() - began
        self._meter.keep()
        places = {silo: place for place, silo in enumerate(self._population.silos)}
        seams = Seams(self._seed, places, self._drawn)
        mortal = any(each.fault.kind == "provider_killed" for each in self._drawn)
        work = self._directory / "work"
        reports = []
        with (
            RunningProvider(work, founded.provider_home, mortal=mortal) as provider,
            seams.held(),
            Switchboard() as switchboard,
        ):
            for number in range(1, self._scenario.rounds.count + 1):
                if joining := [silo for silo in self._late(number) if silo not in founded.silo_homes]:
                    founded = founder.enrol(founded, joining)
                    self._remember(founded)
                seams.round_number = number
                reports.append(self._round(number, founded, provider, switchboard))
                self._withdraw(number, founded)
            provider.require_alive()
            self._meter.totals["provider_peak_bytes"] = provider.peak_bytes
            self._meter.totals["provider_cpu_s"] = self._meter.totals.get("provider_cpu_s", 0.0) + provider.cpu_s
            self._meter.totals["provider_kills_pending"] = float(not provider.killed)
        return self._result(founded, reports)

    def _founder(self) -> Founder:
        records = {
            silo: poisoned(self._population.schema, own.train, silo, self._drawn, self._seed)
            for silo, own in self._population.splits.items()
        }
        return Founder(
            directory=self._directory,
            population=self._population,
            terms=self._terms,
            records=records,
            told=self._told,
        )

    def _found(self, founder: Founder) -> Founded:
        state = self._directory / "founded.json"
        if state.exists():
            kept = json.loads(state.read_text(encoding="utf-8"))
            homes = {silo: self._directory / "silos" / silo for silo in kept["silos"]}
            home = self._directory / "provider"
            return Founded(
                provider_home=home, silo_homes=homes, provider="provider", root_fingerprint=kept["root_fingerprint"]
            )
        # A founding that was cut off has spent and released nothing.
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        late = {silo for each in self._drawn if each.fault.kind == "late_joiner" for silo in each.silos}
        founded = founder.found([silo for silo in self._population.silos if silo not in late])
        self._remember(founded)
        return founded

    def _remember(self, founded: Founded) -> None:
        state = self._directory / "founded.json"
        beside = state.with_suffix(".part")
        document = {"silos": list(founded.silo_homes), "root_fingerprint": founded.root_fingerprint}
        beside.write_text(json.dumps(document), encoding="utf-8")
        beside.replace(state)

    def _late(self, number: int) -> list[str]:
        return [
            silo
            for each in self._drawn
            if each.fault.kind == "late_joiner" and each.fault.round == number
            for silo in each.silos
        ]

    def _round(self, number: int, founded: Founded, provider: RunningProvider, switchboard: Switchboard) -> RoundReport:
        config = load_provider_config(founded.provider_home)
        path = report_path(config.home, f"round-{number}")
        if path.exists() and (before := RoundReport.load(path)).finished:
            return before
        gone = {silo for each in self._drawn for silo in each.silos if _is_gone(each, number)}
        members = [silo for silo in self._population.silos if silo in founded.silo_homes and silo not in gone]
        asked = participants(self._scenario, members, number, self._seed)
        if self._backend == "ray":
            return self._round_on_ray(number, founded, asked)
        nodes = {
            silo: Node(place, silo, founded.silo_homes[silo], switchboard)
            for place, silo in enumerate(self._population.silos, start=2)
            if silo in asked
        }
        drawn: Sequence[Drawn] = self._drawn
        # What this thread does in the grid and is not the silos' own work is the harness's.
        self._meter.begin_round()
        grid_cpu_s = 0.0
        with Registry(config.registry) as registry:
            while True:
                grid = self._grid(number, nodes, drawn, provider)
                try:
                    report = hold_round(grid, registry, path, f"round-{number}", self._spec(founded, asked))
                    break
                except CutOffError:
                    # A ServerApp that is started again goes on with the round; it is killed once.
                    drawn = [each for each in drawn if each.fault.kind != "server_app_killed"]
                finally:
                    self._replays.update(grid.replays)
                    grid_cpu_s += grid.cpu_s
        self._meter.end_round(grid_cpu_s)
        return report

    def _round_on_ray(self, number: int, founded: Founded, asked: Sequence[str]) -> RoundReport:
        config = load_provider_config(founded.provider_home)
        path, spec = report_path(config.home, f"round-{number}"), self._spec(founded, asked)

        def held(grid: Any) -> RoundReport:  # noqa: ANN401 - Flower's
            # In a thread of Flower's: a connection to the registry is good for the thread that opened it.
            with Registry(config.registry) as registry:
                return hold_round(grid, registry, path, f"round-{number}", spec)

        self._meter.begin_round()
        report = RayRound(
            homes={silo: founded.silo_homes[silo] for silo in asked},
            seed=self._seed,
            places={silo: place for place, silo in enumerate(self._population.silos)},
            drawn=tuple(self._drawn),
            number=number,
        ).hold(held)
        self._meter.end_round(0.0)
        return report

    def _grid(
        self, number: int, nodes: dict[str, Node], drawn: Sequence[Drawn], provider: RunningProvider
    ) -> InProcessGrid:
        kills = [
            each.fault for each in drawn if each.fault.kind == "provider_killed" and each.fault.round in {0, number}
        ]

        def before_training(count: int) -> None:
            provider.require_alive()
            self._meter.trained(count - 1, first_round=number == 1)
            for fault in kills:
                if fault.after == count:
                    provider.kill_at(fault.point)

        return InProcessGrid(
            nodes,
            drawn,
            number,
            run_id=number,
            told=lambda done, total: self._told(f"round {number}", done, max(total, 2 * len(nodes))),
            before_training=before_training,
        )

    def _spec(self, founded: Founded, asked: Sequence[str]) -> RoundSpec:
        rounds, privacy = self._scenario.rounds, self._scenario.privacy
        offer = Offer(
            provider=founded.provider,
            purpose=DEFAULT_PURPOSE,
            schema_digest=self._population.schema.digest(),
            architecture=self._population.architecture,
            base_model_digest=_ZEROS,
            epsilon=privacy.epsilon,
            delta=privacy.delta,
            challenge=secrets.token_hex(32),
        )
        return RoundSpec(
            offer=offer,
            silos=tuple(asked),
            quorum=max(1, round(rounds.quorum * len(asked))),
            online_timeout_s=rounds.answer_timeout_s,
            answer_timeout_s=rounds.answer_timeout_s,
            attempts=rounds.attempts,
        )

    def _withdraw(self, number: int, founded: Founded) -> None:
        """Twice makes no difference, so an interrupted run may do it again."""
        leaving = [
            silo
            for each in self._drawn
            if each.fault.kind == "withdrawal" and each.fault.round == number
            for silo in each.silos
        ]
        if not leaving:
            return
        config = load_provider_config(founded.provider_home)
        with Registry(config.registry) as registry:
            for record in registry.releases():
                if record.silo in leaving:
                    registry.withdraw(record.release_id, _WITHDRAWN)
        for silo in leaving:
            revoke(founded.provider_home, silo)

    def _result(self, founded: Founded, reports: Sequence[RoundReport]) -> SeedResult:
        self._told("figures", 0, 1)
        config = load_provider_config(founded.provider_home)
        population: Population = self._population
        spoken = speakers(config, population)
        hit = {silo for each in self._drawn if each.fault.kind in MALICIOUS for silo in each.silos}
        compared = None
        if any(hold.what == "accuracy_drop_at_most" for hold in self._scenario.must_hold):
            honest = {one.silo: one for one in spoken if one.silo not in hit}
            missing = {silo: self._terms[silo] for silo in population.silos if silo not in honest}
            compared = reference(population, honest, missing, self._scenario.privacy.epsilon, self._seed)
        accounts = keep_accounts(config, founded, reports, self._terms, self._replays)
        self._meter.keep()
        self._meter.totals["bytes_sent"] = float(sum(accounts.bytes_sent.values()))
        faults: dict[str, list[str]] = {}
        for each in self._drawn:
            faults.setdefault(each.fault.kind, []).extend(each.silos)
        result = SeedResult(
            seed=self._seed,
            alone=score_alone(population, spoken),
            assembled=assembled(population, spoken),
            reference=compared,
            majority=majority(population),
            states=[report.state.value for report in reports],
            accounts=replace(accounts, records={silo: len(own.train) for silo, own in population.splits.items()}),
            faults=faults,
            look=closer_look(population, spoken),
            growth=self._meter.growth,
            inference=self._answers(founded),
            measured={name: round(value, 4) for name, value in self._meter.totals.items()},
        )
        self._told("figures", 1, 1)
        return result

    def _answers(self, founded: Founded) -> dict[str, Any] | None:
        count = self._scenario.inference.questions
        if not count or self._seed != self._scenario.seeds[0]:
            return None
        self._told("timing answers", 0, 1)
        return answer_times(founded.provider_home, self._population.schema.name, count)


def _is_gone(each: Drawn, number: int) -> bool:
    return each.fault.kind == "withdrawal" and each.fault.round < number
