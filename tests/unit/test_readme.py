"""The README shows commands and paths; they must exist."""

import re
from pathlib import Path

import click
import pytest
import typer

from provider_server.cli import main as _provider  # noqa: F401 - registers the commands
from provider_server.cli.main import app as provider_app
from silo_client.cli import main as _silo  # noqa: F401 - registers the commands
from silo_client.cli.main import app as silo_app
from simulations.cli import main as _sim  # noqa: F401 - registers the commands
from simulations.cli.main import app as sim_app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = {"llamdex-provider": provider_app, "llamdex-silo": silo_app, "llamdex-sim": sim_app}


def _shown() -> list[tuple[str, str, str]]:
    """(program, command, rest of the line up to the closing backtick)."""
    texts = re.findall(r"`([^`]+)`", README) + README.splitlines()
    found = {match.groups() for text in texts for match in re.finditer(r"(llamdex-\w+) ([a-z-]+)([^`\n]*)", text)}
    return sorted((program, command, rest) for program, command, rest in found if program in PROGRAMS)


def test_the_readme_shows_commands_of_all_programs():
    assert {program for program, _, _ in _shown()} == set(PROGRAMS)


@pytest.mark.parametrize(("program", "command", "rest"), _shown())
def test_a_shown_command_exists_with_its_options(program: str, command: str, rest: str):
    group = typer.main.get_command(PROGRAMS[program])
    assert isinstance(group, click.Group)
    assert command in group.commands
    shown = group.commands[command]
    # A group of commands: the next word is the command, wherever one is shown.
    words = rest.split()
    if isinstance(shown, click.Group) and words and not words[0].startswith("-"):
        shown = shown.commands[words[0]]
    known = {option for parameter in shown.params for option in parameter.opts}
    assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= known


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


def test_links_lead_to_files():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
