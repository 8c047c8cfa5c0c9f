"""The entry of ``llamdex-silo``."""

from typing import NoReturn

import typer

from llamdex_fl import console

__all__ = ["app", "main"]

app = typer.Typer(
    name="llamdex-silo",
    help="Run a silo: train an expert under differential privacy on records that stay here, and send it sealed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> NoReturn:
    """Run the program."""
    console.run(app)
