"""The program ``llamdex-silo``: one module a group of commands, each registered in ``app``."""

from silo_client.cli import keys, serve
from silo_client.cli.main import main

__all__ = ["keys", "main", "serve"]
