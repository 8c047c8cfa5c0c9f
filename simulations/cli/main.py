"""The entry of ``llamdex-sim``."""

from typing import NoReturn

import typer

from llamdex_fl import console

__all__ = ["app", "main"]

app = typer.Typer(
    name="llamdex-sim",
    help="Simulate a consortium on one machine: the demo, many silos, and the proof against the alternatives.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> NoReturn:
    """Run the program."""
    console.run(app)
