"""The program ``llamdex-provider``: one module a group of commands, each registered in ``app``."""

from provider_server.cli import answering, custody, exporting, membership, rounds
from provider_server.cli.main import main

__all__ = ["answering", "custody", "exporting", "main", "membership", "rounds"]
