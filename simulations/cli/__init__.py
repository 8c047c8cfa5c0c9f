"""The program ``llamdex-sim``: one module a group of commands, each registered in ``app``."""

from simulations.cli import demo, review, seeds
from simulations.cli.main import main

__all__ = ["demo", "main", "review", "seeds"]
