"""Scenarios as data: a TOML file that says who takes part, what goes wrong, and what must still hold.

The file's keys are in docs/scenarios.md. Unknown keys are refused, so that a misspelt fault cannot be silently absent.
Nothing is drawn here: what chance decides, the seed decides later (``simulations.harness.faults``).
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from llamdex_fl.errors import ConfigError
from simulations.harness.beside import Alternatives, Growth, Inference, Sweep, checks

__all__ = [
    "DATA_SETS",
    "FAULT_KINDS",
    "HOLDS",
    "PARTITIONS",
    "Budgets",
    "Data",
    "Fault",
    "Hold",
    "Partition",
    "Rounds",
    "Scenario",
    "load_scenario",
]

DATA_SETS = ("heart", "titanic", "bank", "nursery", "wine", "synthetic")
PARTITIONS = ("natural", "iid", "dirichlet", "by_feature", "quantity")
#: Kind of a fault: what it does, in a few words.
FAULT_KINDS: Mapping[str, str] = {
    "dropout": "the silo accepts and is lost in mid-round, for good",
    "straggler": "the silo's answers come delay_s seconds late",
    "lost_request": "the first message to train never reaches the silo",
    "lost_reply": "the silo's first answer that it is done is lost on its way",
    "repeated_message": "the message to train reaches the silo twice",
    "silo_killed": "the silo's work ends between training and upload, and begins again when it is asked again",
    "provider_killed": "the provider's process is killed with SIGKILL at a point of an upload, and started again",
    "server_app_killed": "the ServerApp is cut off after some answers; a new one goes on with the round",
    "label_flip": "the silo trains on flipped labels",
    "backdoor": "the silo trains on records with a trigger and the attacker's label",
    "scaled_weights": "the silo multiplies its expert's weights by factor",
    "forged_claim": "the silo claims a smaller epsilon than its mechanisms give",
    "replay": "the silo sends its sealed envelope again after the receipt",
    "late_joiner": "the silo joins before round `round`, not at the founding",
    "withdrawal": "the silo's releases are withdrawn and its keys revoked after round `round`",
}
#: What may have to hold: the number that it needs, or None.
HOLDS: Mapping[str, str | None] = {
    "completes": None,
    "nothing_lost_or_counted_twice": None,
    "delivered_at_least": "share",
    "accuracy_at_least": "value",
    "auc_at_least": "value",
    "accuracy_drop_at_most": "value",
    "beats_every_silo_alone": None,
    "quarantined": None,
    "refused": None,
    "silent": None,
    "budget_kept": None,
    "memory_at_most_gb": "value",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_MOST_SILOS = 1000
_MOST_SEED = 2**32
_SAMPLE = "simulations/scenarios/hospitals.toml"
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """The records.

    Attributes:
        set: one of ``DATA_SETS``.
        records: how many are used, drawn at random by the seed; None for all. Needed for synthetic tables.
        held_out: share of each silo's records that are kept apart for evaluation.
        evaluate_at_most: held-out records that are asked about, over all silos.
        architecture: of the experts; empty for the one of consortia.
    """

    set: str
    records: int | None = None
    held_out: float = 0.25
    evaluate_at_most: int = 4000
    architecture: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """How the records are dealt to silos; see ``simulations.harness.partitions``.

    Attributes:
        kind: one of ``PARTITIONS``.
        silos: how many; None for ``natural``, which knows.
        alpha: concentration of ``dirichlet`` and ``quantity``: the smaller, the more skewed.
        feature: by which ``by_feature`` sorts.
        least: records that every silo has at least.
    """

    kind: str
    silos: int | None = None
    alpha: float = 0.5
    feature: str = ""
    least: int = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Budgets:
    """What releases may cost: epsilon at ``delta``, for one record added or removed.

    Attributes:
        epsilon: what each round offers, and what a silo's policy allows a release.
        lifetime_epsilon: what a silo's policy allows all releases; None for ``epsilon`` times the rounds.
        record_bound: public bound on a silo's records; None for the next power of two, 1024 at least.
        silos: silo id -> another ``epsilon`` of its policy; a silo whose policy allows less declines.
    """

    epsilon: float = 1.0
    delta: float = 1e-4
    lifetime_epsilon: float | None = None
    record_bound: int | None = None
    silos: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounds:
    """How rounds are held.

    Attributes:
        count: rounds, one after another; every silo that takes part trains anew in each.
        participation: share of the silos that are asked in a round, drawn by the seed.
        quorum: share of the asked silos that must accept.
        attempts: how often one question is asked, at most.
        answer_timeout_s: from a round's start to its end.
    """

    count: int = 1
    participation: float = 1.0
    quorum: float = 0.5
    attempts: int = 4
    answer_timeout_s: float = 7200.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Something that goes wrong. Who: ``silos``, or a ``count`` or ``share`` drawn by the seed.

    Attributes:
        kind: a key of ``FAULT_KINDS``.
        round: in which it happens; 0 for all.
        delay_s: of ``straggler``.
        after: ``provider_killed``: at the upload of the so many-th silo that trains; ``server_app_killed``: after so
            many answers.
        point: of ``provider_killed``: a name of ``simulations.review.mortal.PROVIDER_POINTS``.
        factor: of ``scaled_weights`` and ``forged_claim`` (divisor of epsilon).
        poisoned: of ``backdoor``: share of the silo's records that carry the trigger.
    """

    kind: str
    silos: tuple[str, ...] = ()
    count: int | None = None
    share: float | None = None
    round: int = 0
    delay_s: float = 5.0
    after: int = 1
    point: str = "before Registry.accept #1"
    factor: float = 4.0
    poisoned: float = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """Something that must hold at the end.

    Attributes:
        what: a key of ``HOLDS``.
        value: a fraction or a number, where one is needed.
        share: of the silos, where one is needed.
        fault: the kind of fault whose silos ``quarantined``, ``refused`` and ``silent`` are about.
    """

    what: str
    value: float | None = None
    share: float | None = None
    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One scenario; see the module's docstring."""

    name: str
    title: str
    seeds: tuple[int, ...]
    data: Data
    partition: Partition
    privacy: Budgets = field(default_factory=Budgets)
    rounds: Rounds = field(default_factory=Rounds)
    faults: tuple[Fault, ...] = ()
    must_hold: tuple[Hold, ...] = ()
    alternatives: Alternatives = field(default_factory=Alternatives)
    sweep: Sweep = field(default_factory=Sweep)
    growth: Growth = field(default_factory=Growth)
    inference: Inference = field(default_factory=Inference)

    def digest(self) -> str:
        """Hex SHA-256 of all that decides a run but the seeds: what ``--resume`` compares."""
        said = {key: value for key, value in asdict(self).items() if key != "seeds"}
        return hashlib.sha256(repr(said).encode()).hexdigest()


def load_scenario(path: Path) -> Scenario:
    """Read a scenario's file.

    Raises:
        ConfigError: it is missing, is not TOML, has a wrong or unknown key, or asks for what cannot be.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(path, f"a scenario, such as {_SAMPLE}", error.strerror or type(error).__name__) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(path, "TOML", str(error)) from error
    reader = _Reader(path)
    tables: dict[str, Any] = {
        "data": reader.table(Data, document.pop("data", None), "[data]"),
        "partition": reader.table(Partition, document.pop("partition", None), "[partition]"),
        "privacy": reader.table(Budgets, document.pop("privacy", {}), "[privacy]"),
        "rounds": reader.table(Rounds, document.pop("rounds", {}), "[rounds]"),
        "faults": tuple(reader.table(Fault, each, "[[fault]]") for each in reader.tables(document, "fault")),
        "must_hold": tuple(reader.table(Hold, each, "[[must_hold]]") for each in reader.tables(document, "must_hold")),
        "alternatives": reader.table(Alternatives, document.pop("alternatives", {}), "[alternatives]"),
        "sweep": reader.table(Sweep, document.pop("sweep", {}), "[sweep]"),
        "growth": reader.table(Growth, document.pop("growth", {}), "[growth]"),
        "inference": reader.table(Inference, document.pop("inference", {}), "[inference]"),
    }
    scenario = reader.table(Scenario, {**document, **tables}, "the file")
    _require_sense(path, scenario)
    return scenario


@dataclass(frozen=True, slots=True)
class _Reader:
    """Makes dataclasses of tables, and names what is wrong in them."""

    path: Path

    def tables(self, document: dict[str, Any], key: str) -> list[Any]:
        found = document.pop(key, [])
        if not isinstance(found, list):
            raise _wrong(self.path, f"[[{key}]]", f"[{key}]")
        return found

    def table(self, kind: type[_T], table: object, place: str) -> _T:
        known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type] # all are dataclasses
        if not isinstance(table, dict) or (unknown := sorted(set(table) - set(known))):
            got = f"unknown: {', '.join(unknown)}" if isinstance(table, dict) else "no such table"
            raise _wrong(self.path, f"in {place} the keys {', '.join(known)}", got)
        missing = [
            name
            for name, item in known.items()
            if name not in table and item.default is MISSING and item.default_factory is MISSING
        ]
        if missing:
            raise _wrong(self.path, f"in {place} also {', '.join(missing)}", "none")
        return kind(**{key: self._value(known[key].type, table[key], f"{key} of {place}") for key in table})

    def _value(self, wanted: Any, value: Any, place: str) -> Any:  # noqa: ANN401 - what TOML can say
        name = str(getattr(wanted, "__name__", wanted)).replace(" | None", "")
        number = not isinstance(value, bool) and isinstance(value, int | float)
        if "tuple[" in str(wanted) and isinstance(value, list):
            return tuple(value)
        good = {
            "str": isinstance(value, str),
            "int": number and isinstance(value, int),
            "float": number and value == value and abs(value) < float("inf"),  # noqa: PLR0124 - not a number
        }.get(name, True)
        if not good or ("tuple[" in str(wanted) and not isinstance(value, tuple)):
            raise _wrong(self.path, f"for {place}: {wanted}", repr(value)[:80])
        return float(value) if name == "float" else value


def _require_sense(path: Path, scenario: Scenario) -> None:
    data, partition, rounds, privacy = scenario.data, scenario.partition, scenario.rounds, scenario.privacy
    seeds = scenario.seeds
    silo_names = [silo for fault in scenario.faults for silo in fault.silos]
    sense = [
        (bool(_NAME.fullmatch(scenario.name)), "name: small letters, digits and hyphens", scenario.name),
        (
            bool(seeds) and len(set(seeds)) == len(seeds) and all(_is_seed(seed) for seed in seeds),
            "seeds: different whole numbers",
            str(seeds),
        ),
        (data.set in DATA_SETS, f"set: one of {', '.join(DATA_SETS)}", data.set),
        (0.0 < data.held_out < 1.0, "held_out between 0 and 1", str(data.held_out)),
        (data.records is None or data.records > 0, "records above 0", str(data.records)),
        (data.evaluate_at_most > 0, "evaluate_at_most above 0", str(data.evaluate_at_most)),
        (partition.kind in PARTITIONS, f"kind: one of {', '.join(PARTITIONS)}", partition.kind),
        (partition.alpha > 0.0, "alpha above 0", str(partition.alpha)),
        (partition.least > 1, "least: 2 or more, for one is held out", str(partition.least)),
        (
            (partition.silos is None) == (partition.kind == "natural"),
            "silos for every partition but natural",
            str(partition.silos),
        ),
        (1 <= (partition.silos or 1) <= _MOST_SILOS, f"1 to {_MOST_SILOS} silos", str(partition.silos)),
        (rounds.count >= 1 and rounds.attempts >= 1, "count and attempts: 1 or more", str(rounds.count)),
        (0.0 < rounds.participation <= 1.0, "participation above 0, at most 1", str(rounds.participation)),
        (0.0 <= rounds.quorum <= 1.0, "quorum from 0 to 1", str(rounds.quorum)),
        (rounds.answer_timeout_s > 0.0, "answer_timeout_s above 0", str(rounds.answer_timeout_s)),
        (privacy.epsilon > 0.0 and 0.0 < privacy.delta < 1.0, "epsilon above 0, delta between 0 and 1", "others"),
        (all(isinstance(silo, str) for silo in silo_names), "silos: ids", "others"),
        (
            data.set in {"heart", "synthetic"} or partition.kind != "natural",
            "a natural partition of heart or synthetic",
            data.set,
        ),
        (
            data.set != "synthetic" or partition.kind == "natural" or data.records is not None,
            "records = so many, for a synthetic table",
            "none",
        ),
        (
            scenario.inference.questions >= 0 and (data.set != "synthetic" or not scenario.inference.questions),
            "questions in [inference]: 0 or more, and of a data set that has wordings",
            f"{scenario.inference.questions} of {data.set}",
        ),
        ((partition.kind == "by_feature") == bool(partition.feature), "feature, for by_feature only", "other"),
    ]
    beside = checks(
        scenario.alternatives,
        scenario.sweep,
        scenario.growth,
        rounds=rounds.count,
        partition=partition.kind,
        budgets=privacy.silos,
    )
    for good, expected, got in [*sense, *beside]:
        if not good:
            raise _wrong(path, expected, got)
    for fault in scenario.faults:
        _require_fault(path, fault, rounds)
    for hold in scenario.must_hold:
        _require_hold(path, hold, {fault.kind for fault in scenario.faults})


def _require_fault(path: Path, fault: Fault, rounds: Rounds) -> None:
    if fault.kind not in FAULT_KINDS:
        raise _wrong(path, f"a fault's kind: one of {', '.join(FAULT_KINDS)}", fault.kind)
    of_silos = fault.kind not in {"provider_killed", "server_app_killed"}
    said = [bool(fault.silos), fault.count is not None, fault.share is not None].count(True)
    if said != int(of_silos):
        raise _wrong(path, "silos, count or share, one of them" if of_silos else "no silos", f"{fault.kind}: {said}")
    if not 0.0 < (1.0 if fault.share is None else fault.share) <= 1.0 or (fault.count or 1) < 1:
        raise _wrong(path, "a share above 0 and at most 1, or a count above 0", fault.kind)
    if not 0 <= fault.round <= rounds.count or fault.delay_s < 0 or fault.after < 1 or fault.factor <= 0:
        raise _wrong(path, f"round 0 to {rounds.count}, delay_s 0 or more, after and factor above 0", fault.kind)
    if fault.kind == "late_joiner" and fault.round < 2:  # noqa: PLR2004 - who is there in the first is not late
        raise _wrong(path, "round 2 or later, for a late joiner", str(fault.round))
    if fault.kind == "withdrawal" and fault.round < 1:
        raise _wrong(path, "round: after which the silo is withdrawn", str(fault.round))


def _require_hold(path: Path, hold: Hold, kinds: set[str]) -> None:
    if hold.what not in HOLDS:
        raise _wrong(path, f"what: one of {', '.join(HOLDS)}", hold.what)
    needed = HOLDS[hold.what]
    if needed is not None and getattr(hold, needed) is None:
        raise _wrong(path, f"{needed}, for {hold.what}", "none")
    if hold.what in {"quarantined", "refused", "silent"} and hold.fault not in kinds:
        raise _wrong(path, f"fault: a kind that the scenario injects, for {hold.what}", hold.fault or "none")


def _is_seed(seed: object) -> bool:
    return isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < _MOST_SEED


def _wrong(path: Path, expected: str, got: str) -> ConfigError:
    return ConfigError(
        f"{path} is no usable scenario.",
        expected=expected,
        got=got[:200],
        next_step="mend the file; docs/scenarios.md has its keys",
    )
