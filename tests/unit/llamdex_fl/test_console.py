"""How a console program ends: typed errors, exit codes, no traceback and no text of an unforeseen error."""

import json
from pathlib import Path
from typing import Annotated, NoReturn

import pytest
import typer
from rich.console import Console

from llamdex_fl import console
from llamdex_fl.errors import ConfigError, InternalError, LlamdexError, ProcessError


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


def test_a_typed_error_is_one_json_object_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigError("It is [/] odd.", expected="[a]", got="[b]", next_step="[c]")
    code, text = end(capsys, error, "--json")
    assert (code, json.loads(text)) == (2, error.as_dict())
    assert len(text.splitlines()) == 1


def test_brackets_in_an_error_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigError("No file /some/[/bold]/x.", expected="[a]", got="[/]", next_step="[c]")
    text = end(capsys, error)[1]
    assert all(part in text for part in ("/some/[/bold]/x", "expected: [a]", "got: [/]", "next step: [c]"))


def test_who_aborts_a_prompt_has_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = end(capsys, typer.Abort())
    assert code == 130
    assert "the same command goes on" in text


def test_an_exit_code_of_a_command_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(capsys, typer.Exit(3))[0] == 3


def test_a_command_that_succeeds_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def work() -> None:
        console.print_json({"b": [1.5, None], "a": "ü"})

    with pytest.raises(SystemExit) as ended:
        console.run(app, [])
    assert ended.value.code == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {"a": "ü", "b": [1.5, None]}
    assert not told.err


def test_json_results_hold_no_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        console.print_json({"a": float("nan")})


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress() as shown:
        shown.update(shown.add_task("work", total=2), completed=1)
    assert capsys.readouterr() == ("", "")


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


def test_in_a_log_a_stage_has_a_line_where_it_begins_and_one_where_it_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "stderr", Console(stderr=True, force_terminal=False))
    with console.stages() as told:
        for done in range(4):
            told("cut [wood]", done, 3)
        told("rest", 0, 0)
    lines = [line.split("s  ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["cut [wood] ...", "cut [wood] done", "rest ..."]
