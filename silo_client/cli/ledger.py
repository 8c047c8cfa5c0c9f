"""``llamdex-silo ledger``: what was spent."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from llamdex_fl import console
from silo_client.cli.main import app

__all__ = ["ledger"]


@app.command()
def ledger(
    home: Annotated[Path, typer.Argument(help="The silo's directory.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show every run that was ever announced to the ledger, and what all of them cost together.

    A run that was cut off ("begun") counts like one that finished.
    """
    from llamdex_fl.privacy import Ledger, certified_epsilon  # noqa: PLC0415 - keeps --help fast
    from silo_client.config import load_silo_config  # noqa: PLC0415
    from silo_client.policy import load_policy  # noqa: PLC0415

    config = load_silo_config(home)
    policy = load_policy(config.policy)
    entries = Ledger(config.ledger).entries()
    accounts = sorted({entry.account for entry in entries})
    spent = {
        account: certified_epsilon(
            [m for entry in entries if entry.account == account for m in entry.spending.mechanisms], policy.delta
        )
        for account in accounts
    }
    if as_json:
        console.print_json(
            {
                "delta": policy.delta,
                "lifetime_epsilon": policy.lifetime_epsilon,
                "accounts": [{"account": account, "epsilon_spent": spent[account]} for account in accounts],
                "entries": [{**asdict(entry), "status": entry.status} for entry in entries],
            }
        )
        return
    table = Table(
        title=f"Ledger of {config.silo}: budget epsilon {policy.lifetime_epsilon:g} at delta {policy.delta:g}"
    )
    for heading in ("run", "begun (UTC)", "status", "records", "purpose", "epsilon alone", "epsilon so far"):
        table.add_column(heading)
    for entry in entries:
        so_far = [
            m
            for earlier in entries
            if earlier.account == entry.account and earlier.entry <= entry.entry
            for m in earlier.spending.mechanisms
        ]
        table.add_row(
            str(entry.entry),
            entry.begun_at.removesuffix("+00:00"),
            entry.status,
            f"{entry.spending.data_set.name} ({entry.spending.data_set.digest[:8]})",
            entry.spending.purpose,
            f"{certified_epsilon(entry.spending.mechanisms, policy.delta):.4f}",
            f"{certified_epsilon(so_far, policy.delta):.4f}",
        )
    console.stdout.print(table)
    for account in accounts:
        left = policy.lifetime_epsilon - spent[account]
        console.stdout.print(f"account {account}: epsilon {spent[account]:.4f} spent, {left:.4f} below the budget")
