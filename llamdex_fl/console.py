"""What the three console programs share: exit codes, error printing, progress bars.

Exit codes: 0 done, 2 the caller's fault, 1 ours, 130 interrupted. Errors go to stderr, as text or, with
``--json`` on the command line, as one JSON object; stdout carries results only.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from llamdex_fl.errors import LlamdexError

__all__ = ["print_json", "progress", "run", "stderr", "stdout"]

#: For people: tables and text that are the result.
stdout = Console()
#: For people: progress, notes and errors.
stderr = Console(stderr=True)

_INTERRUPTED = 130


def print_json(document: Any) -> None:  # noqa: ANN401 - what JSON can say
    """Print a result for a program: one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n")


def progress() -> Progress:
    """A progress display with time left, on stderr; silent where stderr is not a terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr,
        transient=False,
        disable=not stderr.is_terminal,
    )


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a console program and leave the process with the right exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = typer.main.get_command(app).main(args=given, standalone_mode=False)
    except LlamdexError as error:
        _report(error, as_json="--json" in given)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        stderr.print("Interrupted. What was finished is kept; the same command goes on from there.")
        sys.exit(_INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _report(error: LlamdexError, *, as_json: bool) -> None:
    if as_json:
        sys.stderr.write(json.dumps(error.as_dict()) + "\n")
        return
    stderr.print(f"[bold red]{type(error).__name__}[/]: {escape(error.problem)}", highlight=False, soft_wrap=True)
    for label, text in (("expected", error.expected), ("got", error.got), ("next step", error.next_step)):
        stderr.print(f"  {label}: {text}", highlight=False, markup=False, soft_wrap=True)
