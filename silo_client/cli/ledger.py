"""``llamdex-silo ledger``: what was spent, and what is left."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.bar import Bar
from rich.table import Table

from llamdex_fl import console
from silo_client.cli.main import app

if TYPE_CHECKING:
    from llamdex_fl.privacy import LedgerEntry
    from silo_client.config import SiloConfig
    from silo_client.policy import Policy

__all__ = ["ledger"]

_BAR_WIDTH = 24


@app.command()
def ledger(
    home: Annotated[Path, typer.Argument(help="The silo's directory.")],
    *,
    recover: Annotated[
        bool,
        typer.Option(
            "--recover",
            help="First enter what the provider's log knows of this silo and the ledger does not: after a loss of "
            "the ledger for which there is no newer backup.",
        ),
    ] = False,
    passphrase_file: console.PassphraseFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show every run that was ever announced to the ledger, and what all of them cost together.

    A run that was cut off ("begun") counts like one that finished. Epsilons are composed, not added up; they hold at
    the policy's delta, for adding or removing one record.
    """
    from llamdex_fl.privacy import Ledger  # noqa: PLC0415 - keeps --help fast
    from silo_client.config import load_silo_config  # noqa: PLC0415
    from silo_client.policy import load_policy  # noqa: PLC0415

    config = load_silo_config(home)
    policy = load_policy(config.policy)
    recovered = _recover(config, policy, passphrase_file) if recover else None
    entries = Ledger(config.ledger).entries()
    spent = _spent_so_far(entries, policy.delta)
    if as_json:
        _print_json(entries, spent, policy, recovered)
        return
    if recovered is not None:
        console.stdout.print(f"{recovered} entries were recovered from the provider's log")
    _show(config.silo, entries, spent, policy)


def _recover(config: "SiloConfig", policy: "Policy", passphrase_file: Path | None) -> int:
    from llamdex_fl.privacy import DataSetId  # noqa: PLC0415 - keeps --help fast
    from llamdex_fl.schema import load_schema  # noqa: PLC0415
    from silo_client.data import read_records  # noqa: PLC0415
    from silo_client.ledger_check import recover as recover_from_log  # noqa: PLC0415

    data = read_records(config.data, load_schema(config.schema))
    data_set = DataSetId(digest=data.digest, name=policy.data_set)
    return recover_from_log(config, data_set, console.passphrase(passphrase_file))


def _spent_so_far(entries: Sequence["LedgerEntry"], delta: float) -> dict[int, float]:
    """By entry, epsilon of it and all before it on the same account."""
    from llamdex_fl.privacy import certified_epsilon  # noqa: PLC0415 - keeps --help fast

    return {
        entry.entry: certified_epsilon(
            [
                mechanism
                for earlier in entries
                if earlier.account == entry.account and earlier.entry <= entry.entry
                for mechanism in earlier.spending.mechanisms
            ],
            delta,
        )
        for entry in entries
    }


def _by_account(entries: Sequence["LedgerEntry"], spent: dict[int, float]) -> dict[int, float]:
    """By account, epsilon of all its entries."""
    return {entry.account: spent[entry.entry] for entry in entries}


def _print_json(
    entries: Sequence["LedgerEntry"], spent: dict[int, float], policy: "Policy", recovered: int | None
) -> None:
    from llamdex_fl.privacy import ADJACENCY, UNIT  # noqa: PLC0415 - keeps --help fast

    console.print_json(
        {
            "delta": policy.delta,
            "adjacency": ADJACENCY,
            "unit": UNIT,
            "lifetime_epsilon": policy.lifetime_epsilon,
            "accounts": [
                {
                    "account": account,
                    "epsilon_spent": epsilon,
                    "epsilon_left": max(policy.lifetime_epsilon - epsilon, 0.0),
                }
                for account, epsilon in sorted(_by_account(entries, spent).items())
            ],
            "entries": [
                {**asdict(entry), "status": entry.status, "epsilon_so_far": spent[entry.entry]} for entry in entries
            ],
            **({} if recovered is None else {"recovered": recovered}),
        }
    )


def _show(silo: str, entries: Sequence["LedgerEntry"], spent: dict[int, float], policy: "Policy") -> None:
    from llamdex_fl.privacy import certified_epsilon  # noqa: PLC0415 - keeps --help fast

    table = Table(title=f"Ledger of {silo}: budget epsilon {policy.lifetime_epsilon:g} at delta {policy.delta:g}")
    for heading in ("run", "begun (UTC)", "status", "records", "purpose", "epsilon alone", "so far", "of the budget"):
        table.add_column(heading)
    for entry in entries:
        table.add_row(
            str(entry.entry),
            entry.begun_at.removesuffix("+00:00"),
            entry.status,
            f"{entry.spending.data_set.name} ({entry.spending.data_set.digest[:8]})",
            entry.spending.purpose,
            f"{certified_epsilon(entry.spending.mechanisms, policy.delta):.4f}",
            f"{spent[entry.entry]:.4f}",
            Bar(policy.lifetime_epsilon, 0.0, min(spent[entry.entry], policy.lifetime_epsilon), width=_BAR_WIDTH),
        )
    console.stdout.print(table)
    for account, epsilon in sorted(_by_account(entries, spent).items()):
        left = policy.lifetime_epsilon - epsilon
        rest = (
            f"{left:.4f} below the budget" if left >= 0.0 else f"{-left:.4f} over the budget: nothing more can be run"
        )
        console.stdout.print(f"account {account}: epsilon {epsilon:.4f} spent at delta {policy.delta:g}, {rest}")
