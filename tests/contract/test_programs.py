"""What every console program must do: help for all that it can, and errors that say what to mend."""

import json
import re
from collections.abc import Sequence

import pytest
import typer

from llamdex_fl import console
from provider_server import cli as _provider
from provider_server.cli.main import app as provider
from silo_client import cli as _silo
from silo_client.cli.main import app as silo
from simulations import cli as _sim
from simulations.cli.main import app as sim

#: Importing these packages registers their commands.
PROGRAMS = {"llamdex-provider": (provider, _provider), "llamdex-silo": (silo, _silo), "llamdex-sim": (sim, _sim)}


def _run(app: typer.Typer, arguments: Sequence[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        console.run(app, arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def _commands(app: typer.Typer) -> list[str]:
    return sorted(getattr(typer.main.get_command(app), "commands"))  # noqa: B009 - typer's types do not tell


EVERY = [(program, command) for program, (app, _) in PROGRAMS.items() for command in _commands(app)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_lists_its_commands(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    app = PROGRAMS[program][0]
    assert app.info.name == program
    assert _run(app, ["--help"]) == 0
    told = capsys.readouterr().out
    assert all(re.search(rf"\b{re.escape(command)}\b", told) for command in _commands(app))


def test_the_commands_that_people_were_told_of_are_there() -> None:
    assert {"ask", "connect", "enrol", "eval", "invite", "revoke", "rotate", "serve"} <= set(_commands(provider))
    assert {"check", "enrol", "init", "inspect", "join", "keys", "ledger", "log", "rotate", "serve", "update"} <= set(
        _commands(silo)
    )
    assert {"demo", "seeds"} <= set(_commands(sim))


@pytest.mark.parametrize(("program", "command"), EVERY)
def test_a_command_helps(program: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    app = PROGRAMS[program][0]
    assert _run(app, [command, "--help"]) == 0
    told = capsys.readouterr()
    assert "Usage:" in told.out
    assert command in told.out
    assert not told.err


@pytest.mark.parametrize(("program", "command"), EVERY)
def test_a_command_has_help_for_all_it_takes(program: str, command: str) -> None:
    parsed = getattr(typer.main.get_command(PROGRAMS[program][0]), "commands")[command]  # noqa: B009
    assert parsed.help
    assert parsed.help.split("\n")[0].rstrip().endswith((".", ";"))
    options = [parameter for parameter in parsed.params if parameter.param_type_name == "option"]
    assert all(getattr(option, "help", None) for option in options), [option.name for option in options]


@pytest.mark.parametrize(("program", "command"), EVERY)
def test_an_unknown_option_is_the_callers_fault(program: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(PROGRAMS[program][0], [command, "--no-such-option"]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert "--no-such-option" in told.err


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_unknown_command_is_the_callers_fault(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(PROGRAMS[program][0], ["no-such-command", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"] == "InputError"
