"""The demo's directory: found again, never overwritten, one run at a time."""

import json
from pathlib import Path

import pytest

from llamdex_fl.errors import ConfigError, PortInUseError
from llamdex_fl.schema import load_library_schema
from simulations.datasets import LabelledRecord, Split
from simulations.demo import consortium
from simulations.demo.consortium import Domain, claimed, found

HEART, TITANIC = load_library_schema("heart"), load_library_schema("titanic")


def _split(age: int) -> Split:
    record = LabelledRecord(features={"age": age, "sex": "male"}, label=0)
    return Split(train=(record,) * 4, held_out=())


def _domains(age: int = 50) -> list[Domain]:
    return [Domain(HEART, {"north": _split(age), "south": _split(61)}), Domain(TITANIC, {"archive": _split(30)})]


def test_a_consortium_is_founded_once_and_found_again(tmp_path: Path) -> None:
    first = found(tmp_path, _domains())
    assert set(first.silo_homes) == {"north", "south", "archive"}
    ledger = first.silo_homes["north"] / "ledger.sqlite"
    ledger.write_bytes(b"spent")
    assert found(tmp_path, _domains()) == first
    assert ledger.read_bytes() == b"spent"


@pytest.mark.parametrize("name", ["provider", "silos", "work"])
def test_what_somebody_else_put_there_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="overwrite") as refusal:
        found(tmp_path, _domains())
    assert name in refusal.value.got
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "thesis.tex").exists()


def test_another_seeds_ledgers_stay(tmp_path: Path) -> None:
    """The same patients would get a budget that they have spent."""
    first = found(tmp_path, _domains())
    ledger = first.silo_homes["north"] / "ledger.sqlite"
    ledger.write_bytes(b"spent")
    with pytest.raises(ConfigError, match="overwrite") as refusal:
        found(tmp_path, _domains(age=51))
    assert "seed" in refusal.value.got
    assert ledger.read_bytes() == b"spent"
    assert found(tmp_path, _domains()) == first


def test_a_damaged_state_is_no_leave_to_overwrite(tmp_path: Path) -> None:
    found(tmp_path, _domains())
    (tmp_path / "demo.json").write_text("{")
    with pytest.raises(ConfigError, match="overwrite"):
        found(tmp_path, _domains())
    assert (tmp_path / "silos" / "north").exists()


def test_a_founding_that_was_cut_off_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(consortium, "add_silo", cut)
        with pytest.raises(KeyboardInterrupt):
            found(tmp_path, _domains())
    assert "provider_home" not in json.loads((tmp_path / "demo.json").read_text())
    assert (tmp_path / "provider").exists()
    assert set(found(tmp_path, _domains()).silo_homes) == {"north", "south", "archive"}


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with claimed(tmp_path / "out"), pytest.raises(PortInUseError, match="Another run"), claimed(tmp_path / "out"):
        pytest.fail("two at once")
    with claimed(tmp_path / "out"):
        pass
