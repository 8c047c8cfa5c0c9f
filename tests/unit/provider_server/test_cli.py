"""The provider's commands as they are typed."""

import json
from pathlib import Path

import pytest

from llamdex_fl import console
from llamdex_fl.schema import load_library_schema
from provider_server.cli.main import app


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        console.run(app, [str(argument) for argument in arguments])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    made = run(capsys, "init", tmp_path / "home", "--id", "clinic", "--trust-domain", "hearts.example", "--json")
    assert made[0] == 0
    assert len(json.loads(made[1])["root_fingerprint"]) == 64
    return tmp_path / "home"


def test_a_schema_is_added_by_its_name_or_its_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / "titanic.json"
    file.write_text(json.dumps(load_library_schema("titanic").as_dict()), encoding="utf-8")
    assert run(capsys, "add-schema", home, "heart", file)[0] == 0
    digests = {load_library_schema(name).digest() for name in ("heart", "titanic")}
    assert {path.stem for path in (home / "schemas").iterdir()} == digests


def test_one_wrong_schema_adds_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "add-schema", home, "heart", "nothere.json")
    assert (code, out) == (2, "")
    assert "next step" in err
    assert not list((home / "schemas").iterdir())


@pytest.mark.parametrize("command", ["rounds", "releases"])
def test_a_home_that_is_none_is_said_to_be_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, out, err = run(capsys, command, tmp_path / "none", "--json")
    assert (code, out) == (2, "")
    assert json.loads(err)["next_step"] == "make one with: llamdex-provider init"


def test_what_is_missing_is_told_before_the_llm_is_loaded(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("provider_server.fitting.load_base_llm", load)
    assert run(capsys, "add-schema", home, "heart")[0] == 0
    for arguments, code, error in (
        (["ask", " "], 2, "QuestionError"),
        (["ask", "Is he ill?"], 1, "ArtefactError"),
        (["eval", "--questions", "nothere.jsonl"], 2, "QuestionError"),
    ):
        got, out, err = run(capsys, *arguments, "--home", home, "--json")
        assert (got, out, json.loads(err)["error"]) == (code, "", error)
