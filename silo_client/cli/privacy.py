"""The group ``llamdex-silo privacy``."""

import typer

from silo_client.cli.main import app

__all__ = ["privacy"]

privacy = typer.Typer(no_args_is_help=True, help="What privacy costs, and an audit of whether it is kept.")
app.add_typer(privacy, name="privacy")
