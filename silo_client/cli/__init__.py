"""The program ``llamdex-silo``: one module a group of commands, each registered in ``app``."""

from silo_client.cli import data, ew_tune, keys, ledger, privacy, privacy_accounts, privacy_audit, serve, transparency
from silo_client.cli.main import main

__all__ = [
    "data",
    "ew_tune",
    "keys",
    "ledger",
    "main",
    "privacy",
    "privacy_accounts",
    "privacy_audit",
    "serve",
    "transparency",
]
