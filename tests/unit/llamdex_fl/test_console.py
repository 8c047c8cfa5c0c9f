"""How a console program ends: typed errors, exit codes, no traceback and no text of an unforeseen error."""

import json
from pathlib import Path
from typing import Annotated, NoReturn

import pytest
import typer

from llamdex_fl import console
from llamdex_fl.errors import InternalError, LlamdexError, ProcessError


def end(capsys: pytest.CaptureFixture[str], error: BaseException, *arguments: str) -> tuple[int, str]:
    app = typer.Typer()

    @app.command()
    def fail(*, _as_json: Annotated[bool, typer.Option("--json")] = False) -> NoReturn:
        raise error

    with pytest.raises(SystemExit) as ended:
        console.run(app, arguments)
    assert isinstance(ended.value.code, int)
    told = capsys.readouterr()
    assert not told.out
    return ended.value.code, told.err


def test_an_unforeseen_error_is_named_by_its_kind_only(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = end(capsys, ValueError("cell 63 of row 2"), "--json")
    told = json.loads(text)
    assert (code, told["error"], told["got"]) == (1, InternalError.__name__, "ValueError")
    assert "63" not in text
    assert "Traceback" not in text


def test_a_traceback_is_for_who_asks_for_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMDEX_TRACEBACK", "1")
    assert "Traceback" in end(capsys, ValueError("why"))[1]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotADirectoryError(20, "Not a directory", "home"), 2),
        (PermissionError(13, "Permission denied", "home"), 2),
        (OSError(28, "No space left on device", "home"), 1),
        (ProcessError("It died.", expected="a", got="b", next_step="c"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(capsys: pytest.CaptureFixture[str], error: BaseException, code: int) -> None:
    got, text = end(capsys, error)
    assert got == code
    assert "Traceback" not in text
    if not isinstance(error, KeyboardInterrupt):
        assert all(part in text for part in ("expected: ", "got: ", "next step: "))
    if isinstance(error, OSError) and not isinstance(error, LlamdexError):
        assert "home" in text


def test_a_wrong_command_line_has_a_json_form_too(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = end(capsys, AssertionError(), "--json", "--frobnicate")
    told = json.loads(text)
    assert code == 2
    assert set(told) == {"error", "problem", "expected", "got", "next_step"}
    assert "--frobnicate" in told["got"]


def test_arguments_keep_their_help(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def look(home: Annotated[Path, typer.Argument(help="Where it lives.")]) -> None:
        """Look."""

    with pytest.raises(SystemExit) as ended:
        console.run(app, ["--help"])
    assert ended.value.code == 0
    assert "Where it lives." in capsys.readouterr().out
