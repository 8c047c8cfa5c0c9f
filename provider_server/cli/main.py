"""The entry of ``llamdex-provider``."""

from typing import NoReturn

import typer

from llamdex_fl import console

__all__ = ["app", "main"]

app = typer.Typer(
    name="llamdex-provider",
    help="Run a provider: take sealed experts from silos, plug them into a frozen LLM, and answer questions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> NoReturn:
    """Run the program."""
    console.run(app)
