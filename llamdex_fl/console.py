"""What the three console programs share: exit codes, error printing, progress bars.

Exit codes: 0 done, 2 the caller's fault, 1 ours, 130 interrupted. Errors go to stderr, as text or, with
``--json`` on the command line, as one JSON object; stdout carries results only.

Nobody gets a traceback who did not ask for one with LLAMDEX_TRACEBACK=1: the text of an unforeseen error may hold
what a silo keeps to itself.
"""

import functools
import getpass
import json
import os
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import click
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from llamdex_fl.errors import ConfigError, InputError, InternalError, LlamdexError, SystemRefusedError

__all__ = [
    "AskPassphrase",
    "PassphraseFile",
    "passphrase",
    "print_json",
    "progress",
    "run",
    "stages",
    "stderr",
    "stdout",
]

#: For people: tables and text that are the result.
stdout = Console()
#: For people: progress, notes and errors.
stderr = Console(stderr=True)

_INTERRUPTED = 130
_TRACEBACK = "LLAMDEX_TRACEBACK"
_PASSPHRASE = "LLAMDEX_PASSPHRASE"  # noqa: S105 - the name of a variable
_PASSPHRASE_FILE = "LLAMDEX_PASSPHRASE_FILE"  # noqa: S105 - see above
_LONGEST_PASSPHRASE = 1024


#: The option of every command that reads or makes private keys.
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File (mode 0600) whose first line is the passphrase of the private keys. Else $LLAMDEX_PASSPHRASE_FILE "
        "names such a file, or $LLAMDEX_PASSPHRASE is the passphrase, or a terminal asks.",
    ),
]
#: The option of every command that makes the first private keys.
AskPassphrase = Annotated[
    bool, typer.Option("--ask-passphrase", help="Ask on the terminal for a passphrase that will protect the keys.")
]


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


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """Show work in stages: what is yielded is told (stage, done, in all); in all 0 while it is not known.

    On a terminal, a bar a stage with the time left. Else, in a log or a pipe, a line where a stage begins and one where
    it ends, after the seconds since the first.
    """
    with progress() as shown:
        tasks: dict[str, TaskID] = {}
        began = time.monotonic()

        def told(stage: str, done: int, total: int) -> None:
            fresh = stage not in tasks
            if fresh:
                tasks[stage] = shown.add_task(stage, total=None)
            shown.update(tasks[stage], completed=done, total=total or None)
            if shown.disable and (fresh or done == total > 0):
                state = "done" if done == total > 0 else "..."
                stderr.print(f"{time.monotonic() - began:5.0f} s  {stage} {state}", highlight=False, markup=False)

        yield told


def passphrase(file: Path | None = None, *, new: bool = False, ask: bool = False) -> Callable[[], bytes] | None:
    """Where the passphrase of private keys comes from; it is read when it is first needed, and once a process.

    In this order: ``file``, the file that $LLAMDEX_PASSPHRASE_FILE names, $LLAMDEX_PASSPHRASE, the terminal. Never
    the command line, which every user of the machine can read.

    Args:
        file: mode 0600 (refused otherwise); its first line is the passphrase.
        new: for keys that are about to be made: without ``ask``, the terminal is no source, and keys get no
            passphrase that nobody asked for.
        ask: ask on the terminal, twice if ``new``.

    Returns:
        None if there is no source: then keys that are made are files of mode 0600, and encrypted ones are refused.
    """
    if file is None and os.environ.get(_PASSPHRASE_FILE):
        file = Path(os.environ[_PASSPHRASE_FILE])
    if file is not None:
        return functools.cache(functools.partial(_passphrase_of, file))
    if os.environ.get(_PASSPHRASE):
        return functools.cache(os.environ[_PASSPHRASE].encode)
    if ask or (not new and sys.stdin.isatty()):
        return functools.cache(functools.partial(_asked, twice=new))
    return None


def _passphrase_of(file: Path) -> bytes:
    with file.open("rb") as stream:
        status = os.fstat(stream.fileno())
        line = stream.read(_LONGEST_PASSPHRASE).split(b"\n", 1)[0].rstrip(b"\r")
    if stat.S_IMODE(status.st_mode) & 0o077 or not line:
        raise ConfigError(
            f"The passphrase's file {file} is not usable.",
            expected="mode 0600, and the passphrase in its first line",
            got=f"mode {stat.S_IMODE(status.st_mode):04o}, {'a' if line else 'an empty'} first line",
            next_step=f"chmod 600 {file}, and write the passphrase into it",
        )
    return line


def _asked(*, twice: bool) -> bytes:
    first = getpass.getpass("Passphrase of the private keys: ")
    if not first or (twice and getpass.getpass("The same again: ") != first):
        raise ConfigError(
            "There is no passphrase.",
            expected="a passphrase, typed twice alike where keys are made",
            got="nothing, or two different ones",
            next_step="give the command again",
        )
    return first.encode()


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a console program and leave the process with the right exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    try:
        code = _command(app).main(args=given, standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _report_usage(error, as_json=as_json)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        stderr.print("Interrupted. What was finished is kept; the same command goes on from there.")
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has enough of it; Python would complain once more when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the one place where a program ends
        if os.environ.get(_TRACEBACK):
            traceback.print_exc()
        told = _told(error)
        _report(told, as_json=as_json)
        sys.exit(told.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _command(app: typer.Typer) -> click.Command:
    """The program, with the help of its arguments: typer 0.20 (Flower's pin) loses it under click 8.4 and later."""
    command: click.Command = typer.main.get_command(app)
    groups = getattr(command, "commands", {}).values()
    for part in [command, *groups, *(inner for group in groups for inner in getattr(group, "commands", {}).values())]:
        annotations = getattr(part.callback, "__annotations__", {})
        for parameter in part.params:
            if isinstance(parameter, click.Argument) and not getattr(parameter, "help", None):
                found = getattr(annotations.get(parameter.name), "__metadata__", ())
                vars(parameter)["help"] = next((info.help for info in found if getattr(info, "help", None)), None)
    return command


def _told(error: Exception) -> LlamdexError:
    """What to say of an error. One that was not foreseen is named by its kind only."""
    if isinstance(error, LlamdexError):
        return error
    if isinstance(error, OSError):
        callers = isinstance(
            error, FileExistsError | FileNotFoundError | IsADirectoryError | NotADirectoryError | PermissionError
        )
        kind: type[LlamdexError] = ConfigError if callers else SystemRefusedError
        where = f": {error.filename}" if isinstance(error.filename, str) else ""
        return kind(
            "The operating system refused.",
            expected="files and directories that this user may read and write, and room on the disk",
            got=f"{error.strerror or type(error).__name__}{where}",
            next_step="mend the path or its permissions, and give the command again",
        )
    return InternalError(
        "The program failed: a bug of Llamdex FL.",
        expected="a result, or an error that says what to mend",
        got=type(error).__name__,
        next_step=f"give the command again with {_TRACEBACK}=1 and report what it prints, once no record is in it",
    )


def _report_usage(error: click.ClickException, *, as_json: bool) -> None:
    if not as_json:
        error.show()
        return
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "the program"
    told = InputError(
        "The command line is not usable.",
        expected=context.get_usage().removeprefix("Usage: ") if context is not None else "other arguments",
        got=error.format_message(),
        next_step=f"see {path} --help",
    )
    _report(told, as_json=True)


def _report(error: LlamdexError, *, as_json: bool) -> None:
    if as_json:
        sys.stderr.write(json.dumps(error.as_dict()) + "\n")
        return
    stderr.print(f"[bold red]{type(error).__name__}[/]: {escape(error.problem)}", highlight=False, soft_wrap=True)
    for label, text in (("expected", error.expected), ("got", error.got), ("next step", error.next_step)):
        stderr.print(f"  {label}: {text}", highlight=False, markup=False, soft_wrap=True)
