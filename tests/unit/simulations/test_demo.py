"""The demo's questions, figures and report, on a tiny assembly; ``make demo`` runs the whole."""

import json
import math
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from llamdex_fl.assembly import AssembledLlamdex, Seat, assembled, evaluate, evaluate_base
from llamdex_fl.base_llm.base import load_base_llm
from llamdex_fl.connectors.injector import Injector
from llamdex_fl.connectors.reader import Reader, reader
from llamdex_fl.errors import LlamdexError, PolicyError, ProcessError
from llamdex_fl.rounds import Answer as Outcome
from llamdex_fl.schema import Value, load_library_schema
from simulations.datasets import LabelledRecord, Split
from simulations.demo import write_report
from simulations.demo.consortium import Domain
from simulations.demo.figures import Measured, figures
from simulations.demo.report import summary_rows
from simulations.demo.rounds import Rounds
from simulations.demo.stages import _Clock
from simulations.evaluation import held_out_questions, ordinary_routes

HEART, TITANIC = load_library_schema("heart"), load_library_schema("titanic")


def _split(seed: int, held_out: int) -> Split:
    rng = np.random.default_rng(seed)

    def record(number: int) -> LabelledRecord:
        features: dict[str, Value] = {"age": int(rng.integers(20, 90)), "sex": "male" if number % 3 else "female"}
        return LabelledRecord(features=features, label=number % 2)

    return Split(train=tuple(map(record, range(8))), held_out=tuple(map(record, range(held_out))))


@pytest.fixture(scope="module", autouse=True)
def room() -> Iterator[None]:
    """The tiny encoder has a token a letter: a question may be longer for it than for the real one."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (reader, assembled):
            patch.setattr(module, "MOST_TOKENS", 500)
        yield


@pytest.fixture(scope="module")
def heart() -> Domain:
    return Domain(HEART, {"north": _split(1, 4), "south": _split(2, 2)})


@pytest.fixture(scope="module")
def titanic() -> Domain:
    return Domain(TITANIC, {"archive": _split(3, 3)})


@pytest.fixture(scope="module")
def assembly(
    make_tiny_llm: Callable[[str], Path], tiny_encoder: Path, make_seat: Callable[..., Seat]
) -> AssembledLlamdex:
    base = load_base_llm(str(make_tiny_llm("llama")))
    reader = Reader.untrained(tiny_encoder, [HEART, TITANIC], layers=1)
    made = AssembledLlamdex(base, reader, Injector(base.width, 0.2, base.digest))
    made.seat("heart", make_seat(HEART, "north", 1))
    made.seat("heart", make_seat(HEART, "south", 2))
    made.seat("titanic", make_seat(TITANIC, "archive", 3))
    for name, bias in (("heart", 100.0), ("titanic", -100.0)):
        reader.network.vocabulary(name).route_bias.data.fill_(bias)
    return made


@pytest.fixture(scope="module")
def report(assembly: AssembledLlamdex, heart: Domain, titanic: Domain) -> dict[str, Any]:
    """As ``run_demo`` puts it together."""
    release: Any = SimpleNamespace(receipt_id="a1" * 16, artefact_digest="b2" * 32)
    measured = Measured(
        assembly=assembly,
        splits=heart.splits,
        releases={"north": release, "south": release},
        base=evaluate_base(assembly.base, {"heart": HEART}, held_out_questions(heart.schema, heart.splits, 0, 2)),
        patients=evaluate(assembly, held_out_questions(heart.schema, heart.splits, 0), timed=1, base_asked=0),
        passengers=evaluate(assembly, held_out_questions(titanic.schema, titanic.splits, 0, 2), timed=0, base_asked=0),
        ordinary=ordinary_routes(assembly),
    )
    timings = {"data_s": 0.1, "rounds_s": 20.0, "questions_s": 3.5, "total_s": 23.6}
    return {
        **figures(measured),
        "timings": timings,
        "rounds": [],
        "reused": {"experts": True, "connectors": False},
        "seed": 0,
    }


def test_questions_are_of_held_out_records_and_the_silos_take_turns(heart: Domain) -> None:
    asked = held_out_questions(heart.schema, heart.splits, 0)
    assert [question.identity for question in asked] == [
        "north-0",
        "south-0",
        "north-1",
        "south-1",
        "north-2",
        "north-3",
    ]
    for question in asked:
        silo, number = question.identity.split("-")
        record = heart.splits[silo].held_out[int(number)]
        assert question.asker == silo
        assert question.label == HEART.target.labels[record.label]
        assert set(question.features) == {feature.name for feature in HEART.features}
        assert {name: value for name, value in question.features.items() if value is not None} == record.features


def test_a_seed_fixes_the_questions(heart: Domain) -> None:
    asked = held_out_questions(heart.schema, heart.splits, 3)
    assert asked == held_out_questions(heart.schema, heart.splits, 3)
    assert asked[:2] == held_out_questions(heart.schema, heart.splits, 3, 2)
    other = held_out_questions(heart.schema, heart.splits, 4)
    assert [q.question for q in asked] != [q.question for q in other]


def test_the_figures_are_those_of_the_held_out_records(
    report: dict[str, Any], assembly: AssembledLlamdex, heart: Domain
) -> None:
    held_out = [record for own in heart.splits.values() for record in own.held_out]
    truth = [record.label for record in held_out]
    assert report["majority_rate"] == max(truth.count(0), truth.count(1)) / len(truth)
    for row, seat in zip(report["silos"], assembly.seats("heart"), strict=True):
        said = seat.expert.predict_proba([record.features for record in held_out]).argmax(1)
        assert row["alone_accuracy"] == pytest.approx(float(np.mean(said == np.array(truth))))
        assert (row["id"], row["records"], row["held_out"]) == (seat.silo, 8, len(heart.splits[seat.silo].held_out))
        assert (row["epsilon"], row["unit"], row["adjacency"]) == (1.0, "record", "add_or_remove_one")
    assert report["assembled"]["questions"] == len(held_out)
    assert report["second_domain"]["silo"] == "archive"
    assert report["routing"]["ordinary"]["asked"] >= 100


class _Tags(HTMLParser):
    """Collects what a page would load from elsewhere, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {name}={value}" for name, value in attrs if name in {"src", "href"}]
        if tag == "script":
            self.loads.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_is_for_programs_and_for_people(report: dict[str, Any], tmp_path: Path) -> None:
    hostile = {**report["answers"][0], "question": "<script>alert(1)</script>", "text": "<b>bold</b>"}
    shown = {**report, "answers": [hostile, *report["answers"][1:]]}
    json_path, html_path = write_report(shown, tmp_path)
    assert json.loads(json_path.read_text(encoding="utf-8")) == json.loads(json.dumps(shown))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    page = _Tags()
    page.feed(html_path.read_text(encoding="utf-8"))
    assert [load for load in page.loads if not re.search(r"href=#", load)] == [], "the page must stand alone"
    assert "<script>alert(1)</script>" in page.text
    assert "<b>bold</b>" in page.text
    for silo in report["silos"]:
        assert silo["id"] in page.text
        assert silo["receipt"][:16] in page.text
    assert f"{100 * report['assembled']['accuracy']:.1f} %" in page.text
    assert "archive (titanic)" in page.text


def test_a_report_that_cannot_be_made_leaves_the_old_one(report: dict[str, Any], tmp_path: Path) -> None:
    write_report(report, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="JSON"):
        write_report({**report, "majority_rate": math.nan}, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_terminal_shows_every_silo_and_the_whole(report: dict[str, Any]) -> None:
    rows = dict(summary_rows(report))
    assert {
        "north alone",
        "south alone",
        "majority",
        "base LLM alone, by what it says",
        "reader, exact match",
        "routing",
        "time",
    } <= set(rows)
    assert rows["time"] == "24 s"
    assert rows["epsilon a hospital, at most"] == "1.000"


def test_the_clock_counts_by_stage() -> None:
    clock = _Clock()
    with clock("one"):
        pass
    with pytest.raises(KeyError), clock("two"):
        raise KeyError
    assert list(clock.seconds) == ["one"]
    assert 0 <= clock.seconds["one"] <= clock.total()


@pytest.mark.parametrize(
    ("outcome", "error", "code"),
    [(Outcome.BUDGET_SPENT, PolicyError, 2), (Outcome.PROVIDER_UNREACHABLE, ProcessError, 1)],
)
def test_a_refusal_that_stays_is_told_apart_from_one_that_passes(
    heart: Domain, tmp_path: Path, outcome: Outcome, error: type[LlamdexError], code: int
) -> None:
    config: Any = SimpleNamespace(registry=tmp_path / "registry.sqlite", home=tmp_path)
    founded: Any = SimpleNamespace(provider="p", silo_homes={"north": tmp_path / "north", "south": tmp_path / "south"})
    rounds = Rounds(tmp_path, founded, config, "b" * 64, lambda *_: None)
    silos = [SimpleNamespace(silo="north", outcome=str(outcome)), SimpleNamespace(silo="south", outcome="DONE")]
    consortium: Any = SimpleNamespace(run_round=lambda *_: SimpleNamespace(silos=silos))
    with pytest.raises(error) as refusal:
        rounds._hold(consortium, heart, ["north", "south"])
    assert refusal.value.exit_code == code
    assert str(outcome) in refusal.value.got
    assert ("daemon.log" in refusal.value.next_step) == (code == 2)
